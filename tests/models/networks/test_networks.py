"""Definitions: published sizes, the three styles, what configurations refuse, gradients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from falconet.isa import FalconetError
from falconet_models.architecture import PRESETS, BackboneConfig, DetectorConfig, preset
from falconet_models.networks.brevitas import correct_biases, fold, quantise
from falconet_models.networks.detector import Detector
from falconet_models.networks.export import export
from falconet_models.networks.layers import divisible, real
from falconet_models.networks.macs import cost
from falconet_models.networks.mobilenet import (
    Backbone,
    Classifier,
    ClassifierConfig,
)

pytestmark = pytest.mark.timeout(120)


def classifier(family: str, width: float = 1.0, **more: Any) -> Classifier:
    return Classifier(ClassifierConfig(BackboneConfig(family, width), **more))


@pytest.mark.parametrize(("family", "width", "parameters", "macs", "tolerance"), [
    # millions, from the papers: Howard 2017 tables 6, 7; Sandler 2018 table 4; Howard 2019 table 3
    ("mobilenetv1", 1.0, 4.2, 569, 0.01),
    ("mobilenetv1", 0.25, 0.5, 41, 0.07),
    ("mobilenetv2", 1.0, 3.4, 300, 0.035),
    ("mobilenetv3-large", 1.0, 5.4, 219, 0.02),
    ("mobilenetv3-small", 1.0, 2.5, 56, 0.02),
])
def test_sizes_are_those_of_the_papers(
    family: str, width: float, parameters: float, macs: float, tolerance: float
) -> None:
    found = cost(classifier(family, width), (224, 224))
    print(family, width, found)
    assert found.parameters / 1e6 == pytest.approx(parameters, rel=tolerance)
    assert found.macs / 1e6 == pytest.approx(macs, rel=0.02)


@pytest.mark.parametrize(("family", "parameters"), [
    ("mobilenetv2", 3_504_872), ("mobilenetv3-large", 5_483_032), ("mobilenetv3-small", 2_542_856),
])
def test_parameters_are_those_of_torchvision(family: str, parameters: int) -> None:
    """Its documentation of the weights, "num_params"."""
    assert cost(classifier(family), (32, 32)).parameters == parameters
    assert sum(p.numel() for p in classifier(family).parameters()) == parameters


def test_cost_by_hand() -> None:
    """3 -> 8 channels, 3 x 3 on 4 x 4 outputs, with batch norm; then 8 -> 5, with a bias."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
                            nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 5, 1)).train()
    found = cost(network, (8, 8))
    assert found.parameters == 216 + 16 + 45
    assert found.macs == 216 * 16 + 40 * 16
    assert network.training and not network[0]._forward_hooks
    assert network[1].num_batches_tracked == 0


@pytest.mark.parametrize(("channels", "expected"), [(8, 8), (11, 16), (12, 16), (17, 16), (90, 88),
                                                    (1, 8), (33.6, 32), (21.6, 24)])
def test_channels_are_multiples_of_8(channels: float, expected: int) -> None:
    assert divisible(channels) == expected
    assert expected >= 0.9 * channels


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(kind: str) -> Any:
    torch.manual_seed(1)
    if kind == "detector":
        network: Any = Detector(preset("digits", size=(32, 32)))
    else:
        network = classifier("mobilenetv3-small", 0.25, classes=7, size=(32, 32))
    with torch.no_grad():
        for _ in range(2):
            network.train()(noise(4, 3, 32, 32))
    return network.eval()


def flat(found: Any) -> torch.Tensor:
    if isinstance(found, torch.Tensor):
        return found
    return torch.cat([v.flatten() for level in found for v in level.values()])


@pytest.mark.parametrize("kind", ["detector", "classifier"])
def test_styles_are_one_network(kind: str) -> None:
    network, x = small(kind), noise(2, 3, 32, 32, seed=1)
    with torch.no_grad():
        exact = flat(network(x))
        folded = flat(fold(network)(x))
        rounded = flat(quantise(network, [noise(4, 3, 32, 32, seed=1)], corrected=False)(x))
    torch.testing.assert_close(folded, exact, rtol=1e-4, atol=1e-5)
    spread = (exact - exact.mean()).square().mean()
    assert 0 < (rounded - exact).square().mean() < 0.1 * spread
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fold(network).modules())


@pytest.mark.parametrize("kind", ["detector", "classifier"])
def test_the_quantised_network_trains(kind: str) -> None:
    """Gradients reach every weight, bias and scale; some steps make the error smaller."""
    network, x = small(kind), noise(4, 3, 32, 32, seed=1)
    quantised = quantise(network, [x], corrected=False).train()
    exact = flat(network(x)).detach()
    target = exact.mean() + exact.std()
    optimiser = torch.optim.Adam(quantised.parameters(), 1e-3)
    losses = []
    for step in range(4):
        optimiser.zero_grad()
        loss = (flat(quantised(x)) - target).square().mean()
        loss.backward()
        if step == 0:
            missing = [n for n, p in quantised.named_parameters() if p.grad is None]
            dead = [n for n, p in quantised.named_parameters()
                    if n.endswith("conv.weight") and p.grad is not None and not p.grad.any()]
            assert not missing and not dead
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.97 * losses[0]


