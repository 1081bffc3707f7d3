"""Weights beyond [-127, 127]: -128, or int8 and uint8 with a zero point.

``sum of w * x`` is ``sum of a * x + sum of b * x`` with ``w = a + b``: the blocks of channels that
``b`` needs are joined to the input a second time, so that one accumulator has it all, exactly.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.build import Builder
from falconet.compiler.importer.expr import Conv, Move
from falconet.compiler.importer.stage import Stage
from falconet.compiler.importer.store.move import of_tensors
from falconet.isa.graph.ops.concat import Concat
from falconet.isa.graph.ops.slice import Slice

__all__ = ["LARGEST", "by_groups", "chunks", "narrowed"]

LARGEST = 127

Array = NDArray[Any]


def narrowed(builder: Builder, expr: Conv) -> Conv:
    """The same sums with int8 weights, of one group, over an input with more channels."""
    shape = builder.graph.tensors[expr.source].shape
    left, lanes = expr.weight.astype(np.int16), builder.arch.lanes
    weights, parts = [], []
    first, last = 0, shape[0]
    while True:
        now = np.clip(left, -LARGEST, LARGEST)
        weights.append(now[:, first:last].astype(np.int8))
        parts.append(_channels(builder, expr, first, last))
        left = left - now
        used = np.flatnonzero(np.any(left, axis=(0, 2, 3)))
        if not used.size:
            break
        first = int(used[0]) // lanes * lanes
        last = min(shape[0], -(-(int(used[-1]) + 1) // lanes) * lanes)
    weight = np.concatenate(weights, 1)
    name = f"{expr.node}/channels"
    joined = Move(name, (weight.shape[1], *shape[1:]), Concat(), ())
    return dataclasses.replace(expr, weight=weight,
                               source=of_tensors(builder, joined, parts, name))


def _channels(builder: Builder, expr: Conv, first: int, last: int) -> str:
    c, *size = builder.graph.tensors[expr.source].shape
    if (first, last) == (0, c):
        return expr.source
    name = f"{expr.node}/channels{first}"
    cut = Move(name, (last - first, size[0], size[1]), Slice(first, last), ())
    return of_tensors(builder, cut, [expr.source], name)


def chunks(builder: Builder, expr: Conv) -> list[Conv]:
    """A convolution of groups as several behind each other; those of large weights have one group.

    Each has a block of channels, or one group if that has more.
    """
    groups, (outputs, per_group) = expr.attrs.groups, expr.weight.shape[:2]
    together = max(1, builder.arch.lanes // per_group)
    made = outputs // groups
    found = []
    for g in range(0, groups, together):
        n = min(together, groups - g)
        own = slice(g * made, (g + n) * made)
        weight = expr.weight[own]
        large = bool(np.abs(weight.astype(np.int16)).max() > LARGEST)
        if large:
            dense = np.zeros((n * made, n * per_group, *weight.shape[2:]), np.int16)
            for i in range(n):
                dense[i * made:(i + 1) * made, i * per_group:(i + 1) * per_group] = (
                    weight[i * made:(i + 1) * made])
            weight = dense
        found.append(dataclasses.replace(
            expr, node=f"{expr.node}/{g}", shape=(n * made, *expr.shape[1:]),
            source=_channels(builder, expr, g * per_group, (g + n) * per_group),
            weight=weight if large else weight.astype(np.int8), scale=expr.scale[own],
            bias=expr.bias[own],
            attrs=dataclasses.replace(expr.attrs, groups=1 if large else n)))
    return found


def by_groups(builder: Builder, expr: Conv, stage: Stage, name: str, parts: list[str]) -> str:
    """The results of :func:`chunks` joined."""
    out = of_tensors(builder, Move(expr.node, expr.shape, Concat(), ()), parts, name)
    builder.ranges[out] = (stage.lo, stage.hi)
    return out
