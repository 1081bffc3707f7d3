"""concat: its inputs are written into their blocks of its output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Layout, Operator, View
from falconet.isa import Arch

__all__ = ["OPERATOR"]


def _lanes(node: Node, inputs: Sequence[Layout], arch: Arch) -> Layout:
    at, parts = 0, []
    for blocks, lane_of, _ in inputs:
        parts.append(lane_of + at * arch.lanes)
        at += blocks
    return Layout(at, np.concatenate(parts))


OPERATOR = Operator(view=View.JOIN, lanes=_lanes)
