"""Pooling: averages and maxima over windows, the whole image, or the channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Shape
from falconet.compiler.importer.expr import Average, Conv, Expr, Value
from falconet.compiler.importer.onnx.context import Context, operator
from falconet.compiler.importer.onnx.handlers.linear import ones, out_chw, pool_pads, window
from falconet.compiler.importer.onnx.handlers.move import moved
from falconet.compiler.importer.onnx.nodes import OnnxNode
from falconet.compiler.importer.onnx.roles import Role
from falconet.isa import Window
from falconet.isa.graph.ops import conv as ops
from falconet.isa.graph.ops.averagepool import AveragePool
from falconet.isa.graph.ops.maxpool import MaxPool
from falconet.isa.graph.ops.stackpool import StackPool

__all__: list[str] = []

_MOST = Window.field("n_ky").hi
_DILATION = Window.field("dil_y").hi
_PADDED = Window.field("stride_y").hi


# ---------------------------------------------------------------------- maximum


@operator("MaxPool", role=Role.MOVE)
def max_pool(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.image(node, args[0])
    if len(node.outputs) > 1 and node.outputs[1]:
        node.refuse("the output 'Indices' is not supported; export without it")
    attrs = MaxPool(**pool_pads(ctx, node, x))
    out = out_chw(ctx, node)
    if _sees_nothing(attrs, x.shape[1:], out[1:]):
        node.refuse("a window sees nothing but padding, and the maximum of that is no number; use "
                    "smaller pads or less dilation")
    return _maximum(ctx, node, x, attrs, out)


@operator("GlobalMaxPool", role=Role.MOVE)
def global_max_pool(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.image(node, args[0])
    return _maximum(ctx, node, x, MaxPool(kernel=x.shape[1:]), (x.shape[0], 1, 1))


@operator("ReduceMax", role=Role.MOVE)
def reduce_max(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.image(node, args[0])
    over = _axes(ctx, node, args)
    if 1 in over:
        x = moved(ctx, node, StackPool(stack=x.shape[0], maximum=True), [x], (1, *x.shape[1:]))
    kernel = _kernel(x, over)
    if kernel == (1, 1):
        return x
    shape = x.shape[0], x.shape[1] // kernel[0], x.shape[2] // kernel[1]
    return _maximum(ctx, node, x, MaxPool(kernel=kernel), shape)


def _sees_nothing(window: MaxPool, size: tuple[int, int], out: tuple[int, int]) -> bool:
    """Whether some output's window has no pixel of the input in it."""
    return any(int(_counts(window, i, size[i], out[i], (0, 0)).min()) == 0 for i in range(2))


