"""Networks from definition to golden model: trainer, exported file and machine agree on integers.

Layer by layer, each given the trainer's inputs. A value may differ by 1 where the exact one lies so
near to a tie that PyTorch's float32 sums decide it or, on the machine, the multiplier's error
(2**-17 of the value, docs/arithmetic.md).
"""

from __future__ import annotations

import copy
from functools import cache, partial
from typing import Any

import brevitas.nn as qnn
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from falconet.compiler import compile_model
from falconet.isa import preset as machine
from falconet.isa.metadata.head import parse
from falconet.runtime import boxes as host
from falconet.runtime.detections import Options
from falconet_models.architecture import FAMILIES, BackboneConfig, preset
from falconet_models.metadata import get_meta
from falconet_models.networks.brevitas import quantise
from falconet_models.networks.detector import Detector
from falconet_models.networks.export import export
from falconet_models.networks.layers import Unit, limit
from falconet_models.networks.mobilenet import (
    Classifier,
    ClassifierConfig,
)
from falconet_models.ptq.prepare import session
from falconet_sim.golden.device import GoldenDevice, run_node

pytestmark = pytest.mark.timeout(120)
SUMS = 2e-4  # of float32, in output steps
NEAR = 256 * 2**-17 + SUMS  # of a tie: 255 steps times the multiplier's error
RARE = 1e-3  # share of values so near

LABELS = ("ant", "bee", "cow")
SMALL: dict[str, Any] = {"labels": LABELS, "size": (64, 128)}
QUARTER = {f: BackboneConfig(f, 0.25, repeats=1, squeeze=False) for f in FAMILIES}

CASES: dict[str, Any] = {
    "digits": preset("digits"),
    "ssdlite": preset(
        "ssdlite-mobilenetv2", **SMALL, backbone=QUARTER["mobilenetv2"], extra=32,
        ratios=(1.0, 2.0)),
    "retinanet": preset(
        "retinanet-mobilenetv2", **SMALL, backbone=QUARTER["mobilenetv1"], neck=24, box="yolo"),
    "grid": preset("grid-mobilenetv1", **SMALL, backbone=QUARTER["mobilenetv1"], neck=16),
    "distance": preset(
        "grid-mobilenetv3", **SMALL, backbone=QUARTER["mobilenetv3-small"], features=(8, 16),
        levels=(8, 16), neck=16, function="relu"),
    "classifier": ClassifierConfig(QUARTER["mobilenetv3-large"], 10, (64, 64)),
    "squeeze": ClassifierConfig(BackboneConfig("mobilenetv3-small", 0.25), 10, (64, 64)),
}
TINY = ("digits", "grid")
DETECTORS = [c for c in CASES if not isinstance(CASES[c], ClassifierConfig)]

Integers = NDArray[np.int64]


def images(count: int, size: tuple[int, int], seed: int) -> torch.Tensor:
    """Blobs of all sizes, in the range of normalised pixels."""
    draw = torch.Generator().manual_seed(seed)
    found = sum(nn.functional.interpolate(
        torch.rand(count, 3, size[0] // n, size[1] // n, generator=draw), size, mode="bilinear")
        for n in (1, 4, 16))
    return torch.round((found / 3 * 255).clamp(0, 255) - 128) / 64


def untrained(config: Any) -> Any:
    """A float network with statistics in its batch norms, and heads that say something."""
    torch.manual_seed(5)
    network = Classifier(config) if isinstance(config, ClassifierConfig) else Detector(config)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # all batches count alike
    network.train()
    with torch.no_grad():
        for seed in range(3):
            network(images(4, config.size, seed))
        network.eval()
        for name, unit in network.named_modules():
            if isinstance(unit, Unit) and isinstance(unit.norm, nn.Identity):
                nn.init.normal_(unit.conv.weight, std=0.3)
                width = 0.5 if name.endswith("box_numbers") else 2.5
                hook = unit.conv.register_forward_hook(partial(spread, width))
                network(images(4, config.size, 3))
                hook.remove()
    return network


def spread(width: float, conv: nn.Conv2d, _: Any, out: torch.Tensor) -> None:
    """Weights and bias that make this output one of mean 0 and deviation ``width``."""
    factor = width / out.std()
    conv.weight.mul_(factor)
    assert conv.bias is not None
    conv.bias.copy_((conv.bias - out.mean((0, 2, 3))) * factor)


def stored(network: nn.Module, x: torch.Tensor) -> dict[str, tuple[Integers, NDArray[np.float64]]]:
    """What every quantiser stores as int8 [C, H, W], and what it was given, in its steps."""
    found = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any], out: Any) -> None:
            given = args[0] if isinstance(args[0], torch.Tensor) else args[0].value
            shift = 0 if out.signed else 128
            found[name] = (out.int().numpy()[0].astype(np.int64) - shift,
                           (given / out.scale).numpy()[0].astype(np.float64))
        return hook

    hooks = [m.register_forward_hook(note(n)) for n, m in network.named_modules()
             if isinstance(m, qnn.QuantIdentity)]
    with torch.no_grad():
        network(x)
    for h in hooks:
        h.remove()
    return found


