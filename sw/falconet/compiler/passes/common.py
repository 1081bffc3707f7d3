"""Compute the same thing once (RetinaFace's SSH emits one convolution twice per level)."""

from __future__ import annotations

from typing import Any

from falconet.compiler.graph import Graph, Node

__all__ = ["eliminate_common"]


def eliminate_common(graph: Graph) -> Graph:
    """Let users of a node that repeats an earlier one read the earlier one's output.

    Two outputs of the graph stay two tensors, even if they are equal.
    """
    new = graph.copy()
    first: dict[Any, str] = {}
    alias: dict[str, str] = {}
    kept = []
    for node in new.nodes:
        node.inputs = [alias.get(i, i) for i in node.inputs]
        t = graph.tensors[node.output]
        known = first.setdefault((_key(node), t.scale, t.zero_point), node.output)
        if known != node.output and node.output not in graph.outputs:
            alias[node.output] = known
            del new.tensors[node.output]
        else:
            kept.append(node)
    new.nodes = kept
    return new


def _key(node: Node) -> Any:
    consts = tuple((k, v.dtype.str, v.shape, v.tobytes()) for k, v in sorted(node.consts.items()))
    return node.attrs, tuple(node.inputs), consts
