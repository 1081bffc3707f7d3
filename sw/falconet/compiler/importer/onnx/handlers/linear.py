"""Operators that multiply and add: convolution, matrix product."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.expr import Conv, Expr, Real, Sum, Value, View, Weight
from falconet.compiler.importer.onnx.context import QUANTISE, Context, chw, operator
from falconet.compiler.importer.onnx.nodes import OnnxNode
from falconet.compiler.importer.onnx.roles import Role
from falconet.compiler.importer.order import flat
from falconet.compiler.importer.store.large_weights import LARGEST
from falconet.isa.graph.ops import conv as ops

__all__ = ["affine", "bias_of", "ones", "out_chw", "pool_pads", "weights_of", "window"]

Array = NDArray[Any]


def window(node: OnnxNode, kernel: list[int], size: tuple[int, int],
           out: tuple[int, int] | None = None) -> dict[str, Any]:
    """kernel, stride, pads, dilation of a convolution or pool over an input of ``size``.

    ``auto_pad`` is resolved; with ``out`` the bottom and right pads are made to fit ``ceil_mode``.
    """
    if len(kernel) != 2:
        node.refuse(f"a kernel of {len(kernel)} dimensions; only 2-D images are supported")
    stride = tuple(node.attrs.get("strides", [1, 1]))
    dilation = tuple(node.attrs.get("dilations", [1, 1]))
    pads = list(node.attrs.get("pads", [0, 0, 0, 0]))
    auto = node.attrs.get("auto_pad", "NOTSET")
    if auto not in ("NOTSET", ""):
        pads = [0, 0, 0, 0]
        for i in range(2) if auto.startswith("SAME") else ():
            reach = dilation[i] * (kernel[i] - 1) + 1
            total = max(0, (-(-size[i] // stride[i]) - 1) * stride[i] + reach - size[i])
            less, more = total // 2, total - total // 2
            pads[i], pads[i + 2] = (less, more) if auto == "SAME_UPPER" else (more, less)
    if out is not None:
        for i in range(2):
            need = (out[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1
            pads[i + 2] = max(pads[i + 2], need - size[i] - pads[i])
    return {"kernel": tuple(kernel), "stride": stride, "pads": tuple(pads), "dilation": dilation}


def pool_pads(ctx: Context, node: OnnxNode, x: Expr) -> dict[str, Any]:
    """The window of a pooling operator, ``ceil_mode`` included."""
    _, _, h, w = ctx.model.shape(node.outputs[0], node)
    return window(node, list(node.attrs["kernel_shape"]), x.shape[1:], (h, w))


def out_chw(ctx: Context, node: OnnxNode) -> tuple[int, int, int]:
    shape = ctx.model.shape(node.outputs[0], node)
    found = chw(shape)
    if found is None:
        node.refuse(f"an output of shape {shape}; only [1, C, H, W] and [1, C] are supported")
    return found


def weights_of(node: OnnxNode, value: Value | None, axis: int) -> tuple[Array, Array]:
    """Integers, int16 if int8 does not hold them, and one scale per slice along ``axis``."""
    name = node.inputs[1]
    if isinstance(value, Expr):
        node.refuse(f"'{name}' is an activation; the second operand must be constant weights")
    if not isinstance(value, Weight):
        node.refuse(f"weights '{name}' are not quantised; {QUANTISE}")
    if value.q.dtype not in (np.int8, np.uint8):
        node.refuse(f"weights '{value.name}' are {value.q.dtype}; quantise them as int8")
    others = [n for i, n in enumerate(value.scale.shape) if i != axis]
    if any(n != 1 for n in others) or value.scale.size not in (1, value.q.shape[axis]):
        node.refuse(f"weights '{value.name}' have scales along another axis than that of the "
                    "output channels; quantise them per output channel")
    scale = np.broadcast_to(value.scale.reshape(-1), value.q.shape[axis]).astype(np.float64)
    if not np.all(np.isfinite(scale)) or np.any(scale < 0):
        node.refuse(f"weights '{value.name}' have a scale that is negative or not finite; quantise "
                    "again")
    weight = value.q.astype(np.int16) - value.zero_point.astype(np.int16)
    large = np.abs(weight).max(initial=0) > LARGEST  # they are stored in another way
    return weight if large else weight.astype(np.int8), scale


def bias_of(ctx: Context, node: OnnxNode, args: list[Value | None], out: int) -> Array:
    """The real bias [O]; zeros where there is none."""
    value = args[2] if len(args) > 2 else None
    if isinstance(value, Weight):
        # In double: an int32 bias has more digits than a float32.
        sizes = {a.size for a in (value.q, value.scale, value.zero_point)}
        if not sizes <= {1, out}:
            node.refuse(f"bias '{value.name}' has the shape {list(value.q.shape)}, its scales "
                        f"{list(value.scale.shape)}; give one of each per output channel")
        exact = (value.q.astype(np.float64) - value.zero_point) * value.scale.astype(np.float64)
        return np.broadcast_to(exact.reshape(-1), out).astype(np.float64)
    array = ctx.constant(node, value, 2)
    if array is None:
        return np.zeros(out)
    if array.size not in (1, out):
        node.refuse(f"a bias of shape {list(array.shape)}; give one per output channel")
    return np.broadcast_to(array.reshape(-1), out).astype(np.float64)


@operator("Conv", role=Role.WEIGHTED, axis=0)
def conv(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.real(node, args[0])
    ctx.image(node, x)
    weight, scale = weights_of(node, args[1], 0)
    attrs = window(node, list(weight.shape[2:]), x.shape[1:])
    return Conv(node.name, out_chw(ctx, node), x.tensor, weight, scale,
                bias_of(ctx, node, args, len(weight)),
                ops.Conv(**attrs, groups=int(node.attrs.get("group", 1))))


@operator("Gemm", role=Role.WEIGHTED, axis=lambda attrs: 0 if attrs.get("transB") else 1)
def gemm(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    if node.attrs.get("transA", 0):
        node.refuse("transA is not supported; transpose the layer before")
    transposed = bool(node.attrs.get("transB", 0))
    weight, scale = weights_of(node, args[1], 0 if transposed else 1)
    bias = bias_of(ctx, node, args, len(scale)) * float(node.attrs.get("beta", 1.0))
    scale = scale * float(node.attrs.get("alpha", 1.0))
    if np.any(scale < 0):
        node.refuse("a negative alpha is not supported; negate the weights")
    return _linear(ctx, node, args[0], weight if transposed else weight.T, scale, bias)


@operator("MatMul", role=Role.WEIGHTED, axis=-1)
def matmul(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    if isinstance(args[1], Weight) and args[1].q.ndim != 2:
        node.refuse("only a matrix as second operand is supported; use a Conv or Gemm")
    weight, scale = weights_of(node, args[1], 1)
    return _linear(ctx, node, args[0], weight.T, scale, np.zeros(len(scale)))


def _linear(ctx: Context, node: OnnxNode, value: Value | None, weight: Array, scale: Array,
            bias: Array) -> Conv:
    """A matrix product as a convolution whose kernel is the whole input."""
    if isinstance(value, View) and isinstance(value.inner, Real):
        weight, value = _reordered(weight, value)
    x = ctx.real(node, value)
    c, h, w = x.shape
    if len(ctx.model.shape(node.inputs[0], node)) != 2 or c * h * w != weight[0].size:
        node.refuse("the first operand must be [1, K]; flatten the image before it")
    kernels = np.ascontiguousarray(weight).reshape(-1, c, h, w)
    return Conv(node.name, (len(weight), 1, 1), x.tensor, kernels, scale, bias,
                ops.Conv(kernel=(h, w)))


def _reordered(weight: Array, view: View) -> tuple[Array, Expr]:
    """The weights [O, K] of the tensor that a view of K values is another order of; those of the
    view itself where a value is there twice."""
    order = flat([v for d in view.dims for v in d], weight.shape[1])
    if order is None or len(order) != weight.shape[1] or len(np.unique(order)) < len(order):
        return weight, view
    found = np.zeros((len(weight), int(np.prod(view.inner.shape))), weight.dtype)
    found[:, order] = weight
    return found, view.inner


def ones(node: OnnxNode, x: Real, shape: tuple[int, int, int], attrs: dict[str, Any],
         scale: float) -> Conv:
    """A depthwise convolution with weights 1."""
    c = x.shape[0]
    weight = np.ones((c, 1, *attrs["kernel"]), np.int8)
    return Conv(node.name, shape, x.tensor, weight, np.full(c, scale), np.zeros(c),
                ops.Conv(**attrs, groups=c, pool=True))




@operator("BatchNormalization", role=Role.LAYER)
def batch_normalization(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    parts = [ctx.constant(node, a, i) for i, a in enumerate(args[1:5], 1)]
    gamma, beta, mean, var = (np.asarray(p, np.float64) for p in parts)
    gain = gamma / np.sqrt(var + float(node.attrs.get("epsilon", 1e-5)))
    return affine(ctx, node, ctx.image(node, args[0]), gain, beta - mean * gain)


def affine(ctx: Context, node: OnnxNode, x: Expr, gain: Array, offset: Array) -> Expr:
    """``gain * x + offset`` per channel, folded into a layer that is not quantised yet."""
    if isinstance(x, Conv):
        sign = np.where(gain < 0, -1, 1).astype(x.weight.dtype)
        weight = x.weight * sign[:, None, None, None]
        weight[gain == 0] = 0
        attrs = x.attrs
        if isinstance(attrs, ops.Conv):
            attrs = dataclasses.replace(attrs, pool=attrs.pool and not np.any(gain <= 0))
        return dataclasses.replace(x, weight=weight, scale=x.scale * np.where(
            gain == 0, 1.0, np.abs(gain)), bias=x.bias * gain + offset, attrs=attrs)
    if isinstance(x, Real):
        return Sum(node.name, x.shape, ((x.tensor, gain),), offset)
    if isinstance(x, Sum):
        terms = tuple((t, g * gain) for t, g in x.terms)
        return Sum(node.name, x.shape, terms, x.offset * gain + offset)
    node.refuse(f"its input has no quantisation parameters; {QUANTISE}")
