"""Passes over the integer graph: each is a pure function ``Graph -> Graph``, one a file.

What a pass may do:

* It is given a legal graph, leaves it alone, and returns a legal one with the same inputs and the
  same outputs: equal names, shapes, quantisation and bytes. The verifier runs after each.
* It never raises: where its rewriting does not apply, the graph stays what it is. What is wrong
  with a network is for the verifier to say, and what is too large for a machine for the lowering.
* It knows no ``Arch``: a rewriting is right for every machine, or it belongs to the lowering. What
  a sum may not exceed it need not know either, as long as it makes no weights.
* It asks the operator (``node.attrs``: ``fuses``, ``reach``, ``idle``) before it asks for its name,
  so that it need not learn of a new one.

``tests/compiler/passes/test_rules.py`` holds them to it.
"""

from __future__ import annotations

from collections.abc import Callable

from falconet.compiler.graph import Graph
from falconet.compiler.passes.common import eliminate_common
from falconet.compiler.passes.dead import eliminate_dead
from falconet.compiler.passes.identity import remove_identities
from falconet.compiler.passes.pads import fold_pads
from falconet.compiler.passes.route import route_channels
from falconet.compiler.passes.strides import fold_strides
from falconet.compiler.passes.tables import fuse_tables
from falconet.compiler.passes.ungroup import split_groups
from falconet.compiler.passes.verify import verify
from falconet.isa import Arch

__all__ = ["PASSES", "optimise"]

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    eliminate_dead, eliminate_common, remove_identities, fold_pads, fold_strides,
    fuse_tables, split_groups, route_channels, remove_identities, eliminate_dead,
)


def optimise(graph: Graph, arch: Arch) -> Graph:
    """Run all passes in order on a legal graph; ``graph`` itself is left alone."""
    verify(graph, arch)
    for apply in PASSES:
        graph = verify(apply(graph), arch)
    return graph
