"""conv_transpose: one small convolution a phase, which writes its pixels at the stride."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Any

import numpy as np

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context, Layout, Operator, dense, same
from falconet.compiler.lower.ops.conv import dense_weight
from falconet.compiler.lower.parts import Run, lattice, shifted
from falconet.compiler.lower.stage import stage_of
from falconet.compiler.machine.mac import MacOp
from falconet.compiler.machine.op import Op
from falconet.compiler.machine.pack import spread
from falconet.compiler.machine.place import Array
from falconet.compiler.machine.window import WindowOp
from falconet.isa import Arch
from falconet.isa.graph.ops.conv_transpose import ConvTranspose

__all__ = ["OPERATOR"]


def _depthwise(node: Node) -> bool:
    return node.of(ConvTranspose).depthwise(node.consts["weight"].shape)


def _lanes(node: Node, inputs: Sequence[Layout], arch: Arch) -> Layout:
    if _depthwise(node):
        return same(node, inputs, arch)
    return dense(node.consts["weight"].shape[0], arch)


def _runs(a: ConvTranspose, i: int) -> list[Run]:
    """The phases of an axis. Output row ``p + s * j`` sums the taps k of input row
    ``j + (p + crop - k * d) / s`` wherever that is whole; k falls as the input's row rises."""
    s, d, k, crop, size = a.stride[i], a.dilation[i], a.kernel[i], a.crop[i], a.size[i]
    dilation = d // gcd(s, d)
    found = []
    for p in range(min(s, size)):
        taps = tuple(t for t in reversed(range(k)) if (p + crop - t * d) % s == 0)
        start = (p + crop - taps[0] * d) // s if taps else 0
        found.append(Run(p, s, -(-(size - p) // s), start, 1, taps, dilation))
    return found


def _lower(context: Context, node: Node, layer: int) -> Op:
    a, out, (source,) = node.of(ConvTranspose), context.output(node), context.sources(node)
    lanes, weight = context.arch.lanes, node.consts["weight"]
    stage, depthwise = stage_of(node, out, lanes), _depthwise(node)

    def taken(y: Run, x: Run) -> Array:
        """The weights of a phase."""
        if not (y.taps and x.taps):
            return np.zeros((*weight.shape[:2], max(1, len(y.taps)), max(1, len(x.taps))), np.int8)
        return weight[:, :, y.taps][..., x.taps]

    def make(y: Run, x: Run, window: dict[str, Any]) -> MacOp | WindowOp:
        taps = taken(y, x)
        zero = -a.pad * taps.astype(np.int32).reshape(len(taps), -1).sum(1)
        window["stage"] = shifted(stage, spread(zero.astype(np.int32), out.lane_of,
                                                out.blocks * lanes))
        if depthwise:
            return WindowOp(**window, weight=spread(taps[:, 0], out.lane_of, out.blocks * lanes))
        matrix, ranges = dense_weight(taps, a.groups, source, out, lanes)
        return MacOp(**window, weight=matrix, in_range=tuple(ranges))

    return lattice(context, node, layer, (_runs(a, 0), _runs(a, 1)), make, pad=a.pad)


OPERATOR = Operator(_lower, lanes=_lanes)
