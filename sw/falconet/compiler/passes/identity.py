"""Remove what changes nothing."""

from __future__ import annotations

import numpy as np

from falconet.compiler.graph import Graph, Node
from falconet.compiler.unary import unary_map, uniform, value_ranges

__all__ = ["remove_identities"]


def remove_identities(graph: Graph) -> Graph:
    """Bypass nodes that return their input for every value that it can hold.

    A copy stays where an output of the graph would otherwise be an input, another output, or have
    other quantisation parameters.
    """
    new = graph.copy()
    ranges = value_ranges(graph)
    for node in list(new.nodes):
        source, out = node.inputs[0], node.output
        a, b = new.tensors[source], new.tensors[out]
        if (a.scale, a.zero_point) != (b.scale, b.zero_point):
            continue
        if not _changes_nothing(new, node, ranges[source]):
            continue
        if out in new.outputs:
            if source in new.inputs or source in new.outputs:
                continue
            kept, gone = out, source
            for n in new.nodes:
                n.output = kept if n.output == gone else n.output
        else:
            kept, gone = source, out
        new.nodes.remove(node)
        for n in new.nodes:
            n.inputs = [kept if i == gone else i for i in n.inputs]
        ranges[kept] = ranges[source]
        del new.tensors[gone]
    return new


def _changes_nothing(graph: Graph, node: Node, reach: tuple[int, int]) -> bool:
    if node.attrs.idle(graph.shapes(node)):
        return True
    if not uniform(node):
        return False
    lo, hi = reach
    return bool(np.array_equal(unary_map(node)[lo + 128 : hi + 129], np.arange(lo, hi + 1)))
