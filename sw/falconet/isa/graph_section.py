"""The graph section of a program file, checked (its form: ``falconet.compiler.graph``)."""

from __future__ import annotations

import math
from typing import Any

from falconet.isa.checks import Fields, fault, number, text, whole

__all__ = ["check_graph"]

_DTYPES = {"int8": 1, "uint8": 1, "int32": 4, "uint32": 4}
_SIDE = 1 << 16
_ELEMENTS = 1 << 28  # of one tensor
_INPUTS = {"conv": 1, "maxpool": 1, "slice": 1, "upsample": 1, "eltwise": 2, "concat": 1 << 10}

Shape = tuple[int, ...]


def check_graph(value: Any, blob_bytes: int) -> tuple[list[tuple[str, Shape]], ...]:
    """(name, shape) of the graph's inputs and of its outputs.

    Every node's inputs are there before it, its shapes agree, its constants lie in the blob.
    """
    graph = Fields(value, "graph")
    shapes: dict[str, Shape] = {}
    for t in graph.each("tensors"):
        shape = tuple(t.wholes("shape", 3, 1, _SIDE))
        if math.prod(shape) > _ELEMENTS:
            fault(f"{t.field}.shape", f"more than {_ELEMENTS} bytes")
        t.number("scale", 0, math.inf)
        t.whole("zero_point", -(1 << 31), 1 << 31)
        shapes[t.text("name")] = shape
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
        op = node.choice("op", tuple(_INPUTS))
        taken = [ready.get(text(n, f"{node.field}.inputs")) for n in node.entries("inputs")]
        given = [s for s in taken if s is not None]
        if not 1 <= len(given) == len(taken) <= _INPUTS[op]:
            fault(f"{node.field}.inputs", "too many, none, or not made before")
        output = node.text("output")
        attrs = Fields(node.get("attrs"), f"{node.field}.attrs")
        consts = _consts(Fields(node.get("consts"), f"{node.field}.consts"), blob_bytes)
        shape = _shape(op, attrs, consts, given, f"{node.field}.consts")
        if output in ready or shapes.get(output) != shape:
            fault(f"{node.field}.output", f"tensor '{output}' is not of shape {list(shape)}, or "
                                          "made twice")
        ready[output] = shape
    return inputs, names("outputs", ready)


def _consts(consts: Fields, blob_bytes: int) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for key in consts.value:
        c = Fields(consts.value[key], f"{consts.field}.{key}")
        size = _DTYPES[c.choice("dtype", tuple(_DTYPES))]
        shape = c.entries("shape")
        if len(shape) > 4:
            fault(f"{c.field}.shape", "more than four sizes")
        found[key] = tuple(whole(n, f"{c.field}.shape", 1, 1 << 24) for n in shape)
        if c.whole("offset", 0, 1 << 40) + size * math.prod(shape) > blob_bytes:
            fault(c.field, "it is not in the file")
    return found


def _shape(op: str, attrs: Fields, consts: dict[str, Shape], given: list[Shape], where: str
           ) -> Shape:
    """The shape of a node's output."""

    def need(key: str, shape: Shape) -> None:
        if consts.get(key) != shape:
            fault(f"{where}.{key}", f"it is not of shape {list(shape)}")

    c, h, w = given[0]
    if op == "concat":
        if any(s[1:] != (h, w) for s in given):
            fault(attrs.field, "the inputs differ in size")
        return sum(s[0] for s in given), h, w
    if op == "slice":
        begin = attrs.whole("begin", 0, c - 1)
        return attrs.whole("end", begin + 1, c) - begin, h, w
    if op == "upsample":
        return c, h * attrs.whole("fy", 1, _SIDE), w * attrs.whole("fx", 1, _SIDE)
    out = c
    if op == "eltwise":
        need("coef", (len(given), c))
        if len(set(given)) > 1:
            fault(attrs.field, "the inputs differ in shape")
    else:
        kernel = ky, kx = attrs.wholes("kernel", 2, 1, _SIDE)
        sy, sx = attrs.wholes("stride", 2, 1, _SIDE)
        dy, dx = attrs.wholes("dilation", 2, 1, _SIDE)
        top, left, bottom, right = attrs.wholes("pads", 4, 0, _SIDE)
        attrs.whole("pad", -128, 127)
        high, wide = h + top + bottom, w + left + right
        if (dy * (ky - 1) >= high or dx * (kx - 1) >= wide or c * high * wide > _ELEMENTS):
            fault(attrs.field, "kernel, dilation and pads do not go with the input")
        if op == "conv":
            groups = attrs.whole("groups", 1, c)
            weight = consts.get("weight", ())
            out = weight[0] if weight else 0
            if c % groups or out % groups or weight != (out, c // groups, *kernel):
                fault(f"{where}.weight", "its shape does not go with groups, kernel and input")
        h, w = (high - dy * (ky - 1) - 1) // sy + 1, (wide - dx * (kx - 1) - 1) // sx + 1
        if c * ky * kx * h * w > 8 * _ELEMENTS:
            fault(attrs.field, "the layer is too large")
    for key in ("bias", "mult", "mult_neg", "shift"):
        need(key, (out,))
    if "table" in consts:
        need("table", (256,))
    for key in ("zp", "lo", "hi"):
        number(attrs.get(key), f"{attrs.field}.{key}", -(1 << 31), 1 << 31)
        attrs.whole(key, -(1 << 31), 1 << 31)
    return out, h, w
