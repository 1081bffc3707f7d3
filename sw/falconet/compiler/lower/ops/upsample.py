"""upsample: copies at every phase of the pixels that it repeats."""

from __future__ import annotations

import numpy as np

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context, Operator
from falconet.compiler.lower.stage import identity_stage
from falconet.compiler.machine.copy import CopyOp
from falconet.compiler.machine.op import Op
from falconet.isa.graph.ops.upsample import Upsample

__all__ = ["OPERATOR"]


def _lower(context: Context, node: Node, layer: int) -> Op:
    arch, out = context.arch, context.output(node)
    a, tensors = node.of(Upsample), context.graph.tensors
    return CopyOp(
        node.name, layer, context.sources(node), out, tensors[node.output].shape[1], arch=arch,
        width=tensors[node.inputs[0]].shape[2], fy=a.fy, fx=a.fx,
        stage=identity_stage(out.blocks * arch.lanes, arch.mult_bits),
        coef=np.ones((1, out.blocks * arch.lanes), np.int32),
    )


OPERATOR = Operator(_lower)
