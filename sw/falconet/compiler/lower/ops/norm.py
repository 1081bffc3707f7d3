"""norm: by the vector engine, pixel by pixel."""

from __future__ import annotations

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context, Operator
from falconet.compiler.lower.pixelwise import in_order, over_channels
from falconet.compiler.machine.op import Op
from falconet.isa import RowMode
from falconet.isa.graph.ops.norm import Norm
from falconet.isa.machine.channels import NORM_SCALE

__all__ = ["OPERATOR"]


def _lower(context: Context, node: Node, layer: int) -> Op:
    a, k = node.of(Norm), node.consts
    return over_channels(context, node, layer, RowMode.RMS if a.rms else RowMode.LAYER,
                         (k["bias"], k["gamma"], k["shift"]), ref=a.zero_in, epsilon=a.epsilon,
                         scale=NORM_SCALE * len(k["bias"]))


OPERATOR = Operator(_lower, lanes=in_order, dense=True)
