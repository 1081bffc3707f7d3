"""interpolate: weighted sums of two rows, or columns, a part for each phase."""

from __future__ import annotations

import numpy as np

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context, Operator
from falconet.compiler.lower.parts import require_fit
from falconet.compiler.lower.phases import phases
from falconet.compiler.lower.stage import is_uniform, stage_of, uniform
from falconet.compiler.machine.between import BetweenOp
from falconet.compiler.machine.lattice import Axis, Stepped, VecLattice, banks_of
from falconet.compiler.machine.op import Op
from falconet.isa.graph.ops.interpolate import Interpolate

__all__ = ["OPERATOR"]

_MANY, _ROWS = 16, 16
"""Parts that work along columns, beyond which a tile has so many rows."""

_EVERY = Axis(0, 1)


def _lower(context: Context, node: Node, layer: int) -> Op:
    a, out, arch, (source,) = (node.of(Interpolate), context.output(node), context.arch,
                               context.sources(node))
    _, *sides = context.graph.tensors[node.inputs[0]].shape
    _, height, width = context.graph.tensors[node.output].shape
    stage, shared = stage_of(node, out, arch.lanes), is_uniform(node)
    made, weights = [], []
    axis = phases(sides[a.columns], a.size, a.step, a.first, a.unit)
    for p in axis:
        # The greater weight first: phases that mirror each other have the same ones.
        rows = sorted(enumerate((1,) if a.nearest else p.weights), key=lambda row: -row[1])
        weights.append(tuple(w for _, w in rows))
        read = [Axis(p.row + i, p.stride) for i, _ in rows]
        slots = [Stepped.of(source, *((_EVERY, s) if a.columns else (s, _EVERY))) for s in read]
        put = Axis(p.first, p.step)
        made.append(BetweenOp(
            node.name, layer, tuple(slots),
            Stepped.of(out, *((_EVERY, put) if a.columns else (put, _EVERY))),
            height if a.columns else p.count, arch=arch, width=p.count if a.columns else width,
            shared=shared, stage=uniform(stage, out) if shared else stage,
            coef=np.repeat(np.array(weights[-1], np.int32)[:, None], out.blocks * arch.lanes, 1)))
    rows_at_once = _ROWS if len(made) > _MANY else 1
    op = VecLattice(node.name, layer, (source,), out, height, parts=tuple(made),
                    banks=banks_of(weights),
                    grain=rows_at_once if a.columns else max(p.step for p in axis))
    require_fit(context, op)
    return op


OPERATOR = Operator(_lower)