@dataclass(frozen=True)
class _Twice:
    """An axis of a maximum over maxima: kernel, stride, dilation, pads of the first, then of the
    second without pads."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int]


def _maximum(ctx: Context, node: OnnxNode, x: Expr, attrs: MaxPool, out: Shape) -> Expr:
    """In two steps where a window is too large: padding counts nothing, a pixel may count twice."""
    if max(attrs.kernel) <= _MOST:
        return moved(ctx, node, attrs, [x], out)
    axes = []
    for i in range(2):
        found = min(_twice(attrs, i, out[i + 1]), default=None, key=lambda cut: cut[0])
        if found is None:
            node.refuse(f"a maximum over {attrs.kernel[i]} pixels at a stride of {attrs.stride[i]} "
                        f"has no pieces of {_MOST} or less; use a smaller window")
        axes.append(found[1])
    y, z = axes
    first = MaxPool(kernel=(y.kernel[0], z.kernel[0]), stride=(y.stride[0], z.stride[0]),
                    dilation=(y.dilation[0], z.dilation[0]),
                    pads=(y.pads[0], z.pads[0], y.pads[1], z.pads[1]))
    last = MaxPool(kernel=(y.kernel[1], z.kernel[1]), stride=(y.stride[1], z.stride[1]),
                   dilation=(y.dilation[1], z.dilation[1]))
    between = moved(ctx, node, first, [x], first.shape([x.shape], {}))
    return moved(ctx, node, last, [between], out)


def _twice(a: MaxPool, i: int, out: int) -> Iterator[tuple[tuple[int, ...], _Twice]]:
    """Ways to do an axis, each behind the pixels that it reads for one of the result, or so."""
    k, s, d, pads = a.kernel[i], a.stride[i], a.dilation[i], (a.pads[i], a.pads[i + 2])
    if k <= _MOST:
        yield (0, 0), _Twice((k, 1), (s, 1), (d, 1), pads)
        return
    if out == 1 and d == 1:
        for piece in range(2, _MOST + 1):
            count = -(-k // piece)
            if count <= _MOST:
                yield (piece > _PADDED, abs(piece - count)), _Twice(
                    (piece, count), (piece, 1), (1, 1), (pads[0], pads[1] + count * piece - k))
        return
    for piece in range(2, _MOST + 1):
        for count in range(2, _MOST + 1):
            apart, rest = divmod(k - piece, count - 1)
            if rest or not 1 <= apart <= piece:
                continue
            step = int(np.gcd(s, apart * d))  # the first one's stride
            if apart * d // step <= _DILATION:
                yield (piece * s // step + count, piece), _Twice(
                    (piece, count), (step, s // step), (d, apart * d // step), pads)


# ---------------------------------------------------------------------- average


@operator("AveragePool", role=Role.LAYER)
def average_pool(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.real(node, args[0])
    ctx.image(node, x)
    given = window(node, list(node.attrs["kernel_shape"]), x.shape[1:])
    attrs, out = ops.Conv(**pool_pads(ctx, node, x)), out_chw(ctx, node)
    counted = given["pads"] if node.attrs.get("count_include_pad", 0) else (0, 0, 0, 0)
    y, z = (_counts(attrs, i, x.shape[i + 1], out[i + 1], (counted[i], counted[i + 2]))
            for i in range(2))
    if min(y.min(), z.min()) == 0:
        node.refuse("a window sees nothing but padding, and the mean of that is no number; use "
                    "smaller pads or less dilation")
    if y.min() == y.max() and z.min() == z.max():
        return ones(node, x, out, {name: getattr(attrs, name) for name in (
            "kernel", "stride", "pads", "dilation")}, 1 / int(y[0] * z[0]))
    if max(attrs.kernel) > _MOST:
        node.refuse(f"a window of {attrs.kernel[0]} x {attrs.kernel[1]} pixels whose padding is "
                    f"not counted; use {_MOST} x {_MOST} at most, or count_include_pad = 1")
    pool = AveragePool(kernel=attrs.kernel, stride=attrs.stride, pads=attrs.pads,
                       dilation=attrs.dilation)
    return Average(node.name, out, x.tensor, pool, y[:, None] * z.astype(np.float64))


def _counts(a: ops.Conv | MaxPool, i: int, side: int, out: int, more: tuple[int, int]
            ) -> NDArray[np.int64]:
    """Of each output row (or column) the taps inside the image, ``more`` rows around it counted
    too."""
    first = np.arange(out) * a.stride[i] - a.pads[i]
    at = first[:, None] + np.arange(a.kernel[i]) * a.dilation[i]
    found: NDArray[np.int64] = ((at >= -more[0]) & (at < side + more[1])).sum(1)
    return found


@operator("GlobalAveragePool", role=Role.LAYER)
def global_average_pool(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.real(node, args[0])
    ctx.image(node, x)
    c, h, w = x.shape
    return ones(node, x, (c, 1, 1), {"kernel": (h, w)}, 1 / (h * w))


@operator("ReduceMean", role=Role.LAYER)
def reduce_mean(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.real(node, args[0])
    ctx.image(node, x)
    over, c = _axes(ctx, node, args), x.shape[0]
    kernel = _kernel(x, over)
    shape = x.shape[0], x.shape[1] // kernel[0], x.shape[2] // kernel[1]
    if 1 not in over:
        return ones(node, x, shape, {"kernel": kernel}, 1 / (kernel[0] * kernel[1]))
    if max(kernel) > _MOST:
        node.refuse(f"a mean over the channels of {kernel[0]} x {kernel[1]} pixels; use two, the "
                    "first over H and W")
    weight = np.ones((1, c, *kernel), np.int8)
    return Conv(node.name, (1, *shape[1:]), x.tensor, weight,
                np.full(1, 1 / (c * kernel[0] * kernel[1])), np.zeros(1), ops.Conv(kernel=kernel))


def _axes(ctx: Context, node: OnnxNode, args: list[Value | None]) -> set[int]:
    """Of C, H, W (1, 2, 3) those that are reduced."""
    given = ctx.whole(node, args[1], 1) if len(args) > 1 else None
    axes = [int(a) for a in (node.attrs.get("axes", []) if given is None else given.reshape(-1))]
    rank = len(ctx.model.shape(node.inputs[0], node))
    if not axes and node.attrs.get("noop_with_empty_axes", 0):
        return set()
    over = {a % rank for a in axes or range(rank)} - {0}
    if rank != 4:
        node.refuse(f"axes {axes} of {rank} dimensions; only an image [1, C, H, W] is reduced")
    return over


def _kernel(x: Expr, over: set[int]) -> tuple[int, int]:
    return x.shape[1] if 2 in over else 1, x.shape[2] if 3 in over else 1
