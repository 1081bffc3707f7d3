"""Where a tensor is that will be loaded as weights."""

from __future__ import annotations

from falconet.compiler.lower.operator import Context
from falconet.compiler.machine.place import DdrTensor
from falconet.compiler.machine.transfer import StoreOp
from falconet.isa import Segment

__all__ = ["in_ddr"]


def in_ddr(context: Context, name: str) -> DdrTensor:
    """Its place in DDR, all pixels of a block side by side; it is stored there if it is not yet."""
    if name not in context.in_ddr:
        net, slot, lanes = context.net, context.net.slots[name], context.arch.lanes
        _, height, width = context.graph.tensors[name].shape
        at = net.reserve(Segment.WORK, height * width * slot.blocks * lanes)
        ddr = DdrTensor(f"{name} as weights", Segment.WORK, at, width * lanes, height)
        context.in_ddr[name] = ddr
        net.ops.append(StoreOp(f"store {ddr.name}", -1, (slot,), None, height, lanes=lanes,
                               target=ddr, by_block=True))
    return context.in_ddr[name]
