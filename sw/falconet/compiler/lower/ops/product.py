"""product: zero points become coefficients and bias, (a - y)(b - z) = ab - za - yb + yz."""

from __future__ import annotations

import numpy as np

from falconet.compiler.graph import Node
from falconet.compiler.lower.operands import elementwise, widest
from falconet.compiler.lower.operator import Context, Operator
from falconet.compiler.machine.op import Op
from falconet.isa.graph.ops.product import Product

__all__ = ["OPERATOR"]


def _lower(context: Context, node: Node, layer: int) -> Op:
    first, second = node.of(Product).zeros
    bias = node.consts["bias"] + np.int32(first * second)
    coef = np.repeat(np.array([[-second], [-first]], np.int32), len(bias), 1)
    moved = node.with_(consts={**node.consts, "bias": bias})
    return elementwise(context, moved, layer, coef, product=True)


OPERATOR = Operator(_lower, lanes=widest, aligned=True)
