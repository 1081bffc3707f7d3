"""The graph section of a program file, checked (its form: ``falconet.compiler.graph``)."""

from __future__ import annotations

import math
from typing import Any

from falconet.isa.checks import Fields, fault, text, whole
from falconet.isa.errors import shown
from falconet.isa.graph.operator import Given, Operator
from falconet.isa.graph.ops import OPERATORS
from falconet.isa.graph.tensor import Shape

__all__ = ["check_graph"]

_DTYPES = {"int8": 1, "uint8": 1, "int32": 4, "uint32": 4}
_SIDE = 1 << 16
_ELEMENTS = 1 << 28  # of one tensor


def check_graph(value: Any, blob_bytes: int) -> tuple[list[tuple[str, Shape]], ...]:
    """(name, shape) of the graph's inputs and of its outputs.

    Every node's inputs are there before it, its operator has no fault with it, its constants lie
    in the blob. Values of constants are not looked at.
    """
    graph = Fields(value, "graph")
    shapes: dict[str, Shape] = {}
    for t in graph.each("tensors"):
        c, h, w = t.wholes("shape", 3, 1, _SIDE)
        if c * h * w > _ELEMENTS:
            fault(f"{t.field}.shape", f"more than {_ELEMENTS} bytes")
        t.number("scale", 0, math.inf)
        t.whole("zero_point", -(1 << 31), 1 << 31)
        shapes[t.text("name")] = c, h, w
    ready: dict[str, Shape] = {}

    def names(key: str, of: dict[str, Shape]) -> list[tuple[str, Shape]]:
        found = []
        for name in graph.entries(key):
            if text(name, f"graph.{key}") not in of:
                fault(f"graph.{key}", f"nothing makes tensor '{name}'")
            found.append((name, of[name]))
        return found

    inputs = names("inputs", shapes)
    ready.update(inputs)
    for node in graph.each("nodes"):
        node.text("name")
        op = OPERATORS[node.choice("op", tuple(OPERATORS))].read(
            Fields(node.get("attrs"), f"{node.field}.attrs"))
        taken = [ready.get(text(n, f"{node.field}.inputs")) for n in node.entries("inputs")]
        given = [s for s in taken if s is not None]
        if len(given) < len(taken) or not given:
            fault(f"{node.field}.inputs", "none, or not made before")
        output = node.text("output")
        consts = _consts(op, Fields(node.get("consts"), f"{node.field}.consts"), blob_bytes)
        shape = _shape(op, given, consts, node.field)
        if output in ready or shapes.get(output) != shape:
            fault(f"{node.field}.output", f"tensor '{output}' is not of shape {list(shape)}, or "
                                          "made twice")
        ready[output] = shape
    return inputs, names("outputs", ready)


def _consts(op: Operator, consts: Fields, blob_bytes: int) -> dict[str, Given]:
    found: dict[str, Given] = {}
    known = {c.name for c in op.constants}
    for key in consts.value:
        if key not in known:
            fault(consts.field, f"{op.op} has no constant {shown(key)}")
        c = Fields(consts.value[key], f"{consts.field}.{key}")
        dtype = c.choice("dtype", tuple(_DTYPES))
        shape = c.entries("shape")
        if len(shape) > 4:
            fault(f"{c.field}.shape", "more than four sizes")
        sizes = tuple(whole(n, f"{c.field}.shape", 1, 1 << 24) for n in shape)
        if c.whole("offset", 0, 1 << 40) + _DTYPES[dtype] * math.prod(sizes) > blob_bytes:
            fault(c.field, "it is not in the file")
        found[key] = Given(dtype, sizes)
    return found


def _shape(op: Operator, given: list[Shape], consts: dict[str, Given], where: str) -> Shape:
    """The shape of a node's output, which takes neither too much memory nor too long."""
    for f in op.faults(given, consts):
        fault(f"{where}.{f.where}", f.why)
    if math.prod(op.padded(given)) > _ELEMENTS or op.steps(given, consts) > 8 * _ELEMENTS:
        fault(f"{where}.attrs", "the layer is too large")
    return op.shape(given, consts)
