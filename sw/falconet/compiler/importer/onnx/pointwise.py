"""Operators that see a value at a time, on values whose order is not that of a tensor.

They are handled on the tensors instead, with the constants laid out as these are; the results have
the order that the operands had.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.expr import Expr, Stack, Value, View, Weight
from falconet.compiler.importer.onnx.context import Context
from falconet.compiler.importer.onnx.matrices import matrices, one_row, tokens_of
from falconet.compiler.importer.onnx.nodes import OnnxNode
from falconet.compiler.importer.onnx.roles import ROLES, Role
from falconet.compiler.importer.order import Dims, offsets, pixels_of, shape_of, tokens

__all__ = ["pointwise"]

Array = NDArray[Any]
Args = list["Value | None"]
Handler = Callable[[Context, OnnxNode, Args], "Value | list[Value]"]

_SCALED = ("Mul", "Div")


def pointwise(ctx: Context, node: OnnxNode, args: Args, handler: Handler) -> Value | None:
    """The node on the tensors of its operands; None where these are in their own order, or have to
    be put into it first."""
    if any(isinstance(a, Stack) for a in args):
        return _by_matrix(ctx, node, args, handler)
    if not any(isinstance(a, View) for a in args):
        return None
    shape = ctx.model.shape(node.outputs[0], node)
    active = {i: ctx.dims(node, a, i) for i, a in enumerate(args) if isinstance(a, Expr)}
    inner, dims = next(iter(active.values()))
    alike = all(x.shape == inner.shape and _equal(d, dims) for x, d in active.values())
    if alike and shape_of(dims) == shape and _inside(node, args, inner, dims, len(active)):
        return _on_tensors(ctx, node, args, handler, {i: x for i, (x, _) in active.items()},
                           dims, shape)
    if len(shape) != 4 and any(pixels_of(d, x.shape) is not None for x, d in active.values()):
        return _by_token(ctx, node, args, handler, shape)
    return None


def _inside(node: OnnxNode, args: Args, inner: Expr, dims: Dims, count: int) -> bool:
    """Whether the operator sees all of the tensor, or may as well."""
    plain = count == 1 and all(_numbers(a).size == 1 for a in args
                               if a is not None and not isinstance(a, Expr))
    if plain and (ROLES[node.op] in (Role.CLAMP, Role.FUNCTION) or node.op in _SCALED):
        return True
    places = offsets(dims)
    return places is not None and len(places) == int(np.prod(inner.shape)) == len(
        np.unique(places))


def _equal(a: Dims, b: Dims) -> bool:
    if shape_of(a) != shape_of(b):
        return False
    x, y = offsets(a), offsets(b)
    return x is not None and y is not None and np.array_equal(x, y)


def _on_tensors(ctx: Context, node: OnnxNode, args: Args, handler: Handler,
                inners: dict[int, Expr], dims: Dims, shape: Sequence[int]) -> Value:
    inner = next(iter(inners.values()))
    places = offsets(dims)

    def laid(a: Array) -> Array:
        found = np.zeros(int(np.prod(inner.shape)), a.dtype)
        found[places] = np.broadcast_to(a, shape).reshape(-1)
        return found.reshape(1, *inner.shape)

    new = [inners[i] if i in inners else _laid(a, laid) for i, a in enumerate(args)]
    found = _handled(ctx, node, new, handler, inner.shape)
    first = next(a for a in args if isinstance(a, View))
    return dataclasses.replace(first, inner=found, stored="")


def _by_token(ctx: Context, node: OnnxNode, args: Args, handler: Handler, shape: Sequence[int]
              ) -> Value:
    """All operands as tensors whose channels are the last axis."""
    lead, channels = shape[:-1], shape[-1]

    def laid(a: Array) -> Array:
        full = np.broadcast_to(a, shape).reshape(-1, channels)
        return np.ascontiguousarray(full.T)[None, :, None]

    new: Args = []
    for i, a in enumerate(args):
        if not isinstance(a, Expr):
            new.append(_laid(a, laid))
            continue
        own = ctx.model.shape(node.inputs[i], node)
        if len(own) != len(shape) or own[:-1] not in (list(lead), [1] * len(lead)):
            node.refuse(f"operands of shapes {own} and {list(shape)} repeat some of several axes; "
                        "repeat the smaller first (Expand)")
        new.append(tokens_of(ctx, node, a, i, ordered=True)[0])
    if len({x.shape[1] for x in new if isinstance(x, Expr)}) > 1:
        new = [one_row(ctx, node, x) if isinstance(x, Expr) else x for x in new]
    rows = max(x.shape[1] for x in new if isinstance(x, Expr))
    found = _handled(ctx, node, new, handler, (channels, rows, int(np.prod(lead)) // rows))
    return View(node.name, found.shape, found, tokens(lead, channels), node.op)


def _by_matrix(ctx: Context, node: OnnxNode, args: Args, handler: Handler) -> Value:
    shape = ctx.model.shape(node.outputs[0], node)
    lead, (m, n) = tuple(shape[:-2]), shape[-2:]
    groups = {}
    for i, a in enumerate(args):
        if isinstance(a, Expr):
            own, parts = matrices(ctx, node, a, i)
            places = np.arange(len(parts)).reshape(own)
            groups[i] = [parts[j] for j in np.broadcast_to(places, lead).reshape(-1)]
    found = []
    for k in range(int(np.prod(lead))):
        def laid(a: Array, k: int = k) -> Array:
            part = np.broadcast_to(a, shape).reshape(-1, m, n)[k]
            return np.ascontiguousarray(part.T)[None, :, None]

        new = [groups[i][k] if i in groups else _laid(a, laid) for i, a in enumerate(args)]
        named = dataclasses.replace(node, name=f"{node.name}/head{k}")
        found.append(_handled(ctx, named, new, handler, (n, 1, m)))
    return Stack(node.name, (n, 1, m), tuple(found), lead)


def _handled(ctx: Context, node: OnnxNode, args: Args, handler: Handler,
             shape: tuple[int, int, int]) -> Expr:
    """The handler on images of the shapes of the tensors."""
    shapes = {name: [1, *a.shape] for name, a in zip(node.inputs, args) if isinstance(a, Expr)}
    with ctx.shaped({**shapes, node.outputs[0]: [1, *shape]}):
        found = handler(ctx, node, args)
    if not isinstance(found, Expr):
        node.refuse("its result is no activation; simplify the model")
    return found


def _numbers(value: Value) -> Array:
    if isinstance(value, Weight):
        return value.q
    return value if isinstance(value, np.ndarray) else np.zeros(2)


def _laid(value: Value | None, laid: Callable[[Array], Array]) -> Value | None:
    """A constant as [1, C, H, W], sides of 1 where it is the same all along."""
    if isinstance(value, Weight) and value.scale.size == value.zero_point.size == 1:
        if value.q.size == 1:
            return value
        four = (1, 1, 1, 1)
        return Weight(value.name, _short(laid(value.q)), value.scale.reshape(four),
                      value.zero_point.reshape(four))
    array = value.real if isinstance(value, Weight) else value
    if not isinstance(array, np.ndarray) or array.size == 1:
        return array
    return _short(laid(array))


def _short(array: Array) -> Array:
    for axis in (3, 2):
        first = array.take([0], axis)
        if np.all(array == first):
            array = first
    if array.size == array.shape[1] and np.all(array == array.reshape(-1)[0]):
        array = array[:, :1]
    return array