@cache
def built(case: str) -> tuple[Any, onnx.ModelProto]:
    """The network in Brevitas layers, and its file."""
    network = untrained(CASES[case])
    network = quantise(network, [images(4, network.config.size, seed) for seed in range(2)])
    return network, export(network)


@cache
def compiled(case: str) -> GoldenDevice:
    program = compile_model(built(case)[1], machine("tiny" if case in TINY else "pynq-z2"), case)
    return GoldenDevice(program, keep=True)


def outputs(network: Any) -> dict[str, str]:
    """The output of the exported network behind each quantiser that makes one."""
    if isinstance(network, Classifier):
        return {"head.logits.act.after": "logits"}
    parts = {"class": "class_logits", "box": "box_numbers", "objectness": "object_logits"}
    return {f"heads.{i}.{parts[part]}.act.after": name for name, i, part in network.outputs()}


def unlike(out: Integers, want: Integers, exact: NDArray[np.float64], near: float, name: str
           ) -> int:
    """How many differ, all of them by 1 and near a tie."""
    assert out.shape == want.shape, name
    wrong = out != want
    assert np.abs(out - want).max() <= 1, name
    assert np.all(np.abs(exact[wrong] - np.floor(exact[wrong]) - 0.5) < near), name
    return int(wrong.sum())


@pytest.mark.parametrize("case", CASES)
def test_every_layer_of_the_file_is_that_of_the_trainer(case: str) -> None:
    """onnxruntime, each quantiser cut off from the next: its input is what the trainer stored."""
    network, model = built(case)
    x = images(1, network.config.size, 9)
    expected = stored(network, x)
    cut = copy.deepcopy(model)
    del cut.graph.output[:], cut.graph.value_info[:]
    constants = {i.name for i in cut.graph.initializer} | {
        o for n in cut.graph.node if n.op_type == "Constant" for o in n.output}
    given = {"input": x.numpy()}
    for node in cut.graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] in constants:
            continue
        name, (want, _) = node.output[0], expected[node.output[0]]
        quant = network.get_submodule(name)
        signed = quant.act_quant.is_signed
        kind = onnx.TensorProto.INT8 if signed else onnx.TensorProto.UINT8
        node.output[0] = f"{name} made"
        cut.graph.output.append(onnx.ValueInfoProto(name=node.output[0]))
        cut.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, (1, *want.shape)))
        given[name] = (want[None] + (0 if signed else 128)).astype(
            np.int8 if signed else np.uint8)
    assert set(given) == {"input", *expected}
    run = session(cut, optimise=False)
    found = dict(zip((o.name for o in run.get_outputs()), run.run(None, given)))
    different = total = 0
    for name, (want, exact) in expected.items():
        out = found[f"{name} made"][0].astype(np.int64)
        out -= 128 if found[f"{name} made"].dtype == np.uint8 else 0
        different += unlike(out, want, exact, SUMS, name)
        total += want.size
    print(f"{case}: {different} of {total} values differ layer by layer")
    assert different <= RARE * total


