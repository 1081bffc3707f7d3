"""What values a tensor can hold, and what an element-wise node makes of each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Graph, Node
from falconet.isa import output_stage
from falconet.isa.graph.ops.eltwise import Eltwise
from falconet.isa.graph.tensor import HI, LO

__all__ = ["unary_map", "uniform", "value_ranges"]

_PER_CHANNEL = ("coef", "bias", "mult", "mult_neg", "shift")


def value_ranges(graph: Graph) -> dict[str, tuple[int, int]]:
    """Least and greatest stored value of every tensor, as clamps and tables guarantee them."""
    ranges = {name: (LO, HI) for name in graph.inputs}
    for node in graph.nodes:
        table = node.consts.get("table")
        ranges[node.output] = node.attrs.reach(
            [ranges[i] for i in node.inputs], None if table is None else table.tolist())
    return ranges


def uniform(node: Node) -> bool:
    """Whether an element-wise node has one input and treats all channels alike."""
    return isinstance(node.attrs, Eltwise) and len(node.inputs) == 1 and all(
        bool(np.all(node.consts[k] == node.consts[k][..., :1])) for k in _PER_CHANNEL)


def unary_map(node: Node) -> NDArray[Any]:
    """What a :func:`uniform` node makes of -128 ... 127 (int8)."""
    k, a = node.consts, node.of(Eltwise)
    table = [int(v) for v in k["table"]] if "table" in k else None
    coef, bias, mult, neg, shift = (int(k[n].reshape(-1)[0]) for n in _PER_CHANNEL)
    return np.array([
        output_stage(q * coef, bias=bias, mult=mult, mult_neg=neg, shift=shift, zp=a.zp,
                     lo=a.lo, hi=a.hi, table=table)
        for q in range(LO, HI + 1)
    ], np.int8)
