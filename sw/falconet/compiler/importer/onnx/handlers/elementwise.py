"""Activations and arithmetic on values: limits, slopes, sums, and tables for everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Shape
from falconet.compiler.importer.expr import (
    Clamp,
    Conv,
    Expr,
    Func,
    Leaky,
    Product,
    Quantised,
    Real,
    Slopes,
    Sum,
    TwoSided,
    Value,
    scaled,
)
from falconet.compiler.importer.onnx.context import QUANTISE, Context, operator
from falconet.compiler.importer.onnx.handlers.linear import affine
from falconet.compiler.importer.onnx.handlers.quant import clip_integers
from falconet.compiler.importer.onnx.nodes import OnnxNode
from falconet.compiler.importer.onnx.roles import Role
from falconet.compiler.importer.stage import Stage
from falconet.isa.graph.ops.eltwise import FUNCTIONS, Eltwise

__all__: list[str] = []

Array = NDArray[Any]
INF = float("inf")


def _function(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Func | None:
    """The node as a function of one tensor, evaluated by onnxruntime on its 256 values."""
    options = []
    for i, a in enumerate(args):
        if isinstance(a, Expr):
            options.append(dict(ctx.builder.functions(ctx.expr(node, a, i))))
        elif a is not None and (c := ctx.maybe_constant(a)) is not None and c.size != 1:
            return None
    if not options:
        return None
    tensor = next((t for t in options[0] if all(t in o for o in options)), None)
    if tensor is None:
        return None
    chosen = iter(options)
    inputs: list[Array | None] = []
    for a in args:
        if isinstance(a, Expr):
            inputs.append(next(chosen)[tensor])
        else:
            c = None if a is None else ctx.maybe_constant(a)
            inputs.append(None if c is None else c.reshape(()))
    with np.errstate(all="ignore"):
        (values, *_) = ctx.evaluate(node, inputs)
    first = next(a for a in args if isinstance(a, Expr))
    if not ctx.builder.structure and np.any(np.isnan(values)):  # infinite ones are stored as limits
        node.refuse("it is undefined for some values of its input; clamp the input")
    return Func(node.name, first.shape, tensor, np.asarray(values, np.float32))


@operator("Relu", "Clip", role=Role.CLAMP)
def clamp(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    if isinstance(args[0], Quantised) and node.op == "Clip":
        return clip_integers(ctx, node, args)
    x = ctx.expr(node, args[0])
    lo, hi = (0.0, INF) if node.op == "Relu" else _bounds(ctx, node, args)
    if lo > hi:
        node.refuse(f"an empty range, {lo} to {hi}; remove it")
    if isinstance(x, Func):
        return Func(node.name, x.shape, x.tensor, np.clip(x.values, np.float32(lo), np.float32(hi)))
    return Clamp(node.name, x.shape, x, lo, hi)


def _bounds(ctx: Context, node: OnnxNode, args: list[Value | None]) -> tuple[float, float]:
    found = [float(node.attrs.get("min", -INF)), float(node.attrs.get("max", INF))]
    for i, a in enumerate(args[1:3]):
        if (array := ctx.constant(node, a, i + 1)) is not None:
            found[i] = float(array.reshape(-1)[0])
    return found[0], found[1]


@operator("LeakyRelu", "PRelu", role=Role.CLAMP)
def leaky(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.expr(node, args[0])
    if node.op == "LeakyRelu":
        alpha = np.full(x.shape[0], float(np.float32(node.attrs.get("alpha", 0.01))))
    else:
        slope = ctx.constant(node, args[1], 1)
        assert slope is not None
        rank = len(ctx.model.shape(node.inputs[0], node))
        alpha = ctx.per_channel(node, slope, x.shape, rank)
    if isinstance(x, Func) or np.any(alpha < 0):
        if (func := _function(ctx, node, args)) is not None:
            return func
        if found := ctx.builder.functions(Leaky(node.name, x.shape, x, alpha)):
            return Func(node.name, x.shape, *found[0])
        if isinstance(x, Func):
            return Slopes(node.name, x.shape, x.tensor, x.values, alpha)
        if isinstance(x, Real):
            return _two_sided(ctx, node, x, alpha)
        return _folded(ctx, node, x, alpha)
    return Leaky(node.name, x.shape, x, alpha)


def _two_sided(ctx: Context, node: OnnxNode, x: Real, alpha: Array) -> Sum:
    """``max(x, 0) + alpha * min(x, 0)``: both parts are stored exactly, as x is."""
    t = ctx.builder.tensor(x)
    parts = [ctx.builder.quantise(Clamp(f"{node.name}/{part}", x.shape, x, lo, hi),
                                  Stage(t.scale, t.zero_point), f"{node.outputs[0]}/{part}")
             for part, lo, hi in (("above", 0.0, INF), ("below", -INF, 0.0))]
    gains = (np.ones(x.shape[0]), alpha)
    return Sum(node.name, x.shape, tuple(zip(parts, gains)), np.zeros(x.shape[0]))


def _folded(ctx: Context, node: OnnxNode, x: Expr, alpha: Array) -> Expr:
    """What is below 0 turned round in a second layer, where the slope is below 0."""
    if isinstance(x, Clamp) and x.lo >= 0:
        return x
    if not isinstance(x, Conv | Sum):
        node.refuse("a negative slope per channel needs its input quantised, or a convolution or "
                    "sum; put QuantizeLinear and DequantizeLinear before it")
    turned = affine(ctx, node, x, np.minimum(alpha, 0), np.zeros_like(alpha))
    return TwoSided(node.name, x.shape, Leaky(node.name, x.shape, x, np.maximum(alpha, 0)),
                    Clamp(node.name, x.shape, turned, 0.0, INF))


@operator(*FUNCTIONS, role=Role.FUNCTION)
def function(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    found = _function(ctx, node, args)
    if found is None:
        node.refuse("its input has no quantisation parameters, or it has two; put QuantizeLinear "
                    f"and DequantizeLinear before it ({QUANTISE})")
    return found


@operator("Add", "Sub", "Mul", "Div", role=Role.COMBINATION)
def arithmetic(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    first, second = args[0], args[1]
    assert first is not None and second is not None
    constant = ctx.maybe_constant(second)
    if not isinstance(first, Expr) and isinstance(second, Expr) and node.op in ("Add", "Mul"):
        first, second, constant = second, first, ctx.maybe_constant(first)
    pending = isinstance(first, Conv | Sum)
    outer = constant is None and len({tuple(ctx.model.shape(n, node)) for n in node.inputs}) > 1
    if not pending and not outer and (found := _function(ctx, node, args)) is not None:
        return found
    x = ctx.expr(node, first)
    if constant is not None:
        return _with_constant(ctx, node, x, constant)
    if node.op == "Add" or node.op == "Sub":
        return _sum(ctx, node, x, ctx.expr(node, second, 1))
    if node.op == "Div":
        node.refuse("a quotient of two activations, and the machine has no divider; divide by a "
                    "constant, or multiply by the divisor's Reciprocal")
    return _product(ctx, node, x, ctx.expr(node, second, 1))


def _with_constant(ctx: Context, node: OnnxNode, x: Expr, constant: Array) -> Expr:
    rank = len(ctx.model.shape(node.outputs[0], node))
    v = ctx.per_channel(node, constant, x.shape, rank)
    one, zero = np.ones_like(v), np.zeros_like(v)
    if node.op == "Div" and not np.all(v):
        node.refuse("it divides by zero; mend the constant")
    gain, offset = {"Add": (one, v), "Sub": (one, -v), "Mul": (v, zero),
                    "Div": (1 / np.where(v == 0, 1, v), zero)}[node.op]
    return affine(ctx, node, x, gain, offset)


def _broadcast(ctx: Context, node: OnnxNode, a: Expr, b: Expr) -> Shape:
    """The shape of what two activations make."""
    shapes = [ctx.model.shape(name, node) for name in node.inputs]
    if shapes[0] == shapes[1] and a.shape == b.shape:
        return a.shape
    for i, x in enumerate((a, b)):
        ctx.image(node, x, i)
    if len(shapes[0]) != len(shapes[1]):
        node.refuse(f"shapes {shapes[0]} and {shapes[1]} have different ranks, so that channels "
                    "meet columns; reshape the smaller to [1, C, 1, 1]")
    c, h, w = (max(sides) for sides in zip(a.shape, b.shape))
    return c, h, w


def _product(ctx: Context, node: OnnxNode, a: Expr, b: Expr) -> Product:
    shape = _broadcast(ctx, node, a, b)
    found = [_stored(ctx, node, x, i) for i, x in enumerate((a, b))]
    return Product(node.name, shape, (found[0], found[1]))


def _stored(ctx: Context, node: OnnxNode, x: Expr, index: int) -> str:
    """The tensor that holds a factor; a function of one tensor (a gate) gets one of its own, with
    all values that it can take."""
    if isinstance(x, Real):
        return x.tensor
    found = ctx.builder.functions(x)
    if not found:
        node.refuse(f"a factor (from '{x.node}') has no quantisation parameters; {QUANTISE}")
    tensor, values = found[0]
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scale = (high - low) / 255 if np.isfinite(high - low) and high > low else 1.0
    stage = Stage(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))
    func = x if isinstance(x, Func) else Func(x.node, x.shape, tensor, values)
    return ctx.builder.quantise(func, stage, node.inputs[index])


def _sum(ctx: Context, node: OnnxNode, a: Expr, b: Expr) -> Sum:
    shape = _broadcast(ctx, node, a, b)
    terms: dict[str, Array] = {}
    offset = np.zeros(shape[0])
    for sign, x in ((1.0, a), (-1.0 if node.op == "Sub" else 1.0, b)):
        if isinstance(x, Real):
            x = scaled(x, x.node)
        if not isinstance(x, Sum):
            node.refuse(f"an addend (from '{x.node}') has no quantisation parameters; {QUANTISE}")
        for tensor, gain in x.terms:
            terms[tensor] = terms.get(tensor, 0.0) + sign * np.broadcast_to(gain, shape[0])
        offset = offset + sign * x.offset
    if len(terms) > Eltwise.arity[1]:
        node.refuse("more than two addends; put QuantizeLinear and DequantizeLinear between sums")
    return Sum(node.name, shape, tuple(terms.items()), offset)
