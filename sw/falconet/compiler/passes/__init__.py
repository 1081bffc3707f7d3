"""Passes over the integer graph: each is a pure function ``Graph -> Graph``, one a file.

All keep every output exactly; the verifier runs after each.
"""

from __future__ import annotations

from collections.abc import Callable

from falconet.compiler.graph import Graph
from falconet.compiler.passes.common import eliminate_common
from falconet.compiler.passes.dead import eliminate_dead
from falconet.compiler.passes.identity import remove_identities
from falconet.compiler.passes.pads import fold_pads
from falconet.compiler.passes.tables import fuse_tables
from falconet.compiler.verify import verify
from falconet.isa import Arch

__all__ = ["PASSES", "optimise"]

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    eliminate_dead, eliminate_common, remove_identities, fold_pads, fuse_tables, eliminate_dead,
)


def optimise(graph: Graph, arch: Arch) -> Graph:
    """Run all passes in order on a legal graph; ``graph`` itself is left alone."""
    verify(graph, arch)
    for apply in PASSES:
        graph = verify(apply(graph), arch)
    return graph
