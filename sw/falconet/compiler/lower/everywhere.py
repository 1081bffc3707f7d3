"""Tensors of one channel that an operator of many reads: they lie in all lanes of their block.

Whoever computes one puts it there at no cost if it is a dense convolution; before all others comes
a copy that is one.
"""

from __future__ import annotations

from falconet.compiler.graph import Graph, Node
from falconet.compiler.lower.lanes import copied
from falconet.compiler.lower.ops import OPERATORS
from falconet.isa import Arch
from falconet.isa.graph.ops.conv import Conv

__all__ = ["spread_channels"]


def spread_channels(graph: Graph, arch: Arch) -> tuple[Graph, frozenset[str]]:
    """The graph with such copies, and the names of the tensors that are to be in all lanes."""
    graph, found = graph.copy(), set()
    maker = {n.output: n for n in graph.nodes}
    copies: dict[str, str] = {}
    made: list[Node] = []
    for node in graph.nodes:
        if OPERATORS[node.op].aligned and graph.tensors[node.output].shape[0] > 1:
            for i, name in enumerate(node.inputs):
                if graph.tensors[name].shape[0] > 1:
                    continue
                if not _on_the_array(maker.get(name)):
                    if name not in copies:
                        copies[name] = copied(graph, name, f"{node.name}/aligned{i}", made, arch)
                    node.inputs[i] = copies[name]
                found.add(node.inputs[i])
        made.append(node)
    graph.nodes = made
    return graph, frozenset(found)


def _on_the_array(node: Node | None) -> bool:
    """Whether it is a convolution that the MAC array computes, or can as well."""
    return (node is not None and isinstance(node.attrs, Conv)
            and (not node.depthwise or node.attrs.kernel == (1, 1)))
