"""eltwise: scaled sum, rescaling or look-up."""

from __future__ import annotations

from falconet.compiler.graph import Node
from falconet.compiler.lower.operands import elementwise, widest
from falconet.compiler.lower.operator import Context, Operator
from falconet.compiler.machine.op import Op

__all__ = ["OPERATOR"]


def _lower(context: Context, node: Node, layer: int) -> Op:
    return elementwise(context, node, layer, node.consts["coef"])


OPERATOR = Operator(_lower, lanes=widest, aligned=True)
