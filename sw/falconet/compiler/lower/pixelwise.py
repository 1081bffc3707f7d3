"""Operators over all channels of a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context, Layout, dense
from falconet.compiler.machine.pack import spread
from falconet.compiler.machine.place import Array
from falconet.compiler.machine.row import RowOp
from falconet.compiler.machine.stage import OutputStage
from falconet.isa import Arch, FalconetError, RowMode
from falconet.isa.graph.row import Row

__all__ = ["in_order", "over_channels"]


def in_order(node: Node, inputs: Sequence[Layout], arch: Arch) -> Layout:
    """Channel c in lane c."""
    return dense(len(inputs[0].lane_of), arch)


def over_channels(context: Context, node: Node, layer: int, mode: RowMode,
                  params: tuple[Array, Array, Array], **more: Any) -> RowOp:
    """``params``: bias, multiplier and shift of each channel."""
    arch, out, (source,) = context.arch, context.output(node), context.sources(node)
    c, height, width = context.graph.tensors[node.output].shape
    bias, mult, shift = (spread(v, out.lane_of, out.blocks * arch.lanes) for v in params)
    a, table = node.of(Row), node.consts.get("table")
    stage = OutputStage(a.zp, a.lo, a.hi, bias, mult, mult, shift,
                        None if table is None else table.tobytes())
    op = RowOp(node.name, layer, (source,), out, height, arch=arch, stage=stage, mode=mode,
               channels=c, width=width, **more)
    words = op.chunk_words(0, op.blocks)
    if words > arch.vector_words:
        raise FalconetError(f"its constants take {words} vector weight words and the memory of "
                            f"'{arch.name}' holds {arch.vector_words}; use fewer channels or a "
                            "larger preset")
    return op
