"""Does every operator take the shapes that its node gives it?"""

from __future__ import annotations

from falconet.compiler.graph import Graph
from falconet.isa import FalconetError

__all__ = ["check_shapes"]


def check_shapes(graph: Graph) -> None:
    """Raises FalconetError naming the first node that its operator finds a fault with, or whose
    output is not of the shape that is computed.

    An imported graph has been verified (``passes.verify``); one that is made by hand has not, and
    a reader of rows that nobody makes would wait for ever.
    """
    for node in graph.nodes:
        shapes, given = graph.shapes(node), node.given
        for fault in node.attrs.faults(shapes, given):
            raise FalconetError(f"node '{node.origin}': {fault.why}")
        computed, found = node.attrs.shape(shapes, given), graph.tensors[node.output].shape
        if computed != found:
            raise FalconetError(f"node '{node.origin}': its output '{node.output}' is described as "
                                f"{list(found)}, and {list(computed)} is computed; mend the graph")