@pytest.mark.parametrize("case", CASES)
def test_every_layer_of_the_machine_is_that_of_the_trainer(case: str) -> None:
    network, _ = built(case)
    expected = stored(network, images(1, network.config.size, 9))
    device, source = compiled(case), outputs(network)
    values = {"input": expected.pop("input.quant")[0]}
    device.run({"input": values["input"].astype(np.int8)})
    graph = device.program.header["graph"]
    blob = device.program.code[device.program.header["graph_offset"]:]
    quantisers = {tensor: name for name, tensor in source.items()}
    different = total = apart = 0
    for node in graph["nodes"]:
        out = run_node(node, blob, [values[i].astype(np.int8) for i in node["inputs"]])
        tensor = node["output"]
        name = quantisers.get(tensor, tensor)
        if name not in expected:
            assert node["op"] in ("upsample", "concat", "slice", "maxpool"), node["name"]
            values[tensor] = out
            continue
        want, exact = expected.pop(name)
        _, rounded = expected.pop(name.removesuffix("after") + "before", (want, exact))
        values[tensor] = want  # where there is a table, a tie is one before it
        different += unlike(out.astype(np.int64), want, rounded, NEAR, node["name"])
        total, apart = total + want.size, apart + int((device.tensor(tensor) != want).sum())
        assert np.ptp(want) > (8 if case == "squeeze" else 40), node["name"]  # gates shrink all
    print(f"{case}: {different} of {total} values differ layer by layer, {apart} end to end")
    assert not expected and different <= RARE * total


def overlaps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of boxes x1, y1, x2, y2, [N, M]."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    both = np.prod((high - low).clip(min=0), -1)
    one, other = (np.prod(v[:, 2:] - v[:, :2], 1) for v in (a, b))
    found: NDArray[np.float64] = both / np.maximum(one[:, None] + other - both, 1e-9)
    return found


@pytest.mark.parametrize("case", DETECTORS)
def test_boxes_are_those_of_host_and_machine(case: str) -> None:
    """Of the same integers: all boxes as the host's float code has them, kept ones as machine."""
    network, model = built(case)
    head = parse(get_meta(model)["postprocess"])
    assert head is not None and head.labels == network.config.labels
    device = compiled(case)
    x = stored(network, images(1, network.config.size, 9))["input.quant"][0].astype(np.int8)
    device.run({"input": x})
    values = {}
    for name, tensor in outputs(network).items():
        scale = float(limit(network.get_submodule(name)).detach()) / 128
        values[tensor] = device.tensor(tensor).astype(np.float64) * scale
    maps = [{part: torch.from_numpy(values[n])[None] for n, i, part in network.outputs()
             if i == level} for level in range(len(network.config.levels))]
    boxes, scores = (v.numpy()[0] for v in network.decode(maps))
    distinct = np.unique(np.round(scores, 4))
    least = distinct[np.searchsorted(distinct, np.sort(scores.ravel())[-40])] - 2e-4
    anchor, label = np.nonzero(scores >= least)
    mine, sure = boxes[anchor], scores[anchor, label]
    exact = host.decode(get_meta(model)["postprocess"], values.__getitem__,
                        least=least, size=network.config.size)
    np.testing.assert_array_equal(exact.label, label)
    np.testing.assert_allclose(exact.score, sure, rtol=1e-6)
    np.testing.assert_allclose(exact.box[:, :2], mine[:, :2], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(exact.box[:, 2:], mine[:, 2:] - mine[:, :2], rtol=1e-5, atol=1e-3)

    found = device.run({"input": x}, Options(score=float(least), maximum=64)).detections
    assert found is not None
    records, clash = found.records, overlaps(mine, mine) > head.nms_threshold
    kept: list[int] = []
    for i in np.argsort(-np.round(sure * 2**16), kind="stable"):
        if not any(clash[i, j] and label[i] == label[j] for j in kept):
            kept.append(i)
    corners = np.stack([records[k] for k in ("x1", "y1", "x2", "y2")], 1) / 16
    close = np.abs(mine[kept][:, None] - corners).max(-1) < 0.25
    same = (label[kept][:, None] == records["label"]) & (
        np.abs(sure[kept][:, None] - records["score"] / 2**16) < 1e-4)
    missed = [k for k, hit in zip(kept, (close & same).any(1)) if not hit]
    print(f"{case}: {len(kept)} boxes of {len(label)} kept, {len(records)} by the machine, "
          f"{len(missed)} of them others")
    assert len(kept) >= 10 and len(records) == len(kept) and not missed
