"""Operators that give values other places: views, transposes, moves between space and depth."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from falconet.compiler.importer.expr import Expr, Value, View, Weight
from falconet.compiler.importer.onnx.context import Context, chw, operator
from falconet.compiler.importer.onnx.nodes import OnnxNode
from falconet.compiler.importer.onnx.roles import Role
from falconet.compiler.importer.order import Dims, natural, reshaped, shape_of

__all__ = ["placed"]


def placed(ctx: Context, node: OnnxNode, inner: Expr, dims: Dims) -> Expr:
    """``inner`` in another order, or itself where that is its own."""
    if natural(dims, math.prod(inner.shape)):
        return inner
    ctx.budget.charge(sum(v.nbytes for d in dims for v in d), f"node '{node.name}' ({node.op})")
    return View(node.name, chw(shape_of(dims)) or inner.shape, inner, dims, node.op)


@operator("Flatten", "Reshape", "Squeeze", "Unsqueeze", role=Role.VIEW)
def view(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    """Nothing moves with batch 1; an operator that minds the shape checks it itself."""
    x, shape = args[0], ctx.model.shape(node.outputs[0], node)
    if isinstance(x, Weight):
        return _weight_view(node, x, shape)
    if not isinstance(x, View):
        return ctx.expr(node, x)
    dims = reshaped(x.dims, shape)
    if dims is None:
        return dataclasses.replace(ctx.arranged(node, x), node=node.name)
    return placed(ctx, node, x.inner, dims)


def _weight_view(node: OnnxNode, w: Weight, shape: list[int]) -> Weight:
    if w.scale.size > 1 or w.zero_point.size > 1:
        axis = int(np.argmax(w.scale.shape))
        if len(shape) <= axis or shape[: axis + 1] != list(w.q.shape[: axis + 1]):
            node.refuse(f"it reshapes the channels of '{w.name}'; quantise after the reshape")
        spread = [n if i == axis else 1 for i, n in enumerate(shape)]
    else:
        spread = [1] * len(shape)
    return Weight(w.name, w.q.reshape(shape), np.broadcast_to(
        w.scale.reshape(-1), max(spread, default=1)).reshape(spread), np.broadcast_to(
        w.zero_point.reshape(-1), max(spread, default=1)).reshape(spread))


@operator("Transpose", role=Role.VIEW)
def transpose(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = args[0]
    if isinstance(x, Weight):
        perm = node.attrs.get("perm") or list(range(x.q.ndim))[::-1]
        return Weight(x.name, x.q.transpose(perm), x.scale.transpose(perm),
                      x.zero_point.transpose(perm))
    expr = x if isinstance(x, View) else ctx.expr(node, x)
    shape = ctx.model.shape(node.inputs[0], node)
    perm = node.attrs.get("perm") or list(range(len(shape)))[::-1]
    order = [p for p in perm if shape[p] != 1]
    if order == sorted(order) and not isinstance(x, View):
        return expr
    inner, dims = ctx.dims(node, expr)
    return placed(ctx, node, inner, tuple(dims[p] for p in perm))


@operator("DepthToSpace", "SpaceToDepth", role=Role.MOVE)
def space(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    """Blocks of pixels out of channels, or the other way round."""
    x = ctx.image(node, args[0])
    (c, h, w), b = x.shape, int(node.attrs["blocksize"])
    if node.op == "SpaceToDepth":
        seen, perm = [1, c, h // b, b, w // b, b], (0, 3, 5, 1, 2, 4)
    elif node.attrs.get("mode", "DCR") == "DCR":
        seen, perm = [1, b, b, c // b**2, h, w], (0, 3, 4, 1, 5, 2)
    else:
        seen, perm = [1, c // b**2, b, b, h, w], (0, 1, 4, 2, 5, 3)
    inner, dims = ctx.dims(node, x)
    split = reshaped(dims, seen)
    assert split is not None
    out = reshaped(tuple(split[p] for p in perm), ctx.model.shape(node.outputs[0], node))
    assert out is not None
    found = placed(ctx, node, inner, out)
    return ctx.arranged(node, found) if isinstance(found, View) else found
