"""Pad: more pixels or channels around an image, or less."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.expr import Expr, Filled, Real, Value
from falconet.compiler.importer.onnx.context import Context, chw, operator
from falconet.compiler.importer.onnx.handlers.linear import ones
from falconet.compiler.importer.onnx.nodes import OnnxNode
from falconet.compiler.importer.onnx.roles import Role
from falconet.compiler.importer.stage import Stage
from falconet.isa.graph.operator import Operator
from falconet.isa.graph.ops.gather import Gather
from falconet.isa.graph.ops.pick import Pick

__all__: list[str] = []

Array = NDArray[Any]


@operator("Pad", role=Role.MOVE)
def pad(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    """Zeros around an image are a 1x1 convolution with pads, which a pass folds into its users;
    all else is a gather of channels, a pick of pixels, or both."""
    x = ctx.image(node, args[0])
    pads, mode = _pads(ctx, node, args), str(node.attrs.get("mode", "constant"))
    if not any(pads):
        return x
    value = _value(ctx, node, args)
    (top, left), (bottom, right) = pads[2:4], pads[6:]
    if pads[0] or pads[4]:
        node.refuse(f"pads {pads} add to the batch; batch 1 is all there is")
    if (mode, value) == ("constant", 0.0) and isinstance(x, Real) and min(pads) >= 0 and not (
            pads[1] or pads[5]):
        return _zeros(ctx, node, x, (top, left, bottom, right))
    index = [_padded(node, n, pads[i], pads[i + 4], mode) for i, n in enumerate(x.shape, 1)]
    rows, columns = index[1], index[2]
    _, h, w = x.shape
    if index[0] != [*range(x.shape[0])]:
        x = _made(ctx, node, x, Gather(tuple(index[0])), value)
    if (rows, columns) != ([*range(h)], [*range(w)]):
        x = _made(ctx, node, x, Pick(1, tuple(rows), tuple(columns)), value)
    return x


def _pads(ctx: Context, node: OnnxNode, args: list[Value | None]) -> list[int]:
    """Before each of the four axes, then behind each."""
    given = ctx.whole(node, args[1], 1) if len(args) > 1 else None
    axes = ctx.whole(node, args[3], 3) if len(args) > 3 else None
    around = np.arange(4) if axes is None else axes.reshape(-1) % 4
    if given is None or given.ndim != 1 or given.size != 2 * around.size:
        size = "none" if given is None else f"the shape {list(given.shape)}"
        node.refuse(f"its pads have {size}; write one before and one after each axis")
    some, pads = [int(v) for v in given], [0] * 8
    for i, axis in enumerate(map(int, around)):
        pads[axis], pads[axis + 4] = some[i], some[i + around.size]
    return pads


def _value(ctx: Context, node: OnnxNode, args: list[Value | None]) -> float:
    fill = ctx.constant(node, args[2], 2) if len(args) > 2 else None
    value = 0.0 if fill is None or not fill.size else float(fill.reshape(-1)[0])
    if not np.isfinite(value):
        node.refuse(f"it pads with {value}, which no scale holds; use a finite number")
    return value


def _padded(node: OnnxNode, size: int, before: int, behind: int, mode: str) -> list[int]:
    """The source of each place along an axis; -1: there is none."""
    kept: Array = np.arange(size)[max(0, -before):size - max(0, -behind)]
    width = max(0, before), max(0, behind)
    if not len(kept) or (mode == "reflect" and max(width) >= len(kept)) or (
            mode == "wrap" and max(width) > len(kept)):
        node.refuse(f"pads {before} and {behind} of {size} places in mode '{mode}' are too large; "
                    "use smaller ones")
    if mode == "constant":
        return [int(v) for v in np.pad(kept, width, constant_values=-1)]
    if mode not in ("reflect", "edge", "wrap"):
        node.refuse(f"mode '{mode}' is unknown; use constant, reflect, edge or wrap")
    return [int(v) for v in np.pad(kept, width, mode=mode)]  # type: ignore[call-overload]


def _made(ctx: Context, node: OnnxNode, x: Expr, attrs: Gather | Pick, value: float) -> Expr:
    c, h, w = x.shape
    shape = attrs.shape([(c, h, w)], {})
    index = attrs.index if isinstance(attrs, Gather) else (*attrs.rows, *attrs.columns)
    if min(index) >= 0:
        operator_: Operator = attrs
        return ctx.moved(node, operator_, [x], shape)
    found = Filled(node.name, shape, x, attrs, value)
    if value != 0.0 or not isinstance(x, Real):
        return found
    t = ctx.builder.tensor(x)
    tensor = ctx.builder.quantise(found, Stage(t.scale, t.zero_point), node.outputs[0])
    return Real(node.name, shape, tensor)


def _zeros(ctx: Context, node: OnnxNode, x: Real, pads: tuple[int, ...]) -> Real:
    t, shape = ctx.builder.tensor(x), chw(ctx.model.shape(node.outputs[0], node))
    assert shape is not None
    padded = ones(node, x, shape, {"kernel": (1, 1), "pads": pads}, 1.0)
    tensor = ctx.builder.quantise(padded, Stage(t.scale, t.zero_point), node.outputs[0])
    return Real(node.name, shape, tensor)
