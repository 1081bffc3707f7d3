"""Operators that multiply and add: convolution, matrix product, average pooling, padding."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.build import Stage
from falconet.compiler.importer.context import QUANTISE, Context, chw, operator
from falconet.compiler.importer.expr import Conv, Expr, Real, Sum, Value, Weight
from falconet.compiler.importer.nodes import OnnxNode
from falconet.compiler.importer.opset import CEIL
from falconet.isa import Window

__all__ = ["affine", "pool_pads", "window"]

Array = NDArray[Any]


def window(node: OnnxNode, kernel: list[int], size: tuple[int, int],
           out: tuple[int, int] | None = None) -> dict[str, Any]:
    """kernel, stride, pads, dilation of a convolution or pool over an input of ``size``.

    ``auto_pad`` is resolved; with ``out`` the bottom and right pads are made to fit ``ceil_mode``.
    """
    if len(kernel) != 2:
        node.refuse(f"a kernel of {len(kernel)} dimensions; only 2-D images are supported")
    stride = list(node.attrs.get("strides", [1, 1]))
    dilation = list(node.attrs.get("dilations", [1, 1]))
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
    return {"kernel": list(kernel), "stride": stride, "pads": pads, "dilation": dilation}


def pool_pads(ctx: Context, node: OnnxNode, x: Expr) -> dict[str, Any]:
    """The window of a pooling operator, ``ceil_mode`` included."""
    _, _, h, w = ctx.model.shape(node.outputs[0], node)
    return window(node, list(node.attrs["kernel_shape"]), x.shape[1:], (h, w))


def _out_chw(ctx: Context, node: OnnxNode) -> tuple[int, int, int]:
    shape = ctx.model.shape(node.outputs[0], node)
    found = chw(shape)
    if found is None:
        node.refuse(f"an output of shape {shape}; only [1, C, H, W] and [1, C] are supported")
    return found


def _weights(node: OnnxNode, value: Value | None, axis: int) -> tuple[Array, Array]:
    """Integers and one scale per slice along ``axis``; refuses what the machine cannot hold."""
    name = node.inputs[1]
    if isinstance(value, Expr):
        node.refuse(f"'{name}' is an activation; the second operand must be constant weights")
    if not isinstance(value, Weight):
        node.refuse(f"weights '{name}' are not quantised; {QUANTISE}")
    if value.q.dtype != np.int8 or np.any(value.zero_point):
        node.refuse(f"weights '{value.name}' are {value.q.dtype} or have a zero point; quantise "
                    "them as symmetric int8")
    if value.q.size and value.q.min() == -128:
        node.refuse(f"weights '{value.name}' contain -128; quantise them with narrow range "
                    "[-127, 127]")
    others = [n for i, n in enumerate(value.scale.shape) if i != axis]
    if any(n != 1 for n in others) or value.scale.size not in (1, value.q.shape[axis]):
        node.refuse(f"weights '{value.name}' have scales along another axis than that of the "
                    "output channels; quantise them per output channel")
    scale = np.broadcast_to(value.scale.reshape(-1), value.q.shape[axis]).astype(np.float64)
    if not np.all(np.isfinite(scale)) or np.any(scale < 0):
        node.refuse(f"weights '{value.name}' have a scale that is negative or not finite; quantise "
                    "again")
    return value.q, scale


def _bias(ctx: Context, node: OnnxNode, args: list[Value | None], out: int) -> Array:
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


@operator("Conv")
def conv(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.real(node, args[0])
    ctx.image(node, x)
    weight, scale = _weights(node, args[1], 0)
    attrs = window(node, list(weight.shape[2:]), x.shape[1:])
    attrs["groups"] = int(node.attrs.get("group", 1))
    return Conv(node.name, _out_chw(ctx, node), x.tensor, weight, scale,
                _bias(ctx, node, args, len(weight)), attrs)


@operator("Gemm")
def gemm(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    if node.attrs.get("transA", 0):
        node.refuse("transA is not supported; transpose the layer before")
    transposed = bool(node.attrs.get("transB", 0))
    weight, scale = _weights(node, args[1], 0 if transposed else 1)
    bias = _bias(ctx, node, args, len(scale)) * float(node.attrs.get("beta", 1.0))
    scale = scale * float(node.attrs.get("alpha", 1.0))
    if np.any(scale < 0):
        node.refuse("a negative alpha is not supported; negate the weights")
    return _linear(ctx, node, args[0], weight if transposed else weight.T, scale, bias)


@operator("MatMul")
def matmul(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    if isinstance(args[1], Weight) and args[1].q.ndim != 2:
        node.refuse("only a matrix as second operand is supported; use a Conv or Gemm")
    weight, scale = _weights(node, args[1], 1)
    return _linear(ctx, node, args[0], weight.T, scale, np.zeros(len(scale)))


def _linear(ctx: Context, node: OnnxNode, value: Value | None, weight: Array, scale: Array,
            bias: Array) -> Conv:
    """A matrix product as a convolution whose kernel is the whole input."""
    x = ctx.real(node, value)
    c, h, w = x.shape
    if ctx.model.shape(node.inputs[0], node) != [1, weight.shape[1]] or c * h * w != weight[0].size:
        node.refuse("the first operand must be [1, K]; flatten the image before it")
    attrs = {"kernel": [h, w], "stride": [1, 1], "pads": [0, 0, 0, 0], "dilation": [1, 1],
             "groups": 1}
    kernels = np.ascontiguousarray(weight).reshape(-1, c, h, w)
    return Conv(node.name, (len(weight), 1, 1), x.tensor, kernels, scale, bias, attrs)


def _ones(node: OnnxNode, x: Real, shape: tuple[int, int, int], attrs: dict[str, Any],
          scale: float) -> Conv:
    """A depthwise convolution with weights 1."""
    c = x.shape[0]
    weight = np.ones((c, 1, *attrs["kernel"]), np.int8)
    return Conv(node.name, shape, x.tensor, weight, np.full(c, scale), np.zeros(c),
                {**attrs, "groups": c, "pool": True})


@operator("AveragePool")
def average_pool(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.real(node, args[0])
    ctx.image(node, x)
    attrs = window(node, list(node.attrs["kernel_shape"]), x.shape[1:])
    if pool_pads(ctx, node, x) != attrs:
        node.refuse(CEIL)
    if any(attrs["pads"]) and not node.attrs.get("count_include_pad", 0):
        node.refuse("padding that is not counted changes the divisor at the border; set "
                    "count_include_pad = 1 or pad before")
    ky, kx = attrs["kernel"]
    return _ones(node, x, _out_chw(ctx, node), attrs, 1 / (ky * kx))


@operator("GlobalAveragePool", "ReduceMean")
def global_average_pool(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.real(node, args[0])
    ctx.image(node, x)
    c, h, w = x.shape
    if node.op == "ReduceMean":
        axes = ctx.constant(node, args[1], 1) if len(args) > 1 else None
        given = list(node.attrs.get("axes", [])) if axes is None else [int(a) for a in axes]
        rank = len(ctx.model.shape(node.inputs[0], node))
        if rank != 4 or sorted(a % 4 for a in given) != [2, 3]:
            node.refuse(f"a mean over axes {given}; only the mean over H and W is supported")
    most = next(f.hi for f in Window.layout if f.name == "n_ky")
    if max(h, w) > most:
        node.refuse(f"a mean over {h} x {w} pixels; a window has {most} x {most} at most; put a "
                    "pool before it")
    attrs = {"kernel": [h, w], "stride": [1, 1], "pads": [0, 0, 0, 0], "dilation": [1, 1]}
    return _ones(node, x, (c, 1, 1), attrs, 1 / (h * w))


@operator("Pad")
def pad(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    """Zeros around an image: a 1x1 convolution with pads, which a pass folds into its users."""
    x = ctx.real(node, args[0])
    ctx.image(node, x)
    given = ctx.constant(node, args[1], 1) if len(args) > 1 else None
    fill = ctx.constant(node, args[2], 2) if len(args) > 2 else None
    axes = ctx.constant(node, args[3], 3) if len(args) > 3 else None
    if given is None or node.attrs.get("mode", "constant") != "constant":
        node.refuse("only constant padding is supported; use mode 'constant'")
    if fill is not None and fill.size and float(fill.reshape(-1)[0]) != 0.0:
        node.refuse("only padding with zeros is supported; use the pads of the next layer")
    pads = [int(v) for v in given]
    if axes is not None:
        some, pads = pads, [0] * 8
        for i, axis in enumerate(int(a) % 4 for a in axes):
            pads[axis], pads[axis + 4] = some[i], some[i + len(axes)]
    if len(pads) != 8 or any(pads[i] for i in (0, 1, 4, 5)):
        node.refuse(f"pads {pads}; only H and W of an image can be padded")
    if min(pads) < 0:
        node.refuse(f"pads {pads}; pads below 0 cut pixels off, which is not supported")
    if not any(pads):
        return x
    attrs = {"kernel": [1, 1], "stride": [1, 1], "pads": [*pads[2:4], *pads[6:]],
             "dilation": [1, 1]}
    t = ctx.builder.tensor(x)
    padded = _ones(node, x, _out_chw(ctx, node), attrs, 1.0)
    tensor = ctx.builder.quantise(padded, Stage(t.scale, t.zero_point), node.outputs[0])
    return Real(node.name, padded.shape, tensor)


@operator("BatchNormalization")
def batch_normalization(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    parts = [ctx.constant(node, a, i) for i, a in enumerate(args[1:5], 1)]
    gamma, beta, mean, var = (np.asarray(p, np.float64) for p in parts)
    gain = gamma / np.sqrt(var + float(node.attrs.get("epsilon", 1e-5)))
    return affine(ctx, node, ctx.image(node, args[0]), gain, beta - mean * gain)


def affine(ctx: Context, node: OnnxNode, x: Expr, gain: Array, offset: Array) -> Expr:
    """``gain * x + offset`` per channel, folded into a layer that is not quantised yet."""
    if isinstance(x, Conv):
        sign = np.where(gain < 0, -1, 1).astype(np.int8)
        weight = x.weight * sign[:, None, None, None]
        weight[gain == 0] = 0
        attrs = dict(x.attrs)
        if np.any(gain <= 0):
            attrs.pop("pool", None)
        return dataclasses.replace(x, weight=weight, scale=x.scale * np.where(
            gain == 0, 1.0, np.abs(gain)), bias=x.bias * gain + offset, attrs=attrs)
    if isinstance(x, Real):
        return Sum(node.name, x.shape, ((x.tensor, gain),), offset)
    if isinstance(x, Sum):
        terms = tuple((t, g * gain) for t, g in x.terms)
        return Sum(node.name, x.shape, terms, x.offset * gain + offset)
    node.refuse(f"its input has no quantisation parameters; {QUANTISE}")
