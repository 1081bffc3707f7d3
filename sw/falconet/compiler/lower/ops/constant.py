"""constant: its bytes in front of the weights, and a load where something reads it as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context, Layout, Operator, dense
from falconet.compiler.machine.op import Op
from falconet.compiler.machine.place import DdrTensor
from falconet.compiler.machine.transfer import LoadOp
from falconet.isa import Arch, Segment

__all__ = ["OPERATOR"]


def _lanes(node: Node, inputs: Sequence[Layout], arch: Arch) -> Layout:
    return dense(len(node.consts["value"]), arch)


def _lower(context: Context, node: Node, layer: int) -> Op | None:
    net, lanes, slot = context.net, context.arch.lanes, context.output(node)
    c, h, w = node.consts["value"].shape
    stored = np.zeros((slot.blocks * lanes, h, w), np.int8)
    stored[:c] = node.consts["value"]
    blocks = stored.reshape(slot.blocks, lanes, h, w)
    if context.weighed(node.output):
        at = net.keep(blocks.transpose(0, 2, 3, 1).tobytes())
        context.in_ddr[node.output] = DdrTensor(node.output, Segment.CODE, at, w * lanes, h)
    if not context.loaded(node.output):
        return None
    source = DdrTensor(node.output, Segment.CODE, net.keep(blocks.transpose(2, 0, 3, 1).tobytes()),
                       slot.blocks * w * lanes, h)
    return LoadOp(f"load {node.output}", -1, (), slot, h, source=source, lanes=lanes)


OPERATOR = Operator(_lower, lanes=_lanes)
