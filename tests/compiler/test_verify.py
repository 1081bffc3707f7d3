"""The legality check: a legal graph passes, and each single fault is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import networks
import numpy as np
import pytest

from falconet.compiler.graph import Graph, Node, Tensor
from falconet.compiler.passes.verify import accumulator_range, verify
from falconet.isa import FalconetError, preset
from falconet.isa.graph.ops.concat import Concat
from falconet.isa.graph.ops.conv import Conv
from falconet.isa.graph.ops.eltwise import Eltwise
from falconet.isa.graph.ops.maxpool import MaxPool

ARCH = preset("pynq-z2")


def small() -> Graph:
    """x [8, 6, 6] -> conv 3x3 -> maxpool -> y."""
    one = {"mult": np.full(8, 1 << 16, np.uint32), "mult_neg": np.full(8, 1 << 16, np.uint32),
           "shift": np.full(8, 20, np.uint8), "bias": np.zeros(8, np.int32)}
    window: Any = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}
    weight = np.ones((8, 8, 3, 3), np.int8)
    return Graph(
        "small",
        {n: Tensor(n, s, 0.1) for n, s in (("x", (8, 6, 6)), ("t", (8, 6, 6)), ("y", (8, 6, 6)))},
        [Node(Conv(**window), "c", ["x"], "t", {**one, "weight": weight}),
         Node(MaxPool(**window), "m", ["t"], "y", dict(one))],
        ["x"], ["y"],
    )


@pytest.mark.parametrize("graph", [small(), networks.zoo_of_operators(),
                                   networks.mobilenet_v2(size=32)])
def test_legal(graph: Graph) -> None:
    for tensor in graph.tensors.values():
        graph.tensors[tensor.name] = dataclasses.replace(tensor, scale=0.1, zero_point=0)
    assert verify(graph, ARCH) is graph


def set_attr(node: int, **values: object) -> Callable[[Graph], None]:
    def change(g: Graph) -> None:
        g.nodes[node].attrs = dataclasses.replace(g.nodes[node].attrs, **values)
    return change


def set_const(node: int, key: str, value: object, dtype: type) -> Callable[[Graph], None]:
    def change(g: Graph) -> None:
        old = g.nodes[node].consts[key]
        g.nodes[node].consts[key] = np.full(old.shape, value, dtype)
    return change


def _tensor(name: str, **values: object) -> Callable[[Graph], None]:
    def change(g: Graph) -> None:
        g.tensors[name] = dataclasses.replace(g.tensors[name], **values)
    return change


FAULTS: dict[str, tuple[Callable[[Graph], object], str]] = {
    "order": (lambda g: g.nodes.reverse(), "'m'.*before it is computed"),
    "two names": (lambda g: setattr(g.nodes[1], "name", "c"), "two nodes"),
    "written twice": (lambda g: setattr(g.nodes[1], "output", "t"), "'m'.*second time"),
    "inputs": (lambda g: g.nodes[1].inputs.append("x"), "'m'.*2 inputs are too many"),
    "no inputs": (lambda g: g.nodes[1].inputs.clear(), "'m'.*0 inputs are too few"),
    "no tensor": (lambda g: g.tensors.pop("t"), "tensor 't'"),
    "shape": (_tensor("t", shape=(8, 6, 5)), r"'c'.*shape \[8, 6, 5\], \[8, 6, 6\] is computed"),
    "scale": (_tensor("t", scale=0.0), "tensor 't': scale"),
    "zero point": (_tensor("t", zero_point=200), "tensor 't'.*zero point 200"),
    "output": (lambda g: g.outputs.append("z"), "output 'z'"),
    "no output": (lambda g: g.outputs.clear(), "no input or no output"),
    "output is input": (lambda g: g.outputs.append("x"), "an output is named twice"),
    "kernel": (set_attr(0, kernel=(3, 32)), "'c'.*kernel 32 exceeds"),
    "stride": (set_attr(0, stride=(0, 1)), "'c'.*stride 0 is too small"),
    "pads": (set_attr(0, pads=(1, 1)), "'c'.*pads"),
    "groups": (set_attr(0, groups=3), "'c'.*groups"),
    "weights": (set_const(0, "weight", -128, np.int8), "'c'.*'weight' is -128"),
    "weight type": (set_const(0, "weight", 1, np.int16), "'c'.*'weight' must be int8"),
    "pool": (lambda g: (set_attr(0, pool=True)(g), set_const(0, "weight", 2, np.int8)(g)),
             r"'c'.*'weight' is 2, and it must be within \[1, 1\]"),
    "mult": (set_const(1, "mult", 1 << 17, np.uint32), "'m'.*mult has more than 17 bits"),
    "shift": (set_const(1, "shift", 48, np.uint8), "'m'.*'shift' is 48, .*quantise again"),
    "range": (set_attr(1, lo=5, hi=4), "'m'.*are no range"),
    "no bias": (lambda g: g.nodes[1].consts.pop("bias"), "'m'.*'bias' must be int32"),
    "bias": (set_const(1, "bias", 1 << 24, np.int32), "'m'.*bias of channel 0"),
    "table": (lambda g: g.nodes[0].consts.update(table=np.zeros(255, np.int8)), "'c'.*'table'"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name: str) -> None:
    change, message = FAULTS[name]
    graph = small()
    change(graph)
    with pytest.raises(FalconetError, match=message):
        verify(graph, ARCH)


def test_concat_of_two_scales() -> None:
    graph = small()
    graph.tensors["z"] = Tensor("z", (16, 6, 6), 0.1)
    graph.nodes.append(Node(Concat(), "j", ["t", "y"], "z"))
    graph.outputs = ["z"]
    verify(graph, ARCH)
    graph.tensors["t"] = dataclasses.replace(graph.tensors["t"], scale=0.2)
    with pytest.raises(FalconetError, match=r"'j'.*different scales"):
        verify(graph, ARCH)


@pytest.mark.parametrize(("inputs", "legal"), [(1, True), (2, True), (3, False), (98, False)])
def test_an_eltwise_has_two_operands_at_most(inputs: int, legal: bool) -> None:
    """As docs/arithmetic.md has it; nothing else is wrong with it."""
    graph = small()
    consts = {**graph.nodes[1].consts, "coef": np.ones((inputs, 8), np.int32)}
    graph.nodes[1] = Node(Eltwise(), "m", ["x"] * inputs, "y", consts)
    if legal:
        verify(graph, ARCH)
    else:
        with pytest.raises(FalconetError, match=f"'m'.*{inputs} inputs are too many"):
            verify(graph, ARCH)


def test_accumulator_bound_is_tight() -> None:
    """The extreme inputs reach the bound."""
    random = np.random.default_rng(0)
    weight = random.integers(-127, 128, (4, 3, 2, 2)).astype(np.int8)
    low, high = accumulator_range(weight)
    flat = weight.reshape(4, -1).astype(int)
    for o in range(4):
        assert high[o] == (np.where(flat[o] > 0, 127, -128) * flat[o]).sum()
        assert low[o] == (np.where(flat[o] > 0, -128, 127) * flat[o]).sum()


@pytest.mark.parametrize(("bits", "weight", "bias", "legal"), [
    (21, 113, 0, True), (21, 114, 0, False), (24, 100, 1 << 22, True),
    (24, 100, (1 << 23) - 1, False), (24, 100, -(1 << 23), False),
])
def test_overflow_is_proven(bits: int, weight: int, bias: int, legal: bool) -> None:
    """72 products of -128 and the weight; the bias counts."""
    graph = small()
    set_const(0, "weight", weight, np.int8)(graph)
    set_const(0, "bias", bias, np.int32)(graph)
    arch = dataclasses.replace(ARCH, acc_bits=bits)
    if legal:
        verify(graph, arch)
    else:
        with pytest.raises(FalconetError, match=r"'c'.*can reach [\d,]+, more than 2\d bits"):
            verify(graph, arch)