def test_bias_correction_takes_the_mean_error_out() -> None:
    network, x = small("detector"), noise(8, 3, 32, 32, seed=1)
    with torch.no_grad():
        exact = network(x)
        errors = {}
        for corrected in (False, True):
            found = quantise(network, [x], corrected=corrected)(x)
            errors[corrected] = sum(
                float((f[k] - e[k]).mean((0, 2, 3)).abs().mean())
                for e, f in zip(exact, found) for k in e)
    assert errors[True] < errors[False]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_predict_on_every_level(name: str) -> None:
    config = preset(name, **({} if name == "digits" else {"labels": ["a", "b"]}))
    config = DetectorConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    network = Detector(config).eval()
    size = 2 * max(*config.levels, *config.features)
    with torch.no_grad():
        x = noise(2, 3, size, 2 * size)
        maps = network(x)
        seen = network.features(x)
    anchors = len(config.anchors(config.levels[0]))
    rows = 0
    for level, stride, feature in zip(maps, config.levels, seen, strict=True):
        h, w = size // stride, 2 * size // stride
        assert level["class"].shape == (2, anchors * len(config.labels), h, w)
        assert level["box"].shape == (2, anchors * 4, h, w)
        assert real(feature).shape[2:] == (h, w)
        assert ("objectness" in level) == config.objectness
        rows += anchors * h * w
    boxes, scores = network.decode(maps)
    assert boxes.shape == (2, rows, 4) and scores.shape == (2, rows, len(config.labels))
    assert bool((boxes[..., 2:] >= boxes[..., :2]).all()) and float(scores.max()) < 0.5
    priors = network.priors(maps)
    assert priors.boxes().shape == (rows, 4) and sum(priors.counts) == rows


def test_priors_by_hand() -> None:
    config = preset("ssdlite-mobilenetv2", labels=("a",), size=(64, 128), levels=(32, 64),
                    features=(32,), scales=(2.0,), ratios=(1.0, 4.0))
    network = Detector(config)
    maps = [{"class": torch.zeros(1, 2, 2, 4)}, {"class": torch.zeros(1, 2, 1, 2)}]
    priors = network.priors(maps)
    assert priors.counts == (16, 4)
    # cell (1, 2) of stride 32: its centre is (80, 48); a square of 64, and one of 32 by 128
    row = (1 * 4 + 2) * 2
    assert priors.boxes()[row].tolist() == [48, 16, 112, 80]
    assert priors.boxes()[row + 1].tolist() == [64, -16, 96, 112]
    assert priors.strides.tolist() == [32] * 16 + [64] * 4


@pytest.mark.parametrize(("change", "message"), [
    ({"backbone": {"family": "resnet"}}, "family 'resnet' is unknown"),
    ({"backbone": {"family": "mobilenetv1", "width": 0}},
     r"backbone\.width: 0: input should be greater than 0"),
    ({"backbone": {"deep": 1}}, r"backbone\.deep: no such field"),
    ({"backbone": "mobilenetv1"}, "backbone: 'mobilenetv1': input should be an object"),
    ({"colour": 1}, "colour: no such field"),
    ({"labels": []}, "labels: there are none"),
    ({"size": [100, 96]}, r"size \[100, 96\]: use multiples of 16"),
    ({"levels": [4, 8]}, r"levels \[4, 8\]: those up to 16 must be among"),
    ({"levels": [16, 64]}, r"levels \[64\] beyond the backbone must double 16"),
    ({"levels": [16]}, "nothing is predicted at 8"),
    ({"levels": [16, 8]}, "rising order"),
    ({"box": "circle"}, "box 'circle' is unknown"),
    ({"function": "sine"}, "function 'sine' is unknown"),
    ({"features": [3, 16], "levels": [16], "neck": 0}, r"strides \[3, 16\]: mobilenetv1 has"),
])
def test_what_configurations_refuse(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FalconetError, match=message):
        Detector(DetectorConfig.from_dict({**preset("digits").to_dict(), **change}))


def test_what_else_is_refused(tmp_path: Path) -> None:
    network = small("classifier")
    with pytest.raises(FalconetError, match="network 'yolo' is unknown; choose one of: digits"):
        preset("yolo")
    with pytest.raises(FalconetError, match="labels are missing"):
        preset("ssdlite-mobilenetv2")
    with pytest.raises(FalconetError, match="only a quantised network is exported"):
        export(network)
    with pytest.raises(FalconetError, match="no images to calibrate on"):
        quantise(network, [])
    quantised = quantise(network, [noise(1, 3, 32, 32)], corrected=False)
    with pytest.raises(FalconetError, match="quantised already"):
        quantise(quantised, [noise(1, 3, 32, 32)])
    with pytest.raises(FalconetError, match="no images"):
        correct_biases(quantised, [])
    with pytest.raises(FalconetError, match="labels: there are 2 for 7 classes"):
        export(quantised, labels=["a", "b"])
    detector = quantise(small("detector"), [noise(1, 3, 32, 32)], corrected=False)
    with pytest.raises(FalconetError, match="a detector has its own"):
        export(detector, labels=list("0123456789"))
    with pytest.raises(FalconetError, match=r"none.a\.onnx: No such file"):
        export(detector, tmp_path / "none" / "a.onnx")


def test_a_backbone_is_cut_behind_its_last_feature() -> None:
    whole = Backbone("float", BackboneConfig("mobilenetv2"), (8, 16, 32))
    part = Backbone("float", BackboneConfig("mobilenetv2"), (8, 16))
    assert whole.channels == (32, 96, 1280) and part.channels == (32, 96)
    assert len(part.blocks) < len(whole.blocks)
    with torch.no_grad():
        assert [f.shape[2] for f in whole(noise(1, 3, 64, 64))] == [8, 4, 2]
