"""QuantizeLinear, DequantizeLinear, and Clip between the two."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from falconet.compiler.importer.expr import IntInput, Quantised, Real, Value, View, Weight
from falconet.compiler.importer.onnx.context import Context, operator
from falconet.compiler.importer.onnx.nodes import OnnxNode
from falconet.compiler.importer.onnx.roles import Role
from falconet.compiler.importer.stage import Stage
from falconet.compiler.importer.store.move import inner_stage

__all__ = ["clip_integers"]

Array = NDArray[Any]


@operator("QuantizeLinear", role=Role.QUANTISE)
def quantize_linear(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    scale = ctx.constant(node, args[1], 1)
    zero = ctx.constant(node, args[2], 2) if len(args) > 2 else None
    default = helper.tensor_dtype_to_np_dtype(node.attrs.get("output_dtype") or TensorProto.UINT8)
    zero = np.zeros(1, default) if zero is None else zero
    assert scale is not None
    if (array := ctx.maybe_constant(args[0])) is not None:
        s, z = (_spread(node, a, array.ndim) for a in (scale, zero))
        info = np.iinfo(zero.dtype)
        steps = np.rint(array.astype(np.float32) / s) + z.astype(np.float32)
        stored: Array = np.clip(steps, info.min, info.max).astype(zero.dtype)
        return stored
    expr = args[0] if isinstance(args[0], View) else ctx.expr(node, args[0])
    step, zero_point, unsigned = _per_tensor(node, scale, zero)
    return Quantised(expr, step, zero_point, unsigned)


@operator("DequantizeLinear", role=Role.QUANTISE)
def dequantize_linear(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x, scale = args[0], ctx.constant(node, args[1], 1)
    zero = ctx.constant(node, args[2], 2) if len(args) > 2 else None
    assert scale is not None
    if isinstance(x, np.ndarray):
        zero = np.zeros(1, x.dtype) if zero is None else zero
        return Weight(node.inputs[0], x, _spread(node, scale, x.ndim), _spread(node, zero, x.ndim))
    if isinstance(x, IntInput):
        zero = np.zeros(1, np.uint8 if x.unsigned else np.int8) if zero is None else zero
        step, zero_point, _ = _per_tensor(node, scale, zero)
        tensor = ctx.builder.add_input(x.name, x.shape, step, zero_point)
        ctx.builder.sources.setdefault(tensor, x.name)
        return Real(node.name, x.shape, tensor)
    if not isinstance(x, Quantised):
        node.refuse(f"'{node.inputs[0]}' is not an integer tensor; export in QDQ format")
    zero = np.zeros(1, np.uint8 if x.unsigned else np.int8) if zero is None else zero
    step, zero_point, unsigned = _per_tensor(node, scale, zero)
    if (step, zero_point, unsigned) != (x.scale, x.zero_point, x.unsigned):
        node.refuse(f"scale or zero point differ from those that '{node.inputs[0]}' was quantised "
                    "with; use the same")
    if isinstance(x.expr, View):
        inner = ctx.builder.quantise(x.expr.inner, inner_stage(x.expr.inner, Stage(
            x.scale, x.zero_point, x.lo, x.hi)), f"{node.inputs[0]}/in")
        real = Real(node.name, x.expr.inner.shape, inner)
        return dataclasses.replace(x.expr, inner=real, stored=node.inputs[0])
    return ctx.builder.real_of(x, node.inputs[0])


def clip_integers(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Quantised:
    """Clip between QuantizeLinear and DequantizeLinear (Brevitas): a narrower range."""
    x = args[0]
    assert isinstance(x, Quantised)
    shift = 128 if x.unsigned else 0
    lo, hi = x.lo, x.hi
    if len(args) > 1 and (low := ctx.constant(node, args[1], 1)) is not None:
        lo = max(lo, int(low.reshape(-1)[0]) - shift)
    if len(args) > 2 and (high := ctx.constant(node, args[2], 2)) is not None:
        hi = min(hi, int(high.reshape(-1)[0]) - shift)
    if lo > hi:
        node.refuse(f"an empty range, {lo} to {hi}; quantise again")
    return Quantised(x.expr, x.scale, x.zero_point, x.unsigned, lo, hi)


def _spread(node: OnnxNode, a: Array, rank: int) -> Array:
    """A scale or zero point, reshaped to broadcast against a tensor of ``rank`` dimensions."""
    if a.size == 1:
        return a.reshape([1] * rank)
    if a.ndim != 1:
        node.refuse("block-wise quantisation is not supported; quantise per output channel")
    axis = int(node.attrs.get("axis", 1)) % rank
    return a.reshape([-1 if i == axis else 1 for i in range(rank)])


def _per_tensor(node: OnnxNode, scale: Array, zero: Array) -> tuple[float, int, bool]:
    """Scale, zero point of the int8 form, and whether the ONNX tensor is uint8."""
    if scale.size != 1 or zero.size != 1:
        node.refuse("activations quantised per channel are not supported; use one scale")
    if zero.dtype not in (np.int8, np.uint8):
        node.refuse(f"activations of type {zero.dtype} are not supported; use int8 or uint8")
    step = float(scale.reshape(-1)[0])
    if not (np.isfinite(step) and step > 0):
        node.refuse(f"scale {step} is not positive; quantise again")
    unsigned = zero.dtype == np.uint8
    return step, int(zero.reshape(-1)[0]) - (128 if unsigned else 0), bool(unsigned)
