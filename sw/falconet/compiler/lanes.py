"""Which lane each channel of a tensor is in, and copies where it cannot stay there.

Channels keep a ``lane_of`` (their position among the lanes of their blocks), which the weights of
the next convolution absorb.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Graph, Node
from falconet.isa import Arch

__all__ = ["aligned_heads", "aligned_operands", "lane_layout", "with_copies"]

Array = NDArray[Any]


def with_copies(graph: Graph) -> Graph:
    """Copy a tensor that two concats want, or that a concat cannot have produced in place."""
    graph = graph.copy()
    in_place: set[str] = set()
    made: list[Node] = []
    produced_by = {n.output: n for n in graph.nodes}
    for node in graph.nodes:
        if node.op == "concat":
            for i, name in enumerate(node.inputs):
                source = produced_by.get(name)
                if name in in_place or source is None or source.op == "slice":
                    node.inputs[i] = _copy(graph, name, f"{node.name}/copy{i}", made)
                in_place.add(node.inputs[i])
        made.append(node)
    graph.nodes = made
    return graph


def aligned_heads(graph: Graph, arch: Arch, detect: dict[str, Any]) -> dict[str, str]:
    """For each head the tensor to read: itself, or a copy by the MAC array, which puts channel c
    into lane c where a concat or a slice has not."""
    layout = lane_layout(graph, arch)
    names = dict.fromkeys(level[k] for level in detect["levels"]
                          for k in ("scores", "boxes", "objectness", "landmarks") if level[k])
    places = {}
    for name in names:
        lane_of = layout[name][1]
        places[name] = name
        if not np.array_equal(lane_of, np.arange(len(lane_of))):
            places[name] = f"{name}/aligned"
            made: list[Node] = []
            _copy(graph, name, places[name], made)
            made[0] = _as_conv(made[0])
            maker = graph.producer(name)
            at = graph.nodes.index(maker) + 1 if maker is not None else 0
            graph.nodes[at:at] = made
    return places


def _as_conv(copy: Node) -> Node:
    """A copy as a convolution with weights of 1."""
    consts = dict(copy.consts)
    channels = consts.pop("coef").shape[1]
    return copy.with_(op="conv", consts={
        **consts, "weight": np.eye(channels, dtype=np.int8)[:, :, None, None],
    }, attrs={**copy.attrs, "kernel": (1, 1), "stride": (1, 1), "pads": (0, 0, 0, 0),
              "dilation": (1, 1), "groups": 1, "pad": 0})


def _copy(graph: Graph, name: str, new: str, nodes: list[Node]) -> str:
    t = graph.tensors[name]
    graph.tensors[new] = dataclasses.replace(t, name=new)
    c = t.shape[0]
    nodes.append(Node("eltwise", new, [name], new, {"zp": 0, "lo": -128, "hi": 127}, {
        "coef": np.ones((1, c), np.int32), "bias": np.zeros(c, np.int32),
        "mult": np.full(c, 1 << 16, np.uint32), "mult_neg": np.full(c, 1 << 16, np.uint32),
        "shift": np.full(c, 16, np.uint8),
    }))
    return new


def aligned_operands(graph: Graph, arch: Arch) -> Graph:
    """Copy operands whose channels are in other lanes than those they are added to, as
    :func:`aligned_heads` does (after a concat or slice at a channel that is no multiple of them).
    """
    layout = _inputs(graph, arch)
    made: list[Node] = []
    for node in graph.nodes:
        lanes = [layout[i][1] for i in node.inputs]
        if node.op == "eltwise" and any(not np.array_equal(at, lanes[0]) for at in lanes):
            for i, at in enumerate(lanes):
                if not np.array_equal(at, np.arange(len(at))):
                    node.inputs[i] = _copy(graph, node.inputs[i], f"{node.name}/aligned{i}", made)
                    made[-1] = _as_conv(made[-1])
                    layout[node.inputs[i]] = _lanes(made[-1], layout, arch)
        made.append(node)
        layout[node.output] = _lanes(node, layout, arch)
    graph.nodes = made
    return graph


def lane_layout(graph: Graph, arch: Arch) -> dict[str, tuple[int, Array]]:
    """For each tensor: number of blocks and the lane position of each channel."""
    layout = _inputs(graph, arch)
    for node in graph.nodes:
        layout[node.output] = _lanes(node, layout, arch)
    return layout


def _inputs(graph: Graph, arch: Arch) -> dict[str, tuple[int, Array]]:
    return {name: _dense(graph.tensors[name].shape[0], arch) for name in graph.inputs}


def _dense(channels: int, arch: Arch) -> tuple[int, Array]:
    return -(-channels // arch.lanes), np.arange(channels)


def _lanes(node: Node, layout: dict[str, tuple[int, Array]], arch: Arch) -> tuple[int, Array]:
    """Blocks and lanes of a node's output."""
    n = arch.lanes
    if node.op == "conv" and not node.depthwise:
        return _dense(node.consts["weight"].shape[0], arch)
    if node.op == "concat":
        at, parts = 0, []
        for name in node.inputs:
            blocks, lane_of = layout[name]
            parts.append(lane_of + at * n)
            at += blocks
        return at, np.concatenate(parts)
    if node.op == "slice":
        lane_of = layout[node.inputs[0]][1][node.attrs["begin"]:node.attrs["end"]]
        first = int(lane_of.min()) // n
        return int(lane_of.max()) // n + 1 - first, lane_of - first * n
    return layout[node.inputs[0]]
