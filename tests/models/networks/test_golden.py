"""Networks from definition to golden model: every layer gives the integers of the trainer.

A layer may differ by 1 LSB where the exact value lies so near to a tie that the multiplier's error
(2**-17 of the value, docs/arithmetic.md) or that of PyTorch's float32 sums decides it.
"""

from __future__ import annotations

from typing import Any

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from torch import nn

from falconet.compiler import compile_model
from falconet.isa import preset as machine
from falconet_models.networks.detector import Detector, preset
from falconet_models.networks.export import export
from falconet_models.networks.layers import Unit
from falconet_models.networks.mobilenet import FAMILIES, BackboneConfig
from falconet_models.networks.quantize import quantise
from falconet_sim.golden import GoldenDevice, run_node

pytestmark = pytest.mark.timeout(120)
NEAR = 256 * 2**-17 + 2e-4  # of a tie, in output steps: 255 of them, multiplier and float32

LABELS = ("ant", "bee", "cow")
SMALL: dict[str, Any] = {"labels": LABELS, "size": (64, 128)}
QUARTER = {f: BackboneConfig(f, 0.25, repeats=1, squeeze=False) for f in FAMILIES}

# preset, changes, machine
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "digits": ("digits", {}, "tiny"),
    "ssdlite": ("ssdlite-mobilenetv2", {
        **SMALL, "backbone": QUARTER["mobilenetv2"], "extra": 32, "ratios": (1.0, 2.0)}, "tiny"),
    "retinanet": ("retinanet-mobilenetv2", {
        **SMALL, "backbone": QUARTER["mobilenetv2"], "neck": 24, "box": "yolo"}, "pynq-z2"),
    "grid": ("grid-mobilenetv1", {
        **SMALL, "backbone": QUARTER["mobilenetv1"], "neck": 16}, "tiny"),
    "distance": ("grid-mobilenetv3", {
        **SMALL, "backbone": QUARTER["mobilenetv3-small"], "features": (8, 16), "levels": (8, 16),
        "neck": 16, "function": "relu"}, "tiny"),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(count: int, size: tuple[int, int], seed: int) -> torch.Tensor:
    """Blobs of all sizes, in the range of normalised pixels."""
    draw = torch.Generator().manual_seed(seed)
    found = sum(nn.functional.interpolate(
        torch.rand(count, 3, size[0] // n, size[1] // n, generator=draw), size, mode="bilinear")
        for n in (1, 4, 16))
    return torch.round((found / 3 * 255).clamp(0, 255) - 128) / 64


def untrained(config: Any, kind: type = Detector) -> Any:
    """A float network with statistics in its batch norms, and heads that say something."""
    torch.manual_seed(5)
    network = kind(config)
    network.train()
    with torch.no_grad():
        for seed in range(3):
            network(images(4, config.size, seed))
        network.eval()
        for unit in network.modules():
            if isinstance(unit, Unit) and isinstance(unit.norm, nn.Identity):
                nn.init.normal_(unit.conv.weight, std=0.3)
                hook = unit.conv.register_forward_hook(spread)
                network(images(4, config.size, 3))
                hook.remove()
    return network


def spread(conv: nn.Conv2d, _: Any, out: torch.Tensor) -> None:
    """Weights and bias that make this output one of mean 0 and deviation 2.5."""
    factor = 2.5 / out.std()
    conv.weight.mul_(factor)
    assert conv.bias is not None
    conv.bias.copy_((conv.bias - out.mean((0, 2, 3))) * factor)


def stored(network: nn.Module, x: torch.Tensor) -> dict[str, tuple[np.ndarray, np.ndarray]]:
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


def names(network: Any) -> dict[str, str]:
    """The quantiser behind each output of the exported network."""
    parts = {"class": "class_logits", "box": "box_numbers", "objectness": "object_logits"}
    return {name: f"heads.{i}.{parts[part]}.act.after" for name, i, part in network.outputs()}


@pytest.mark.parametrize("case", CASES)
def test_every_layer_is_that_of_the_trainer(case: str) -> None:
    name, changes, where = CASES[case]
    network = untrained(preset(name, **changes))
    size = network.config.size
    network = quantise(network, [images(4, size, seed) for seed in range(2)])
    program = compile_model(export(network), machine(where), case)
    source = names(network)
    expected = {next((o for o, q in source.items() if q == n), n): v
                for n, v in stored(network, images(1, size, 9)).items()}
    expected["input"] = expected.pop("input.quant")
    device = GoldenDevice(program, keep=True)
    device.run({"input": expected["input"][0].astype(np.int8)})
    graph, blob = program.header["graph"], program.code[program.header["graph_offset"]:]
    values = {"input": expected["input"][0]}
    different = total = apart = compared = 0
    for node in graph["nodes"]:
        out = run_node(node, blob, [values[i].astype(np.int8) for i in node["inputs"]])
        tensor = node["output"]
        if tensor not in expected:
            assert node["op"] in ("upsample", "concat", "slice", "maxpool")
            values[tensor] = out
            continue
        want, exact = expected[tensor]
        values[tensor], compared = want, compared + 1
        wrong = out != want
        assert np.abs(out - want).max() <= 1, node["name"]
        assert np.all(np.abs(exact[wrong] - np.floor(exact[wrong]) - 0.5) < NEAR), node["name"]
        assert np.ptp(want) > 60, node["name"]
        different, total = different + int(wrong.sum()), total + wrong.size
        apart += int((device.tensor(tensor) != want).sum())
    print(f"{case}: {different} of {total} values differ layer by layer, {apart} end to end")
    assert compared == len(expected) - 1
    assert different <= 2e-4 * total and apart <= 0.02 * total
