"""Padding costs nothing inside the window of the next layer."""

from __future__ import annotations

import numpy as np

from falconet.compiler.graph import Graph, Node

__all__ = ["fold_pads"]


def fold_pads(graph: Graph) -> Graph:
    """Move the pads of a layer that only pads (a 1x1 depthwise copy) into the layers reading it.

    A convolution takes them if it pads with the same value; a maximum if it has no pads of its
    own (those are -128). Other readers keep the copy.
    """
    new = graph.copy()
    pads = {n.output: n for n in new.nodes if _only_pads(n)}
    for node in new.nodes:
        pad = pads.get(node.inputs[0])
        while pad is not None and _takes(node, pad):
            node.attrs["pads"] = [a + b for a, b in zip(node.attrs["pads"], pad.attrs["pads"])]
            node.attrs["pad"] = pad.attrs["pad"]
            node.inputs = [pad.inputs[0]]
            pad = pads.get(node.inputs[0])
    read = {i for n in new.nodes for i in n.inputs} | set(new.outputs)
    for node in pads.values():
        if node.output not in read:
            new.nodes.remove(node)
            del new.tensors[node.output]
    return new


def _takes(node: Node, pad: Node) -> bool:
    if node.op == "conv":
        return bool(node.attrs["pad"] == pad.attrs["pad"])
    return node.op == "maxpool" and not any(node.attrs["pads"])


def _only_pads(node: Node) -> bool:
    if not (node.depthwise and node.attrs.get("pool") and node.attrs["kernel"] == [1, 1]):
        return False
    k, a = node.consts, node.attrs
    return (a["stride"] == [1, 1] and (a["lo"], a["hi"]) == (-128, 127) and "table" not in k
            and a["zp"] == a["pad"] and bool(np.all(k["bias"] == -a["pad"]))
            and bool(np.all(k["mult"] == 1 << 16) and np.all(k["mult_neg"] == 1 << 16)
                     and np.all(k["shift"] == 16)))
