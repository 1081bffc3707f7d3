"""transpose: the identity times the tensor, which is loaded as weights."""

from __future__ import annotations

import dataclasses

import numpy as np

from falconet.compiler.graph import Graph, Node
from falconet.compiler.lower.operator import Operator
from falconet.compiler.nodes import weighted
from falconet.isa import Arch
from falconet.isa.graph.ops.constant import Constant
from falconet.isa.graph.ops.matmul import MatMul

__all__ = ["OPERATOR"]


def _expand(graph: Graph, node: Node, arch: Arch) -> list[Node]:
    t, one = graph.tensors[node.inputs[0]], f"{node.output}/above"
    c, h, w = t.shape
    graph.tensors[one] = dataclasses.replace(t, name=one, shape=(c, 1, c), scale=1.0, zero_point=0)
    identity = Node(Constant(), f"{node.name}/above", [], one,
                    {"value": np.eye(c, dtype=np.int8)[:, None]})
    consts = weighted(node.name, [], node.output, h * w, arch).consts
    del consts["coef"]
    return [identity, node.with_(attrs=MatMul(), inputs=[one, node.inputs[0]], consts=consts)]


OPERATOR = Operator(expand=_expand)
