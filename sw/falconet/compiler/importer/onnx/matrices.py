"""Values as tokens and as matrices: which of their axes lie in channels, and which in pixels.

The last axis of [..., C] is the channels of a tensor, those in front are its pixels: [1, T, C] is
C x 1 x T. The heads of an attention, [1, heads, T, d], are several such tensors, views of one.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Shape
from falconet.compiler.importer.arrange import pixels
from falconet.compiler.importer.expr import (
    Expr,
    Func,
    Real,
    Stack,
    Sum,
    Value,
    View,
    Weight,
)
from falconet.compiler.importer.onnx.context import QUANTISE, Context
from falconet.compiler.importer.onnx.nodes import OnnxNode
from falconet.compiler.importer.order import Dims, flat, indexed, pixels_of, tokens
from falconet.compiler.importer.stage import Stage
from falconet.isa.graph.operator import Operator
from falconet.isa.graph.ops.concat import Concat
from falconet.isa.graph.ops.matmul import LEAST
from falconet.isa.graph.ops.pick import Pick
from falconet.isa.graph.ops.transpose import Transpose
from falconet.isa.graph.tensor import HI, LO

__all__ = ["constant_tensor", "is_narrow", "joined", "matrices", "narrowed", "one_row", "peeled",
           "tokens_of"]

Array = NDArray[np.int64]

_MOST = 256
"""Matrices of one value."""

_ZERO = (np.zeros(1, np.int64),)


def joined(ctx: Context, node: OnnxNode, stack: Stack) -> View:
    """All matrices as one tensor, their channels one behind the other."""
    n, _, m = stack.shape
    inner = ctx.moved(dataclasses.replace(node, name=stack.node), Concat(), list(stack.parts),
                      (n * len(stack.parts), 1, m), part="/heads")
    lead = []
    step = n * m * len(stack.parts)
    for size in stack.lead:
        step //= size
        lead.append((np.arange(size) * step,))
    return View(stack.node, inner.shape, inner,
                (*lead, (np.arange(m),), (np.arange(n) * m,)), node.op)


def _placed(ctx: Context, node: OnnxNode, value: Value | None, index: int) -> tuple[Expr, Dims]:
    """Input ``index`` as what it is another order of, and that order."""
    if isinstance(value, Stack):
        value = joined(ctx, node, value)
    return ctx.dims(node, value if isinstance(value, View) else ctx.expr(node, value, index), index)


def tokens_of(ctx: Context, node: OnnxNode, value: Value | None, index: int = 0, *,
              ordered: bool = False) -> tuple[Expr, Dims]:
    """Input ``index``, [..., C], as an expression [C, H, W], and the value's order in it.

    With ``ordered`` the pixels are in the order of the axes in front.
    """
    shape = ctx.model.shape(node.inputs[index], node)
    if isinstance(value, Weight):
        q = value.q.reshape(-1, shape[-1]).T[:, None]
        return constant_tensor(ctx, node, value, q), tokens(shape[:-1], shape[-1])
    inner, dims = _placed(ctx, node, value, index)
    found = pixels_of(dims, inner.shape)
    if found is not None and len(found) == math.prod(inner.shape[1:]):
        every = np.arange(len(found))
        if np.array_equal(found if ordered else np.sort(found), every):
            return inner, dims
    rows, columns = flat([v for d in dims[:-1] for v in d]), flat(dims[-1])
    return (_matrix(ctx, node, inner, rows, columns), tokens(shape[:-1], shape[-1]))


def matrices(ctx: Context, node: OnnxNode, value: Value | None, index: int, *, turned: bool = False
             ) -> tuple[tuple[int, ...], list[Expr]]:
    """Input ``index``, [*lead, M, N], as ``lead`` and expressions [N, 1, M], or [M, 1, N] if
    ``turned``."""
    shape = ctx.model.shape(node.inputs[index], node)
    lead = tuple(shape[:-2])
    if len(shape) < 2 or math.prod(lead) > _MOST:
        node.refuse(f"'{node.inputs[index]}' of shape {shape} is no matrix, or more than {_MOST} "
                    "of them; reshape it")
    if isinstance(value, Weight):
        each = value.q.reshape(-1, *shape[-2:])
        return lead, [constant_tensor(ctx, node, value, (q if turned else q.T)[:, None])
                      for q in each]
    if isinstance(value, Stack) and value.lead == lead:
        parts = list(value.parts)
        return lead, [_turned(ctx, node, x) for x in parts] if turned else parts
    inner, dims = _placed(ctx, node, value, index)
    found = []
    for at in np.ndindex(*lead):
        left: Dims | None = dims
        for i in at:
            assert left is not None
            left = indexed(left, 0, np.array(i))
        assert left is not None
        rows, columns = (flat(d) for d in (left[::-1] if turned else left))
        found.append(_matrix(ctx, node, inner, rows, columns))
    return lead, found


def _matrix(ctx: Context, node: OnnxNode, inner: Expr, rows: Array | None, columns: Array | None
            ) -> Expr:
    """A tensor [columns, 1, rows] of values by their offsets."""
    if rows is None or columns is None:
        node.refuse("an axis is too long to be taken apart; simplify the model")
    _, h, w = inner.shape
    size = h * w

    def channels(v: Array) -> bool:
        return not np.ptp(v % size)

    turned = not channels(columns) and channels(rows)
    if turned:
        rows, columns = columns, rows
    if h > 1:
        inner = one_row(ctx, node, inner)
    view = View(node.name, (len(columns), 1, len(rows)), inner,
                (_ZERO, (columns,), _ZERO, (rows,)), node.op)
    made = ctx.arranged(node, view)
    return _turned(ctx, node, made) if turned else made


def one_row(ctx: Context, node: OnnxNode, x: Expr) -> Expr:
    """[C, H, W] as [C, 1, H * W]."""
    _, h, w = x.shape
    if h == 1:
        return x
    if h > Pick.arity[1]:
        node.refuse(f"{h} rows of pixels become one, and the limit is {Pick.arity[1]}; use smaller "
                    "images")

    def make(attrs: Operator, inners: list[Expr], shape: Shape) -> Expr:
        return ctx.moved(node, attrs, inners, shape, part="/row")

    key = x.tensor if isinstance(x, Real) else id(x)
    if key not in ctx.rows:
        parts = [pixels(make, [x], [y], range(w)) for y in range(h)]
        ctx.rows[key] = x, pixels(make, parts, [0], range(h * w), across=h)
    return ctx.rows[key][1]


def _turned(ctx: Context, node: OnnxNode, x: Expr) -> Expr:
    """[C, 1, N] as [N, 1, C], by a product with the identity."""
    if not isinstance(x, Real):
        node.refuse(f"'{node.inputs[0]}' is transposed, and has no quantisation parameters; "
                    f"{QUANTISE}")
    t, (c, _, n) = ctx.builder.tensor(x), x.shape
    stage = Stage(t.scale, t.zero_point)
    if ctx.builder.ranges[x.tensor][0] < LEAST:
        parts = [_turned(ctx, node, half) for half in _halves(ctx, node, x)]
        one = np.ones(n)
        total = Sum(f"{node.name}/halves", (n, 1, c),
                    tuple((p.tensor, one) for p in parts if isinstance(p, Real)), 0 * one)
        return Real(node.name, total.shape,
                    ctx.builder.quantise(total, stage, f"{x.tensor}/transpose"))
    name = ctx.builder.emit(Transpose(), f"{node.name}/transpose", [x.tensor],
                            f"{x.tensor}/transpose", stage, {})
    ctx.builder.ranges[name] = ctx.builder.ranges[x.tensor]
    return Real(node.name, (n, 1, c), name)


def _halves(ctx: Context, node: OnnxNode, x: Real) -> tuple[Real, Real]:
    """Two tensors without -128 of which the sum is ``x``, exactly: tables of it."""
    t = ctx.builder.tensor(x)
    zero, doubled = _doubled(np.arange(LO, HI + 1), t.zero_point)
    found = []
    for name, part in (("half0", doubled // 2), ("half1", doubled - doubled // 2)):
        values = ((part - zero) * np.float64(t.scale)).astype(np.float32)
        func = Func(f"{node.name}/{name}", x.shape, x.tensor, values)
        key = x.tensor, name
        if key not in ctx.halves:
            ctx.halves[key] = ctx.builder.quantise(
                func, Stage(t.scale, zero), f"{x.tensor}/{name}")
        found.append(dataclasses.replace(x, tensor=ctx.halves[key]))
    return found[0], found[1]


def _doubled(q: Array, zero_point: int) -> tuple[int, Array]:
    """``q - zero_point`` plus twice a zero point, and that one: within [-254, 254]."""
    zero = {LO: -1, HI: 1}.get(zero_point, 0)
    return zero, q - zero_point + 2 * zero


def is_narrow(ctx: Context, value: Value) -> bool:
    """Whether a stored value holds no -128, as no second operand of a product does."""
    if isinstance(value, Weight):
        return len(_narrow_constants(value)) == 1
    if isinstance(value, Stack):
        return all(is_narrow(ctx, part) for part in value.parts)
    inner = value.inner if isinstance(value, View) else value
    return not isinstance(inner, Real) or ctx.builder.ranges[inner.tensor][0] >= LEAST


def narrowed(ctx: Context, node: OnnxNode, value: Value) -> list[Value]:
    """A stored value, or two that are narrow, and of which it is the sum."""
    if is_narrow(ctx, value):
        return [value]
    if isinstance(value, Weight):
        return _narrow_constants(value)
    if isinstance(value, Stack):
        split = [_halves(ctx, node, p) for p in value.parts if isinstance(p, Real)]
        return [dataclasses.replace(value, parts=tuple(p[i] for p in split)) for i in range(2)]
    inner = value.inner if isinstance(value, View) else value
    assert isinstance(inner, Real)
    halves = _halves(ctx, node, inner)
    if isinstance(value, View):
        return [dataclasses.replace(value, inner=half) for half in halves]
    return list(halves)


def _narrow_constants(value: Weight) -> list[Value]:
    shift = 128 if value.q.dtype == np.uint8 else 0
    q = value.q.astype(np.int64) - shift
    if q.min(initial=0) >= LEAST or value.zero_point.size != 1:
        return [value]
    zero, doubled = _doubled(q, int(value.zero_point.reshape(-1)[0]) - shift)
    return [Weight(value.name, part.astype(np.int8), value.scale,
                   np.full_like(value.zero_point, zero, np.int8))
            for part in (doubled // 2, doubled - doubled // 2)]


def constant_tensor(ctx: Context, node: OnnxNode, value: Weight, q: NDArray[np.generic]) -> Real:
    """Stored constants [C, H, W] of one scale as a tensor."""
    if value.scale.size != 1 or value.zero_point.size != 1:
        node.refuse(f"constant '{value.name}' has a scale per channel; quantise it with one")
    if value.q.dtype not in (np.int8, np.uint8):
        node.refuse(f"constant '{value.name}' is {value.q.dtype}; quantise it as int8")
    shift = 128 if value.q.dtype == np.uint8 else 0
    name = ctx.builder.constant((q.astype(np.int16) - shift).astype(np.int8),
                                float(value.scale.reshape(-1)[0]),
                                int(value.zero_point.reshape(-1)[0]) - shift, value.name)
    return Real(node.name, (q.shape[0], q.shape[1], q.shape[2]), name)


def peeled(ctx: Context, node: OnnxNode, value: Value | None, index: int) -> tuple[Value, float]:
    """A stored operand, and the positive factor that it is multiplied by on the way."""
    if isinstance(value, Stack):
        found = [_factor(ctx, node, x, index) for x in value.parts]
        if len({f for _, f in found}) == 1:
            return dataclasses.replace(value, parts=tuple(x for x, _ in found)), found[0][1]
    elif isinstance(value, View):
        real, factor = _factor(ctx, node, value.inner, index)
        return dataclasses.replace(value, inner=real), factor
    elif isinstance(value, Expr):
        return _factor(ctx, node, value, index)
    elif isinstance(value, Weight):
        return value, 1.0
    node.refuse(f"'{node.inputs[index]}' has no quantisation parameters; {QUANTISE}")


def _factor(ctx: Context, node: OnnxNode, x: Expr, index: int) -> tuple[Real, float]:
    if isinstance(x, Real):
        return x, 1.0
    if isinstance(x, Sum) and len(x.terms) == 1 and not np.any(x.offset):
        (tensor, gain), = x.terms
        if not np.ptp(gain) and gain.flat[0] > 0:
            return Real(x.node, x.shape, tensor), float(gain.flat[0])
    if isinstance(x, Func):
        real = Real(x.node, x.shape, x.tensor)
        plain = dict(ctx.builder.functions(real))[x.tensor]
        far = int(np.argmax(np.abs(plain)))
        factor = float(x.values[far]) / float(plain[far]) if plain[far] else 0.0
        if factor > 0 and np.allclose(x.values, plain * factor, rtol=1e-5, atol=0):
            return real, factor
    node.refuse(f"'{node.inputs[index]}' has no quantisation parameters; {QUANTISE}")

