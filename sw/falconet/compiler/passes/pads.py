"""Padding costs nothing inside the window of the next layer."""

from __future__ import annotations

import dataclasses

import numpy as np

from falconet.compiler.graph import Graph, Node
from falconet.isa.graph.ops.conv import Conv
from falconet.isa.graph.tensor import HI, LO
from falconet.isa.graph.windowed import Windowed

__all__ = ["fold_pads"]


def fold_pads(graph: Graph) -> Graph:
    """Move the pads of a layer that only pads (a 1x1 depthwise copy) into the layers reading it.

    A convolution takes them if it pads with the same value; a maximum if it has no pads of its
    own (those are -128). Other readers keep the copy.
    """
    new = graph.copy()
    pads = {n.output: n for n in new.nodes if _only_pads(n)}
    for node in new.nodes:
        while node.inputs[0] in pads:
            before, window = pads[node.inputs[0]], node.attrs
            pad = before.of(Conv)
            if not isinstance(window, Windowed) or not _takes(window, pad):
                break
            top, left, bottom, right = (a + b for a, b in zip(window.pads, pad.pads))
            node.attrs = dataclasses.replace(window, pad=pad.pad, pads=(top, left, bottom, right))
            node.inputs = [before.inputs[0]]
    read = {i for n in new.nodes for i in n.inputs} | set(new.outputs)
    for node in pads.values():
        if node.output not in read:
            new.nodes.remove(node)
            del new.tensors[node.output]
    return new


def _takes(window: Windowed, pad: Conv) -> bool:
    return window.pad == pad.pad if isinstance(window, Conv) else not any(window.pads)


def _only_pads(node: Node) -> bool:
    a, k = node.attrs, node.consts
    return (isinstance(a, Conv) and node.depthwise and a.pool and a.kernel == a.stride == (1, 1)
            and (a.lo, a.hi) == (LO, HI) and "table" not in k
            and a.zp == a.pad and bool(np.all(k["bias"] == -a.pad))
            and bool(np.all(k["mult"] == 1 << k["shift"].astype(np.int64))
                     and np.all(k["mult_neg"] == k["mult"])))
