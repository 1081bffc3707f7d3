"""Operators that move data: pooling by maximum, concatenation, slices, repetition, views."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Shape
from falconet.compiler.importer.context import Context, operator
from falconet.compiler.importer.expr import Expr, Move, Real, Value, Weight
from falconet.compiler.importer.linear import pool_pads
from falconet.compiler.importer.nodes import OnnxNode

__all__: list[str] = []

Array = NDArray[Any]


def _move(ctx: Context, node: OnnxNode, op: str, inners: list[Expr], shape: Shape,
          attrs: dict[str, Any], output: int = 0) -> Expr:
    """Move tensors of one scale at once, anything else when it is quantised."""
    name = node.name if output == 0 else f"{node.name}/{output}"
    expr = Move(name, shape, op, tuple(inners), attrs)
    reals = [x for x in inners if isinstance(x, Real)]
    scales = {(t.scale, t.zero_point) for t in map(ctx.builder.tensor, reals)}
    if len(reals) == len(inners) and len(scales) == 1:
        tensor = ctx.builder.move(expr, [x.tensor for x in reals], node.outputs[output])
        return Real(name, shape, tensor)
    return expr


@operator("MaxPool")
def max_pool(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.image(node, args[0])
    if len(node.outputs) > 1 and node.outputs[1]:
        node.refuse("the output 'Indices' is not supported; export without it")
    attrs = pool_pads(ctx, node, x)
    _, c, h, w = ctx.model.shape(node.outputs[0], node)
    if _sees_nothing(attrs, x.shape[1:], (h, w)):
        node.refuse("a window sees nothing but padding, and the maximum of that is no number; use "
                    "smaller pads or less dilation")
    return _move(ctx, node, "maxpool", [x], (c, h, w), attrs)


def _sees_nothing(window: dict[str, Any], size: tuple[int, int], out: tuple[int, int]) -> bool:
    """Whether some output's window has no pixel of the input in it."""
    for i in range(2):
        first = np.arange(out[i]) * window["stride"][i] - window["pads"][i]
        at = first[:, None] + np.arange(window["kernel"][i]) * window["dilation"][i]
        if not np.all(np.any((at >= 0) & (at < size[i]), 1)):
            return True
    return False


