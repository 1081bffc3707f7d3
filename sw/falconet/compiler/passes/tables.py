"""Activations and rescales in the output stage of the layer before."""

from __future__ import annotations

import dataclasses

import numpy as np

from falconet.compiler.graph import Graph, Node
from falconet.compiler.unary import unary_map, uniform, value_ranges
from falconet.isa.graph.stage import Staged

__all__ = ["fuse_tables"]


def fuse_tables(graph: Graph) -> Graph:
    """Fuse an element-wise function of one tensor into the node that writes the tensor.

    Any such function is a table of 256 bytes; one that only limits becomes the clamp ``lo, hi``.
    The tensor between must have no other reader and be no output of the graph.
    """
    new = graph.copy()
    writers = {n.output: n for n in new.nodes}
    readers = {t: sum(t in n.inputs for n in new.nodes) for t in new.tensors}
    for node in list(new.nodes):
        source = node.inputs[0]
        before = writers.get(source)
        if (before is None or not before.attrs.fuses or not uniform(node)
                or readers[source] != 1 or source in new.outputs):
            continue
        lo, hi = value_ranges(new)[source]
        _fuse(before, unary_map(node), lo, hi)
        before.output = node.output
        writers[node.output] = before
        new.nodes.remove(node)
        del new.tensors[source]
    return new


def _fuse(node: Node, mapped: np.ndarray, lo: int, hi: int) -> None:
    """``mapped`` after the output stage of ``node``, whose values lie in [lo, hi]."""
    reached = mapped[lo + 128 : hi + 129].astype(int)
    values = np.arange(lo, hi + 1)
    if "table" not in node.consts:
        least, most = int(reached.min()), int(reached.max())
        if np.array_equal(reached, np.clip(values, least, most)):
            node.attrs = dataclasses.replace(node.of(Staged), lo=least, hi=most)
            return
        node.consts["table"] = mapped
    else:
        node.consts["table"] = mapped[node.consts["table"].astype(int) + 128]
