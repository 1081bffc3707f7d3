"""Transposed convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.expr import Conv, Value, Weight
from falconet.compiler.importer.onnx.context import Context, operator
from falconet.compiler.importer.onnx.handlers.linear import bias_of, out_chw, weights_of
from falconet.compiler.importer.onnx.nodes import OnnxNode
from falconet.compiler.importer.onnx.roles import Role
from falconet.isa.graph.ops.conv_transpose import ConvTranspose

__all__: list[str] = []

Array = NDArray[Any]


@operator("ConvTranspose", role=Role.WEIGHTED, axis=1)
def conv_transpose(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.real(node, args[0])
    ctx.image(node, x)
    groups = int(node.attrs.get("group", 1))
    weight, scale = _per_output(node, args[1], groups)
    kernel = (int(weight.shape[2]), int(weight.shape[3]))
    out = out_chw(ctx, node)
    attrs = ConvTranspose(
        kernel=kernel, size=out[1:], stride=tuple(node.attrs.get("strides", [1, 1])),
        crop=_crop(node, kernel, x.shape[1:], out[1:]),
        dilation=tuple(node.attrs.get("dilations", [1, 1])), groups=groups)
    return Conv(node.name, out, x.tensor, weight, scale, bias_of(ctx, node, args, len(weight)),
                attrs)


def _per_output(node: OnnxNode, value: Value | None, groups: int) -> tuple[Array, Array]:
    """Weights [O, C / groups, ky, kx] and the scale of each output channel.

    In the file they are [C, O / groups, ky, kx], and a scale along O / groups is that of one
    channel of every group. Where each group has one input channel, scales may lie along C.
    """
    along = 1
    if isinstance(value, Weight) and value.q.ndim == 4:
        wide = [i for i, n in enumerate(value.scale.shape) if n > 1]
        along = 0 if wide == [0] and value.q.shape[0] == groups else 1
    weight, scale = weights_of(node, value, along)
    if weight.ndim != 4:
        node.refuse(f"a kernel of {weight.ndim - 2} dimensions; only 2-D images are supported")
    c, per_group, ky, kx = weight.shape
    if c % groups:
        node.refuse(f"{groups} groups of {c} channels; use a divisor")
    grouped = weight.reshape(groups, c // groups, per_group, ky, kx).transpose(0, 2, 1, 3, 4)
    scale = np.tile(scale, groups) if along == 1 else np.repeat(scale, per_group)
    return np.ascontiguousarray(grouped).reshape(-1, c // groups, ky, kx), scale


def _crop(node: OnnxNode, kernel: tuple[int, int], size: tuple[int, int], out: tuple[int, int]
          ) -> tuple[int, int]:
    """Rows and columns of the whole result above and left of the output.

    With ``output_shape`` or ``auto_pad`` it is a half of what is too much, the greater half unless
    ``auto_pad`` is SAME_UPPER (ONNX, ConvTranspose).
    """
    auto = node.attrs.get("auto_pad", "NOTSET")
    if auto == "VALID":
        return 0, 0
    pads = list(node.attrs.get("pads", [0, 0, 0, 0]))
    if auto in ("NOTSET", "") and not node.attrs.get("output_shape"):
        return int(pads[0]), int(pads[1])
    found = []
    for i in range(2):
        reach = (size[i] - 1) * list(node.attrs.get("strides", [1, 1]))[i] + (
            kernel[i] - 1) * list(node.attrs.get("dilations", [1, 1]))[i] + 1
        extra = list(node.attrs.get("output_padding", [0, 0]))[i]
        total = max(0, reach + extra - out[i])
        found.append(total // 2 if auto == "SAME_UPPER" else total - total // 2)
    return found[0], found[1]
