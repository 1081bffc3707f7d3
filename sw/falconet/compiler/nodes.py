"""Nodes that the compiler makes by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from falconet.compiler.graph import Node
from falconet.isa import Arch
from falconet.isa.graph.ops.conv import Conv
from falconet.isa.graph.ops.eltwise import Eltwise

__all__ = ["selected", "weighted"]


def weighted(name: str, inputs: list[str], output: str, channels: int, arch: Arch,
             coef: Sequence[int] = (1,), bias: int = 0, attrs: Eltwise | None = None) -> Node:
    """An eltwise that stores ``sum of coef[s] * input s + bias + zp`` exactly, within lo and hi.

    With no more said it is a copy.
    """
    shift = arch.mult_bits - 1
    one = np.full(channels, 1 << shift, np.uint32)
    return Node(attrs or Eltwise(), name, inputs, output, {
        "coef": np.repeat(np.array(coef, np.int32)[:, None], channels, 1),
        "bias": np.full(channels, bias, np.int32),
        "mult": one, "mult_neg": one.copy(), "shift": np.full(channels, shift, np.uint8),
    })


def selected(name: str, source: str, output: str, channels: int, index: Sequence[int], arch: Arch,
             fill: int = 0) -> Node:
    """A convolution by the MAC array that stores channel ``index[i]`` of ``channels`` as channel
    ``i``, exactly, and ``fill`` where that is -1; in other lanes than they have."""
    found = np.asarray(index)
    weight = np.zeros((len(found), channels, 1, 1), np.int8)
    there = np.flatnonzero(found >= 0)
    weight[there, found[there]] = 1
    node = weighted(name, [source], output, len(found), arch)
    consts = {k: v for k, v in node.consts.items() if k != "coef"}
    bias = np.where(found < 0, fill, 0).astype(np.int32)
    return node.with_(attrs=Conv(kernel=(1, 1)),
                      consts={**consts, "weight": weight, "bias": bias})
