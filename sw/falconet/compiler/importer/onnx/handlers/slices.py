"""Operators that take parts of values, join or repeat them: channels, rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Shape
from falconet.compiler.importer.arrange import channels, pixels
from falconet.compiler.importer.expr import Expr, Value, View
from falconet.compiler.importer.onnx.context import Context, chw, operator
from falconet.compiler.importer.onnx.handlers.reshape import placed
from falconet.compiler.importer.onnx.nodes import OnnxNode
from falconet.compiler.importer.onnx.roles import Role
from falconet.compiler.importer.order import indexed
from falconet.isa.graph.operator import Operator
from falconet.isa.graph.ops.concat import Concat
from falconet.isa.graph.ops.pick import Pick

__all__: list[str] = []

Array = NDArray[Any]


def _taken(ctx: Context, node: OnnxNode, value: Value | None, index: dict[int, Array],
           output: int = 0) -> Expr:
    """Places along some axes of input 0; an index without dimensions drops its axis."""
    shape = ctx.model.shape(node.inputs[0], node)
    x = value if isinstance(value, View) else ctx.expr(node, value)
    plain = len(shape) == 4 and chw(shape) == x.shape and all(i.ndim == 1 for i in index.values())
    if not plain or isinstance(x, View) or 0 in index:
        inner, dims = ctx.dims(node, x)
        for axis in sorted(index, reverse=True):
            found = indexed(dims, axis, index[axis])
            if found is None:
                node.refuse(f"axis {axis} is too long to be taken apart; simplify the model")
            dims = found
        return placed(ctx, node, inner, dims)

    def make(attrs: Operator, inners: list[Expr], size: Shape) -> Expr:
        return ctx.moved(node, attrs, inners, size, output, f"/{attrs.op}")

    _, h, w = x.shape
    if 1 in index:
        x = channels(make, x, index[1])
    return pixels(make, [x], index.get(2, np.arange(h)), index.get(3, np.arange(w)))


@operator("Slice", role=Role.MOVE)
def slice_(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    shape = ctx.model.shape(node.inputs[0], node)
    given = [ctx.whole(node, a, i) for i, a in enumerate(args[1:], 1)] + [None, None]
    starts, ends = given[0], given[1]
    assert starts is not None and ends is not None
    axes = np.arange(len(starts)) if given[2] is None else given[2]
    steps = np.ones(len(starts), int) if given[3] is None else given[3]
    index = {}
    for start, stop, axis, step in zip(starts, ends, axes, steps):
        size = shape[int(axis)]
        found = np.arange(*slice(int(start), int(stop), int(step)).indices(size))
        if not len(found):
            node.refuse(f"[{start}:{stop}:{step}] along axis {axis} is empty; mend the export")
        if len(found) != size or step != 1:
            index[int(axis) % len(shape)] = found
    return _taken(ctx, node, args[0], index)


@operator("Split", role=Role.MOVE)
def split(ctx: Context, node: OnnxNode, args: list[Value | None]) -> list[Value]:
    rank = len(ctx.model.shape(node.inputs[0], node))
    axis = int(node.attrs.get("axis", 0)) % rank
    found: list[Value] = []
    begin = 0
    for i, name in enumerate(node.outputs):
        end = begin + ctx.model.shape(name, node)[axis]
        found.append(_taken(ctx, node, args[0], {axis: np.arange(begin, end)}, i))
        begin = end
    return found


@operator("Gather", role=Role.MOVE)
def gather(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    shape = ctx.model.shape(node.inputs[0], node)
    index, axis = ctx.whole(node, args[1], 1), int(node.attrs.get("axis", 0)) % len(shape)
    assert index is not None
    if index.ndim > 1:
        node.refuse(f"its indices have the shape {list(index.shape)}; give a list of them, or one")
    index = np.where(index < 0, index + shape[axis], index)
    if index.size == 0 or index.min() < 0 or index.max() >= shape[axis]:
        node.refuse(f"there are {shape[axis]} places along axis {axis}, and its indices are none "
                    "of these; mend the export")
    return _taken(ctx, node, args[0], {axis: index})


@operator("Concat", role=Role.MOVE)
def concat(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    inners = [ctx.image(node, a, i) for i, a in enumerate(args)]
    shape = ctx.model.shape(node.outputs[0], node)
    axis = int(node.attrs["axis"]) % len(shape)
    out = chw(shape)
    if axis == 0 or out is None:
        node.refuse(f"axis {node.attrs['axis']} of values of {len(shape)} dimensions; only "
                    "channels, rows or columns of [1, C, H, W] can be joined")
    if len(inners) == 1:
        return inners[0]
    if axis == 1:
        return ctx.moved(node, Concat(), inners, out)
    if len(inners) > Pick.arity[1]:
        node.refuse(f"{len(inners)} operands are more than {Pick.arity[1]}; join some of them "
                    "first")
    _, h, w = out
    attrs = Pick(len(inners) if axis == 3 else 1, tuple(range(h)), tuple(range(w)))
    return ctx.moved(node, attrs, inners, out)


def _repeated(ctx: Context, node: OnnxNode, value: Value | None, index: Sequence[Array]) -> Value:
    x = ctx.image(node, value)
    if len(index[0]) != 1:
        node.refuse("it repeats the picture along the batch; batch 1 is all there is")
    return _taken(ctx, node, x, {i: v for i, v in enumerate(index) if i})


@operator("Tile", role=Role.MOVE)
def tile(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    counts = ctx.whole(node, args[1], 1)
    assert counts is not None
    shape = ctx.model.shape(node.inputs[0], node)
    return _repeated(ctx, node, args[0], [
        np.tile(np.arange(n), int(count)) for n, count in zip(shape, counts)])


@operator("Expand", role=Role.MOVE)
def expand(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    shape, wanted = (ctx.model.shape(name, node) for name in (node.inputs[0], node.outputs[0]))
    if len(shape) != len(wanted):
        node.refuse(f"{shape} to {wanted} adds dimensions; only [1, C, H, W] can be repeated")
    return _repeated(ctx, node, args[0], [
        np.arange(n) if n == m else np.zeros(m, np.int64) for n, m in zip(shape, wanted)])
