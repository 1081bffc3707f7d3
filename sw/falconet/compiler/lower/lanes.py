"""Which lane each channel of a tensor is in, and copies where it cannot stay there.

Channels keep a ``lane_of`` (their position among the lanes of their blocks), which the weights of
the next convolution absorb.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from falconet.compiler.graph import Graph, Node
from falconet.compiler.lower.operator import Layout, View, dense
from falconet.compiler.lower.ops import OPERATORS
from falconet.compiler.nodes import selected, weighted
from falconet.isa import Arch
from falconet.isa.program.forms import Detect

__all__ = ["aligned_heads", "aligned_operands", "copied", "lane_layout", "with_copies"]


def with_copies(graph: Graph, arch: Arch) -> Graph:
    """Copy a tensor that two concats want, or that a concat cannot have produced in place; by the
    MAC array where few of its lanes hold a channel."""
    graph, layout = graph.copy(), _inputs(graph, arch)
    in_place: set[str] = set()
    made: list[Node] = []
    produced_by = {n.output: n for n in graph.nodes}
    for node in graph.nodes:
        if OPERATORS[node.op].view is View.JOIN:
            for i, name in enumerate(node.inputs):
                source = produced_by.get(name)
                if (name in in_place or source is None
                        or OPERATORS[source.op].view is View.PART):
                    at = layout[name]
                    sparse = 2 * arch.lanes * at.blocks > 3 * (len(at.lane_of) + arch.lanes)
                    node.inputs[i] = copied(graph, name, f"{node.name}/copy{i}", made, arch,
                                            dense=sparse)
                    layout[node.inputs[i]] = _lanes(made[-1], layout, arch)
                in_place.add(node.inputs[i])
        made.append(node)
        layout[node.output] = _lanes(node, layout, arch)
    graph.nodes = made
    return graph


def aligned_heads(graph: Graph, arch: Arch, detect: Detect) -> dict[str, str]:
    """For each head the tensor to read: itself, or a copy by the MAC array, which puts channel c
    into lane c where a concat or a slice has not."""
    layout = lane_layout(graph, arch)
    names = dict.fromkeys(
        name for v in detect.levels for name in (v.scores, v.boxes, v.objectness, v.landmarks)
        if name)
    places = {}
    for name in names:
        lane_of = layout[name].lane_of
        places[name] = name
        if not np.array_equal(lane_of, np.arange(len(lane_of))):
            places[name] = f"{name}/aligned"
            made: list[Node] = []
            copied(graph, name, places[name], made, arch)
            maker = graph.producer(name)
            at = graph.nodes.index(maker) + 1 if maker is not None else 0
            graph.nodes[at:at] = made
    return places


def copied(graph: Graph, name: str, new: str, nodes: list[Node], arch: Arch, *,
           dense: bool = True) -> str:
    """Append a copy of a tensor: by the MAC array, which puts channel c into lane c; if not
    ``dense``, each channel stays in its lane."""
    t = graph.tensors[name]
    graph.tensors[new] = dataclasses.replace(t, name=new)
    channels = t.shape[0]
    nodes.append(selected(new, name, new, channels, range(channels), arch) if dense
                 else weighted(new, [name], new, channels, arch))
    return new


def aligned_operands(graph: Graph, arch: Arch) -> Graph:
    """Copy operands whose channels are in other lanes than those they are added to, as
    :func:`aligned_heads` does (after a concat or slice at a channel that is no multiple of them).
    """
    layout = _inputs(graph, arch)
    made: list[Node] = []
    for node in graph.nodes:
        lanes = [layout[i].lane_of for i in node.inputs]
        most = max(len(at) for at in lanes)  # what has but one channel is in all lanes
        many = [at for at in lanes if len(at) == most]
        if OPERATORS[node.op].aligned and any(not np.array_equal(at, many[0]) for at in many):
            for i, at in enumerate(lanes):
                if len(at) == most and not np.array_equal(at, np.arange(len(at))):
                    node.inputs[i] = copied(graph, node.inputs[i], f"{node.name}/aligned{i}", made,
                                            arch)
                    layout[node.inputs[i]] = _lanes(made[-1], layout, arch)
        made.append(node)
        layout[node.output] = _lanes(node, layout, arch)
    graph.nodes = made
    return graph


def lane_layout(graph: Graph, arch: Arch) -> dict[str, Layout]:
    """For each tensor: number of blocks and the lane position of each channel."""
    layout = _inputs(graph, arch)
    for node in graph.nodes:
        layout[node.output] = _lanes(node, layout, arch)
    return layout


def _inputs(graph: Graph, arch: Arch) -> dict[str, Layout]:
    return {name: dense(graph.tensors[name].shape[0], arch) for name in graph.inputs}


def _lanes(node: Node, layout: dict[str, Layout], arch: Arch) -> Layout:
    return OPERATORS[node.op].lanes(node, [layout[name] for name in node.inputs], arch)
