"""slice: a view of the blocks that hold its channels."""

from __future__ import annotations

from collections.abc import Sequence

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Layout, Operator, View
from falconet.isa import Arch
from falconet.isa.graph.ops.slice import Slice

__all__ = ["OPERATOR"]


def _lanes(node: Node, inputs: Sequence[Layout], arch: Arch) -> Layout:
    a = node.of(Slice)
    lane_of = inputs[0].lane_of[a.begin:a.end]
    first = int(lane_of.min()) // arch.lanes
    return Layout(int(lane_of.max()) // arch.lanes + 1 - first, lane_of - first * arch.lanes, first)


OPERATOR = Operator(view=View.PART, lanes=_lanes)
