"""Concats of concats: DenseNet joins the same tensors again and again, each time with one more."""

from __future__ import annotations

from falconet.compiler.graph import Graph
from falconet.compiler.lower.operator import View
from falconet.compiler.lower.ops import OPERATORS

__all__ = ["nested"]


def nested(graph: Graph) -> Graph:
    """Let a concat whose inputs begin with all those of an earlier one read that one's output, so
    that each tensor is wanted in one place and need not be copied."""
    graph = graph.copy()
    joined: dict[tuple[str, ...], str] = {}  # inputs, one by one -> output
    for node in graph.nodes:
        if OPERATORS[node.op].view is not View.JOIN or len(node.inputs) < 2:
            continue
        parts = tuple(node.inputs)
        for n in range(len(parts), 1, -1):
            if parts[:n] in joined:
                node.inputs = [joined[parts[:n]], *parts[n:]]
                break
        joined.setdefault(parts, node.output)
    return graph
