"""PRelu with slopes of any sign behind anything: to the bit by hand, 1 LSB against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from devices import run_all
from onnx_nets import Net, agree

from falconet.compiler import compile_model
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.isa import FalconetError, preset
from falconet.isa.machine.rounding import output_stage
from falconet_sim.golden.device import run_graph

F = np.float32
C = 24
SIGNS = (0.1, -0.5, 0.0, -1.0, 1.5, -2.0)
BEFORE: dict[str, Callable[[Net, str], str]] = {
    "convolution": lambda n, x: n.conv(x, C, C),
    "depthwise": lambda n, x: n.conv(x, C, C, group=C),
    "sum": lambda n, x: n.op("Add", x, n.q(n.conv(x, C, C), 0.05, 9)),
    "relu": lambda n, x: n.op("Relu", n.conv(x, C, C)),
    "function": lambda n, x: n.op("Tanh", x),
    "stored": lambda n, x: n.q(n.conv(x, C, C), 0.05, 9),
}


def network(before: str, slopes: tuple[float, ...], *, clip: bool = False) -> onnx.ModelProto:
    n = Net((1, C, 6, 5))
    x = n.q("x", 0.03, -7)
    y = BEFORE[before](n, x)
    y = n.op("PRelu", y, np.resize(np.array(slopes, F), (C, 1, 1)))
    if clip:
        y = n.op("Clip", y, np.array(-1, F), np.array(2, F))
    return n.model(n.q(y, 0.03, 11))


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("slopes", [SIGNS, (-0.25,), (-0.7, 0.3)])
@pytest.mark.parametrize("before", BEFORE)
def test_slopes_of_any_sign(before: str, slopes: tuple[float, ...], clip: bool) -> None:
    agree(network(before, slopes, clip=clip), rate=0.03 if before != "function" else 0.5)


def test_a_slope_below_0_is_rounded_once() -> None:
    """By hand: every sum through one output stage, that of its side of 0."""
    graph = import_onnx(network("convolution", SIGNS))
    x = np.random.default_rng(0).integers(-128, 128, (C, 6, 5)).astype(np.int8)
    found = run_graph(*graph.to_dict(), {"x": x})[graph.outputs[0]]
    above, below = (n.consts for n in graph.nodes if n.op == "conv")
    padded = np.pad(x.astype(np.int64), ((0, 0), (1, 1), (1, 1)), constant_values=-7)
    slopes, seen = np.resize(np.array(SIGNS), C), set()
    for c in range(C):
        acc = int((above["weight"][c].astype(np.int64) * padded[:, 2:5, 1:4]).sum())
        negative = acc + int(above["bias"][c]) < 0
        turned = negative and slopes[c] < 0
        side, acc = (below, -acc) if turned else (above, acc)
        stage = {k: int(side[k][c]) for k in ("bias", "mult", "mult_neg", "shift")}
        assert found[c, 2, 1] == output_stage(acc, zp=11, lo=-128, hi=127, **stage)
        seen.add((bool(negative), bool(slopes[c] < 0)))
    assert len(seen) == 4


@pytest.mark.parametrize("before", ["convolution", "function"])
def test_they_run(before: str) -> None:
    program = compile_model(network(before, SIGNS), preset("tiny"))
    x = np.random.default_rng(5).integers(-128, 128, (C, 6, 5)).astype(np.int8)
    (name,) = (t["name"] for t in program.header["inputs"])
    run_all(program, {name: x})


def test_what_is_too_unlike_for_a_byte_is_refused() -> None:
    with pytest.raises(FalconetError, match=r"\(PRelu\)|slopes per channel behind a function"):
        import_onnx(network("function", (0.001, 99.0)))
