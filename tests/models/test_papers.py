"""The networks of the field are those of their papers: parameters, MACs, shapes, weights."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from falconet.isa import FalconetError
from falconet_models.data import photograph as picture
from falconet_models.metadata import get_meta
from falconet_models.onnx_session import Reference
from falconet_models.zoo.papers import NETWORKS, make, photograph, resnets, units, yolo_free
from falconet_models.zoo.papers.drawn import draw
from falconet_models.zoo.papers.to_onnx import onnx_of, samples_of, trained

OUTPUTS = {
    "efficientdet-d0": [(1, 49104, 4), (1, 49104, 90)], "ssdlite": [(1, 3234, 4), (1, 3234, 91)],
    "lraspp": [(1, 21, 520, 520)], "deeplabv3": [(1, 21, 520, 520)], "unet": [(1, 1, 128, 128)],
    "unet-bilinear": [(1, 1, 128, 128)], "yolov3-tiny": [(1, 2535, 85)],
    "yolov5n": [(1, 25200, 85)], "yolov8n": [(1, 84, 8400)], "yolo11n": [(1, 84, 8400)],
    "yolox-nano": [(1, 3549, 85)], "pose": [(1, 17, 64, 48)],
}
"""Of those that are no classifiers of 1,000 classes, at the size of the published figures."""


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_macs_are_the_published_ones(name):
    published = NETWORKS[name]
    at = published.at if any(published.at) else published.size
    with torch.device("meta"):
        network = make(name, size=at).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            found = network(torch.zeros(1, 3, *at))
    count = parameters(network)
    if isinstance(published.parameters, int):
        assert count == published.parameters
    else:
        digits = len(str(published.parameters).partition(".")[2])
        assert round(count / 1e6, digits) == published.parameters
    if published.gmacs is not None:
        macs = counter.get_total_flops() / 2e9  # of a MAC it counts two
        assert macs == pytest.approx(published.gmacs, rel=published.within)
    shapes = [tuple(o.shape) for o in (found if isinstance(found, tuple) else (found,))]
    assert shapes == OUTPUTS.get(name, [(1, 1000)])
    assert len(shapes) == len(published.outputs)


def test_folded_batch_norms_of_yolov5n_leave_the_count_that_is_printed():
    norms = [m for m in make("yolov5n").modules() if isinstance(m, nn.BatchNorm2d)]
    assert NETWORKS["yolov5n"].parameters - sum(m.num_features for m in norms) == 1_867_405


@cache
def narrow(name: str) -> onnx.ModelProto:
    return onnx_of(name, narrow=True)


@pytest.mark.parametrize("name", ["shufflenetv2", "ssdlite", "yolov8n"])
def test_the_file_is_what_pytorch_computes(name):
    published, model = NETWORKS[name], narrow(name)
    assert model.opset_import[0].version == 17
    assert [o.name for o in model.graph.output] == list(published.outputs)
    preprocess = get_meta(model)["preprocess"]
    assert preprocess["size"] == list(published.input_size(narrow=True))
    network = make(name, narrow=True)
    draw(network, samples_of(preprocess, narrow=True))
    reference = Reference(model)
    x = samples_of(preprocess, narrow=True)[3]
    with torch.no_grad():
        found = network(torch.from_numpy(x))
    values = found if isinstance(found, tuple) else (found,)
    for output, value in zip(reference(x).values(), values):
        np.testing.assert_allclose(output, value.numpy(), rtol=1e-3, atol=2e-3)


def test_weights_are_the_same_in_every_run():
    assert onnx_of("squeezenet", narrow=True).SerializeToString() == \
        narrow("squeezenet").SerializeToString()
    other = onnx_of("squeezenet", narrow=True, seed=1)
    assert other.graph.initializer[0].raw_data != narrow("squeezenet").graph.initializer[0].raw_data


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3-small", "efficientnet-b0", "yolox-nano"])
def test_activations_keep_their_variance_and_gates_do_not_saturate(name):
    network = make(name, narrow=True)
    preprocess = photograph(NETWORKS[name].photograph, (64, 64))
    samples = samples_of(preprocess, narrow=True)
    draw(network, samples)
    spread, gates = {}, {}

    def look(module, _, y):
        (gates if isinstance(module, units.Gate) else spread)[module] = y

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(look)
        if isinstance(module, units.Gate):
            module.outer.register_forward_hook(lambda m, _, y: gates.update({m: y}))
    with torch.no_grad():
        network(torch.from_numpy(np.concatenate(samples)))
    assert spread and all(2.1 < float(y.std()) < 3.03 for y in spread.values())
    for y in (y for m, y in gates.items() if not isinstance(m, units.Gate)):
        assert float(((0.02 < y) & (y < 0.98)).float().mean()) > 0.8


@pytest.mark.parametrize("name", ["mobilenetv3-large", "yolox-nano", "efficientdet-d0"])
def test_a_photograph_with_more_contrast_does_not_explode(name):
    published, model = NETWORKS[name], narrow(name)
    reference = Reference(model)
    image = picture("camera").astype(np.float32)
    image = np.clip(1.4 * (image - image.mean()) + image.mean(), 0, 255).astype(np.uint8)
    plain, harder = (reference(p) for p in (picture("coffee"), image))
    for output in published.outputs:
        assert np.isfinite(harder[output]).all()
        assert np.abs(harder[output]).max() < 30 * np.abs(plain[output]).max()


@pytest.mark.parametrize("name, scores", [
    ("yolov8n", lambda y: y[:, 4:].max(1).values),
    ("yolov5n", lambda y: y[..., 4]), ("yolox-nano", lambda y: y[..., 4]),
    ("ssdlite", lambda y: y[1][..., 1:].max(-1).values),
])
def test_some_candidates_pass_and_most_do_not(name, scores):
    network = make(name, narrow=True)
    samples = samples_of(photograph(NETWORKS[name].photograph, (64, 64)), narrow=True)
    draw(network, samples)
    with torch.no_grad():
        passing = scores(network(torch.from_numpy(np.concatenate(samples)))) > 0.5
    assert 0.5 / passing.shape[1] < float(passing.float().mean()) < 0.4


def test_a_channel_shuffle_and_a_distribution_by_hand():
    from falconet_models.zoo.papers.shufflenets import shuffled

    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert shuffled(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    expected = yolo_free._Expected()
    logits = torch.full((1, 64, 1), -100.0)
    logits[0, [3, 16 + 5, 32, 48 + 15], 0] = 0
    logits[0, 4, 0] = 0  # the first edge is between 3 and 4
    assert expected(logits).flatten().tolist() == pytest.approx([3.5, 5, 0, 15])


def test_boxes_of_ssd_by_hand():
    anchors = units.centre_boxes([(2, 2)], (64, 32), [[(10.0, 20.0)]])
    assert anchors.tolist() == [[8, 16, 10, 20], [24, 16, 10, 20], [8, 48, 10, 20],
                                [24, 48, 10, 20]]
    raw = torch.tensor([[[1.0, -1.0, 0.0, 5 * np.log(2)]]])
    assert units.decoded(raw, anchors[:1]).flatten().tolist() == pytest.approx([4, -6, 14, 34])


def test_attention_of_cbam_by_hand():
    torch.manual_seed(0)
    block = resnets.Cbam(16).eval()
    x = torch.randn(1, 16, 5, 5)
    shared = block.shared(x.mean((2, 3), keepdim=True)) + block.shared(x.amax((2, 3), keepdim=True))
    y = x * torch.sigmoid(shared)
    seen = torch.cat([y.max(1, keepdim=True).values, y.mean(1, keepdim=True)], 1)
    torch.testing.assert_close(block(x), y * torch.sigmoid(block.place(seen)))


def test_weights_of_the_package_see_what_is_there():
    assert trained("mobilenetv2") and not trained("resnet18")
    found = Reference(onnx_of("mobilenetv2"))(picture("cat"))["output"]
    assert 281 <= found.argmax() <= 285


def test_what_is_unknown_is_refused():
    with pytest.raises(FalconetError, match="'resnet81' is unknown; did you mean 'resnet18'"):
        make("resnet81")
    assert replace(NETWORKS["unet"]).input_size() == (128, 128)
