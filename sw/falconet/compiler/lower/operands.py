"""Operators that the vector engine computes value by value: sums and products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context, Layout
from falconet.compiler.lower.stage import is_uniform, stage_of, uniform
from falconet.compiler.machine.eltwise import EltwiseOp
from falconet.compiler.machine.pack import spread
from falconet.compiler.machine.place import Array
from falconet.isa import Arch

__all__ = ["elementwise", "widest"]


def elementwise(context: Context, node: Node, layer: int, coef: Array, **more: Any) -> EltwiseOp:
    """``coef``: int32 [n, C]; with the node's constants, once for all blocks if they are alike."""
    arch, out = context.arch, context.output(node)
    _, height, width = context.graph.tensors[node.output].shape
    stage = stage_of(node, out, arch.lanes)
    lanes = np.stack([spread(row, out.lane_of, out.blocks * arch.lanes) for row in coef])
    shared = is_uniform(node) and bool((coef == coef[:, :1]).all())
    if shared:
        stage = uniform(stage, out)
        lanes = np.broadcast_to(coef[:, :1], lanes.shape)
    return EltwiseOp(node.name, layer, context.sources(node), out, height, arch=arch, width=width,
                     stage=stage, coef=lanes, shared=shared, **more)


def widest(node: Node, inputs: Sequence[Layout], arch: Arch) -> Layout:
    """Each channel stays in the lane of the first input that has them all."""
    most = max(inputs, key=lambda layout: len(layout.lane_of))
    return Layout(most.blocks, most.lane_of)