@operator("Concat")
def concat(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    inners = [ctx.image(node, a, i) for i, a in enumerate(args)]
    rank = len(ctx.model.shape(node.outputs[0], node))
    if int(node.attrs["axis"]) % rank != 1:
        node.refuse(f"axis {node.attrs['axis']}; only channels can be joined (end the network "
                    "before it and join the outputs afterwards)")
    if len(inners) == 1:
        return inners[0]
    _, h, w = inners[0].shape
    return _move(ctx, node, "concat", inners, (sum(x.shape[0] for x in inners), h, w), {})


def _channels(ctx: Context, node: OnnxNode, x: Expr, begin: int, end: int, output: int) -> Expr:
    c, h, w = x.shape
    if (begin, end) == (0, c):
        return x
    return _move(ctx, node, "slice", [x], (end - begin, h, w), {"begin": begin, "end": end},
                 output)


@operator("Split")
def split(ctx: Context, node: OnnxNode, args: list[Value | None]) -> list[Value]:
    x = ctx.image(node, args[0])
    rank = len(ctx.model.shape(node.inputs[0], node))
    if int(node.attrs.get("axis", 0)) % rank != 1:
        node.refuse("only channels can be split; use axis 1")
    found: list[Value] = []
    begin = 0
    for i, name in enumerate(node.outputs):
        end = begin + ctx.model.shape(name, node)[1]
        found.append(_channels(ctx, node, x, begin, end, i))
        begin = end
    return found


@operator("Slice")
def slice_(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.image(node, args[0])
    shape = ctx.model.shape(node.inputs[0], node)
    given = [ctx.constant(node, a, i) for i, a in enumerate(args[1:], 1)] + [None, None]
    starts, ends = given[0], given[1]
    assert starts is not None and ends is not None
    axes = np.arange(len(starts)) if given[2] is None else given[2]
    steps = np.ones(len(starts), int) if given[3] is None else given[3]
    begin, end = 0, x.shape[0]
    for start, stop, axis, step in zip(starts, ends, axes, steps):
        size = shape[int(axis)]
        first, last, stride = slice(int(start), int(stop), int(step)).indices(size)
        if int(axis) % len(shape) == 1 and stride == 1 and first < last:
            begin, end = first, last
        elif (first, last, stride) != (0, size, 1):
            node.refuse(f"[{start}:{stop}:{step}] along axis {axis}; only a range of channels can "
                        "be cut out")
    return _channels(ctx, node, x, begin, end, 0)


@operator("Resize", "Upsample")
def resize(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    """Nearest neighbour by an integer, in a flavour that repeats pixels."""
    x = ctx.image(node, args[0])
    _, c, h, w = x_shape = [1, *x.shape]
    out = ctx.model.shape(node.outputs[0], node)
    hint = "use mode 'nearest', 'asymmetric', 'floor' and an integer factor"
    if node.attrs.get("mode", "nearest") != "nearest":
        node.refuse(f"mode '{node.attrs['mode']}'; {hint}")
    if out[:2] != x_shape[:2] or out[2] % h or out[3] % w:
        node.refuse(f"{x_shape} to {out} is no integer factor; {hint}")
    fy, fx = out[2] // h, out[3] // w
    given = ctx.constant(node, args[2], 2) if node.op == "Resize" and len(args) > 2 else None
    axes = [int(a) % 4 for a in node.attrs.get("axes") or range(4)]
    if given is not None and given.size and [float(v) for v in given] != [
            (1, 1, fy, fx)[a] for a in axes]:
        node.refuse(f"factors {given.tolist()} are not integers; {hint}")
    if node.op == "Resize" and not (_repeats(node, h, fy) and _repeats(node, w, fx)):
        node.refuse(f"this coordinate_transformation_mode does not repeat pixels; {hint}")
    if fy == fx == 1:
        return x
    return _move(ctx, node, "upsample", [x], (c, h * fy, w * fx), {"fy": fy, "fx": fx})


def _repeats(node: OnnxNode, size: int, factor: int) -> bool:
    """Whether the nearest pixel of every output is ``output // factor``."""
    out = np.arange(size * factor, dtype=np.float64)
    mode = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    if mode in ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"):
        at = (out + 0.5) / factor - 0.5
        if mode == "pytorch_half_pixel" and out.size == 1:
            at[:] = 0
    elif mode == "asymmetric":
        at = out / factor
    elif mode == "align_corners":
        at = out * (size - 1) / max(out.size - 1, 1)
    else:
        return False
    nearest = {
        "round_prefer_floor": np.ceil(at - 0.5), "floor": np.floor(at), "ceil": np.ceil(at),
        "round_prefer_ceil": np.floor(at + 0.5),
    }.get(node.attrs.get("nearest_mode", "round_prefer_floor"))
    return nearest is not None and np.array_equal(np.clip(nearest, 0, size - 1), out // factor)


@operator("Identity", "Dropout")
def identity(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    assert args[0] is not None
    return args[0]


@operator("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def view(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    """Nothing moves with batch 1; an operator that minds the shape checks it itself."""
    if isinstance(args[0], Weight):
        return _weight_view(ctx, node, args[0], ctx.model.shape(node.outputs[0], node))
    return ctx.expr(node, args[0])


def _weight_view(ctx: Context, node: OnnxNode, w: Weight, shape: list[int]) -> Weight:
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


@operator("Transpose")
def transpose(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = args[0]
    if isinstance(x, Weight):
        perm = node.attrs.get("perm") or list(range(x.q.ndim))[::-1]
        return Weight(x.name, x.q.transpose(perm), x.scale.transpose(perm),
                      x.zero_point.transpose(perm))
    expr = ctx.expr(node, x)
    shape = ctx.model.shape(node.inputs[0], node)
    perm = node.attrs.get("perm") or list(range(len(shape)))[::-1]
    moved = [p for p in perm if shape[p] != 1]
    if moved != sorted(moved):
        node.refuse(f"it moves data (perm {list(perm)}); end the network before it and transpose "
                    "the output afterwards")
    return expr
