from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Tensor
from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import Conv
from falconet.compiler.importer.stage import Stage
from falconet.compiler.importer.store.large_weights import LARGEST, by_groups, chunks, narrowed
from falconet.compiler.importer.store.pooling import MOST, pooled
from falconet.isa import Arch
from falconet.isa.graph.ops import conv as ops
from falconet.isa.graph.ops.conv_transpose import ConvTranspose
from falconet.isa.graph.tensor import HI, LO

__all__: list[str] = []

Array = NDArray[Any]


@stores(Conv)
def conv(builder: Builder, expr: Conv, stage: Stage, name: str) -> str:
    if isinstance(expr.attrs, ops.Conv) and expr.attrs.pool and max(expr.attrs.kernel) > MOST:
        return pooled(builder, expr, stage, name)
    if np.abs(expr.weight.astype(np.int16)).max(initial=0) > LARGEST:
        if expr.attrs.groups > 1:
            return _in_chunks(builder, expr, stage, name)
        expr = narrowed(builder, expr)
    t = builder.graph.tensors[expr.source]
    weight, scale = expr.weight, expr.scale.copy()
    per_channel = np.abs(weight.astype(np.int64)).reshape(len(weight), -1)
    scale[per_channel.sum(1) == 0] = stage.scale / t.scale / 256
    if not builder.structure:
        weight, scale = _shrink(weight, scale, expr, t, stage, builder.arch)
    acc_scale = t.scale * scale
    bias = np.rint(expr.bias / acc_scale)
    if not isinstance(expr.attrs, ConvTranspose):  # each of its phases has a sum of its own
        bias -= t.zero_point * weight.astype(np.int64).reshape(len(weight), -1).sum(1)
    if builder.structure:
        bias = np.zeros(len(bias))
    consts = {
        "weight": weight, "bias": np.clip(bias, -(2.0**31), 2.0**31 - 1).astype(np.int32),
        **builder.requantise(acc_scale / stage.scale, stage).consts(),
    }
    attrs = dataclasses.replace(expr.attrs, pad=t.zero_point, **stage.clamp())
    return builder.emit(attrs, expr.node, [expr.source], name, stage, consts)


def _in_chunks(builder: Builder, expr: Conv, stage: Stage, name: str) -> str:
    parts, first = [], 0
    for part in chunks(builder, expr):
        last = first + len(part.weight)
        alpha = None if stage.alpha is None else stage.alpha[first:last]
        parts.append(conv(builder, part, dataclasses.replace(stage, alpha=alpha),
                          f"{name}/{first}"))
        first = last
    return parts[0] if len(parts) == 1 else by_groups(builder, expr, stage, name, parts)


def _shrink(weight: Array, scale: Array, expr: Conv, t: Tensor, stage: Stage, arch: Arch
            ) -> tuple[Array, Array]:
    """Coarser weights for channels whose bias in weight steps exceeds the accumulator.

    Such a channel is almost constant: its weights are tiny. It is changed only if all that
    rounding its weights can do is a quarter of an output step; else the verifier refuses it.
    """
    flat = weight.astype(np.float64).reshape(len(weight), -1)
    low, high = LO - t.zero_point, HI - t.zero_point
    bias = np.abs(expr.bias / (t.scale * scale))
    reach = bias + 255.0 * np.abs(flat).sum(1)
    limit = float((1 << (arch.acc_bits - 1)) - 1)
    many = np.flatnonzero((reach > limit) & (bias > limit / 4))
    weight, scale = weight.copy(), scale.copy()
    for o in many:
        factor = 2.0 ** np.ceil(np.log2(reach[o] / limit) + 0.01)
        coarse = np.rint(flat[o] / factor)
        error = np.abs(flat[o] - coarse * factor).sum() * max(-low, high)
        if error * t.scale * scale[o] / stage.scale <= 0.25:
            weight[o] = coarse.reshape(weight[o].shape)
            scale[o] *= factor
    return weight, scale
