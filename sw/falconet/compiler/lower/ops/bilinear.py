"""bilinear: depthwise windows of two rows and columns, a part for each pair of phases."""

from __future__ import annotations

from typing import Any

import numpy as np

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context, Operator
from falconet.compiler.lower.parts import Run, lattice
from falconet.compiler.lower.phases import Phase, phases
from falconet.compiler.lower.stage import is_uniform, stage_of, uniform
from falconet.compiler.machine.op import Op
from falconet.compiler.machine.window import WindowOp
from falconet.isa.graph.ops.bilinear import Bilinear

__all__ = ["OPERATOR"]


def _run(p: Phase) -> Run:
    return Run(p.first, p.step, p.count, p.row, p.stride, p.weights)


def _lower(context: Context, node: Node, layer: int) -> Op:
    a, out, arch = node.of(Bilinear), context.output(node), context.arch
    _, *sides = context.graph.tensors[node.inputs[0]].shape
    stage, shared = stage_of(node, out, arch.lanes), is_uniform(node)

    def make(y: Run, x: Run, window: dict[str, Any]) -> WindowOp:
        weight = np.outer(y.taps, x.taps).astype(np.int8)
        return WindowOp(**window, shared=shared, stage=uniform(stage, out) if shared else stage,
                        weight=np.repeat(weight[None], out.blocks * arch.lanes, 0))

    rows, columns = ([_run(p) for p in phases(*axis)]
                     for axis in zip(sides, a.size, a.step, a.first, a.unit))
    return lattice(context, node, layer, (rows, columns), make, pad=0)


OPERATOR = Operator(_lower)
