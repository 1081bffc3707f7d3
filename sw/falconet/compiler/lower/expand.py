"""Operators that the machine computes as several others."""

from __future__ import annotations

from falconet.compiler.graph import Graph
from falconet.compiler.lower.ops import OPERATORS
from falconet.isa import Arch

__all__ = ["expanded"]


def expanded(graph: Graph, arch: Arch) -> Graph:
    """The graph without nodes that are computed as others."""
    graph = graph.copy()
    left, done = graph.nodes[::-1], []
    while left:
        node = left.pop()
        expand = OPERATORS[node.op].expand
        made = [node] if expand is None else expand(graph, node, arch)
        if any(new is node for new in made):
            done.append(node)
        else:
            left += made[::-1]
    graph.nodes = done
    return graph
