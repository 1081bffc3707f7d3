"""gather: a view of the blocks that hold its channels, or a copy by the MAC array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from falconet.compiler.graph import Graph, Node
from falconet.compiler.lower.operator import Layout, Operator, View
from falconet.compiler.nodes import selected
from falconet.isa import Arch
from falconet.isa.graph.ops.gather import Gather

__all__ = ["OPERATOR"]


def _lanes(node: Node, inputs: Sequence[Layout], arch: Arch) -> Layout:
    lane_of = inputs[0].lane_of[np.array(node.of(Gather).index)]
    first = int(lane_of.min()) // arch.lanes
    return Layout(int(lane_of.max()) // arch.lanes + 1 - first, lane_of - first * arch.lanes, first)


def _expand(graph: Graph, node: Node, arch: Arch) -> list[Node]:
    a = node.of(Gather)
    if a.exact:
        return [node]
    channels = graph.shapes(node)[0][0]
    return [selected(node.name, node.inputs[0], node.output, channels, a.index, arch, a.fill)]


OPERATOR = Operator(view=View.PART, expand=_expand, lanes=_lanes)
