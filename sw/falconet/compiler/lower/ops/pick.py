"""pick: a copy for each piece of rows and columns that lie in equal steps."""

from __future__ import annotations

import numpy as np

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context, Operator
from falconet.compiler.lower.stage import identity_stage
from falconet.compiler.machine.op import Op
from falconet.compiler.machine.pick import PickOp
from falconet.compiler.machine.runs import runs
from falconet.isa import FalconetError
from falconet.isa.graph.ops.pick import Pick

__all__ = ["OPERATOR"]

_PIECES = 1024


def _lower(context: Context, node: Node, layer: int) -> Op:
    arch, out, a = context.arch, context.output(node), node.of(Pick)
    heights, widths = a.tiles(context.graph.shapes(node))
    rows, columns = runs(a.rows, heights), runs(a.columns, widths)
    if len(rows) * len(columns) > _PIECES:
        raise FalconetError(f"its rows and columns fall into {len(rows) * len(columns):,} pieces "
                            f"of equal steps, and more than {_PIECES:,} make no program; move the "
                            "pixels before the network")
    lanes = out.blocks * arch.lanes
    return PickOp(node.name, layer, context.sources(node), out, len(a.rows), arch=arch,
                  width=len(a.columns), stage=identity_stage(lanes, arch.mult_bits),
                  coef=np.ones((1, lanes), np.int32), rows=tuple(rows), columns=tuple(columns),
                  across=a.across, swap=a.swap, fill=a.fill)


OPERATOR = Operator(_lower, aligned=True)
