"""Products of two tensors, on golden model, simulator and RTL."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import networks
import numpy as np
import pytest
from devices import run_all
from wide import WIDE

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph
from falconet.compiler.passes import optimise
from falconet.isa import Dst, Load, preset

pytestmark = pytest.mark.timeout(900)
MACHINES = {a.name: a for a in (preset("tiny"), WIDE)}


def both(zeros: tuple[int, int]) -> Graph:
    """Scores of pixels with pixels, and weighted sums of pixels by these."""
    b = networks.Builder((20, 1, 10))
    scores = b.matmul(b.conv("x", 24), b.conv("x", 24), zeros)
    return b.done(b.matmul(scores, b.transpose(b.conv("x", 13)), (5, 0)), scores)


def heads() -> Graph:
    """Attention without its softmax: three heads of 16 channels side by side."""
    b = networks.Builder((20, 1, 21))
    q, k, v = (b.conv("x", 48) for _ in range(3))
    found = []
    for i in range(3):
        of = {"begin": 16 * i, "end": 16 * i + 16}
        scores = b.matmul(b.add("slice", [q], of), b.add("slice", [k], of), (0, 3))
        found.append(b.matmul(scores, b.transpose(b.add("slice", [v], of)), (-128, 0)))
    graph = b.done(b.conv(b.add("concat", found), 20))
    graph.tensors = {name: dataclasses.replace(t, scale=0.1, zero_point=0)
                     for name, t in graph.tensors.items()}
    return graph


def many_weights() -> Graph:
    """More pixels of the second operand than the weight memory holds twice."""
    b = networks.Builder((20, 1, 60))
    return b.done(b.matmul(b.conv("x", 300), b.conv("x", 300), (-3, 4)))


def constants() -> Graph:
    """Of a constant with a tensor, and the other way round; pixels in rows."""
    b = networks.Builder((24, 4, 6))
    return b.done(b.matmul("x", b.constant(24, 1, 17), (3, 0)),
                  b.matmul(b.constant(24, 3, 5), "x", (0, 3)))


NETWORKS: dict[str, Callable[[], Graph]] = {
    **{f"zeros {za}, {zb}": lambda z=(za, zb): both(z)
       for za, zb in ((0, 0), (-128, 5), (9, -128))},
    "heads": heads, "many weights": many_weights, "constants": constants,
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_all_devices_agree(name: str, machine: str) -> None:
    arch = MACHINES[machine]
    graph = optimise(NETWORKS[name](), arch)
    program = compile_graph(graph, arch)
    pairs = [i for i in program.instructions() if isinstance(i, Load) and i.pair]
    assert pairs and all(i.dst == Dst.WEIGHTS for i in pairs)
    x = np.random.default_rng(7).integers(-128, 128, graph.tensors["x"].shape).astype(np.int8)
    outputs = run_all(program, {"x": x}).outputs
    assert all(len(np.unique(v)) > 2 for v in outputs.values())
