"""What a new operator takes: `minimum`, of two tensors, told to every room from here.

The machine has no unit for it, but two sums that do the same: what ``a`` is above ``b`` (0 to 255,
so it fits a byte with zero point -128), and ``a`` without that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import networks
import numpy as np
import pytest

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph, Node
from falconet.compiler.lower.operator import Operator as Form
from falconet.compiler.lower.ops import OPERATORS as LOWERED
from falconet.compiler.nodes import weighted
from falconet.compiler.passes import optimise
from falconet.compiler.passes.verify import verify
from falconet.isa import Arch, FalconetError, Program, preset
from falconet.isa.graph.operator import Operator
from falconet.isa.graph.ops import OPERATORS
from falconet.isa.graph.ops.eltwise import Eltwise
from falconet_sim.golden.device import GoldenDevice, run_graph
from falconet_sim.golden.ops import INTEGERS
from falconet_sim.iss.simulator import IssDevice

ARCH = preset("tiny")


def expand(graph: Graph, node: Node, arch: Arch) -> list[Node]:
    (a, b), above = node.inputs, f"{node.output}/above"
    t = graph.tensors[a]
    graph.tensors[above] = dataclasses.replace(t, name=above)
    return [
        weighted(f"{node.name}/above", [a, b], above, t.shape[0], arch, (1, -1),
                 attrs=Eltwise(zp=-128)),
        weighted(node.name, [a, above], node.output, t.shape[0], arch, (1, -1), bias=-128),
    ]


@pytest.fixture(autouse=True)
def minimum(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(LOWERED, "minimum", Form(expand=expand))
    monkeypatch.setitem(INTEGERS, "minimum", lambda inputs, attrs, consts: np.minimum(*inputs))

    @dataclass(frozen=True)
    class Minimum(Operator):
        """The lesser of two stored values."""

        op = "minimum"
        arity = 2, 2

    yield
    del OPERATORS["minimum"]


def network(*, cut: bool = False) -> Graph:
    """Of two tensors, whose channels lie in different lanes if one is ``cut``."""
    b = networks.Builder((20, 7, 6))
    first, second = b.conv("x", 13), b.conv("x", 13, 3)
    if cut:
        second = b.add("slice", [b.conv("x", 20)], {"begin": 5, "end": 18})
    y = b.add("minimum", [first, second])
    graph = b.done(y, b.conv(y, 9))
    graph.tensors = {k: dataclasses.replace(t, scale=0.1, zero_point=0)
                     for k, t in graph.tensors.items()}
    return graph


@pytest.mark.parametrize("cut", [False, True])
def test_it_is_computed(cut: bool) -> None:
    graph = optimise(network(cut=cut), ARCH)
    assert "minimum" in [n.op for n in graph.nodes]
    x = np.random.default_rng(0).integers(-128, 128, (20, 7, 6)).astype(np.int8)
    values = run_graph(*graph.to_dict(), {"x": x}, keep=True)
    program = Program.from_bytes(compile_graph(graph, ARCH).to_bytes())
    for device in (GoldenDevice(program), IssDevice(program)):
        for name, found in device.run({"x": x}).outputs.items():
            np.testing.assert_array_equal(found, values[name])
    node = next(n for n in graph.nodes if n.op == "minimum")
    np.testing.assert_array_equal(
        values[node.output], np.minimum(*(values[i] for i in node.inputs)))
    assert len(np.unique(values[node.output])) > 20


def test_every_pair_of_bytes() -> None:
    graph = Graph("pairs", inputs=["a", "b"], outputs=["y"])
    for name in "aby":
        graph.tensors[name] = networks.Tensor(name, (1, 256, 256), 0.1)
    graph.nodes = expand(graph, Node(OPERATORS["minimum"](), "m", ["a", "b"], "y"), ARCH)
    a, b = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    inputs = {"a": a[None].astype(np.int8), "b": b[None].astype(np.int8)}
    found = run_graph(*verify(graph, ARCH).to_dict(), inputs)["y"]
    np.testing.assert_array_equal(found[0], np.minimum(a, b))


def test_it_is_refused_as_others_are() -> None:
    graph = network()
    node = next(n for n in graph.nodes if n.op == "minimum")
    node.inputs = node.inputs[:1]
    with pytest.raises(FalconetError, match=r"minimum.*1 inputs are too few"):
        verify(graph, ARCH)
