"""softmax: by the vector engine, pixel by pixel."""

from __future__ import annotations

import numpy as np

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context, Operator
from falconet.compiler.lower.pixelwise import in_order, over_channels
from falconet.compiler.machine.op import Op
from falconet.isa import FalconetError, RowMode
from falconet.isa.graph.ops.softmax import Softmax

__all__ = ["OPERATOR"]


def _lower(context: Context, node: Node, layer: int) -> Op:
    a, none = node.of(Softmax), np.zeros(len(context.output(node).lane_of), np.int64)
    largest = int(node.consts["exponential"][0])
    if largest <= a.scale:
        raise FalconetError(f"the exponential of 0 is {largest}, and must be above the scale, "
                            f"{a.scale}; quantise again")
    return over_channels(context, node, layer, RowMode.SOFTMAX, (none, none, none),
                         exponential=node.consts["exponential"], scale=a.scale, shift=a.shift,
                         masked=a.masked)


OPERATOR = Operator(_lower, lanes=in_order, dense=True)
