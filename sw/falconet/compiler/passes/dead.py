"""Drop what no output needs."""

from __future__ import annotations

from falconet.compiler.graph import Graph

__all__ = ["eliminate_dead"]


def eliminate_dead(graph: Graph) -> Graph:
    """Remove nodes that reach no output, and the tensors of no node; inputs stay."""
    needed = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
    new = graph.copy()
    new.nodes = [n for n in new.nodes if n.output in needed]
    needed.update(graph.inputs)
    new.tensors = {k: t for k, t in graph.tensors.items() if k in needed}
    return new
