"""Groups of channels that are pooled must lie alike, a number of blocks apart: copies see to it."""

from __future__ import annotations

import dataclasses

import numpy as np

from falconet.compiler.graph import Graph, Node
from falconet.compiler.lower.lanes import copied, lane_layout
from falconet.compiler.lower.operator import Layout, View
from falconet.compiler.lower.ops import OPERATORS
from falconet.isa import Arch
from falconet.isa.graph.ops.concat import Concat
from falconet.isa.graph.ops.slice import Slice
from falconet.isa.graph.ops.stackpool import StackPool

__all__ = ["apart", "stacked"]


def apart(layout: Layout, stack: int, lanes: int) -> int | None:
    """Blocks from one group of channels to the next; None where the groups do not lie alike."""
    groups = layout.lane_of.reshape(stack, -1)
    blocks = int(groups[0].max()) // lanes + 1
    if stack == 1:
        return blocks
    step = int(groups[1, 0] - groups[0, 0])
    alike = np.array_equal(groups, groups[0] + step * np.arange(stack)[:, None])
    return step // lanes if alike and step > 0 and step % lanes == 0 else None


def stacked(graph: Graph, arch: Arch) -> Graph:
    """Join copies of the groups of every ``stackpool`` whose input has them anywhere else."""
    graph = graph.copy()
    layout, made = lane_layout(graph, arch), []
    for node in graph.nodes:
        if isinstance(node.attrs, StackPool) and not _lies_well(graph, node, layout, arch):
            made += _copies(graph, node, arch)
        made.append(node)
    graph.nodes = made
    return graph


def _lies_well(graph: Graph, node: Node, layout: dict[str, Layout], arch: Arch) -> bool:
    a, name = node.of(StackPool), node.inputs[0]
    step = apart(layout[name], a.stack, arch.lanes)
    if step is None or a.kernel[0] == 1:
        return step is not None
    maker = graph.producer(name)  # a row of its buffer must hold nothing else
    part = maker is not None and OPERATORS[maker.op].view is View.PART
    joined = any(OPERATORS[user.op].view is View.JOIN for user in graph.consumers(name))
    return not part and not joined and layout[name].blocks == a.stack * step


def _copies(graph: Graph, node: Node, arch: Arch) -> list[Node]:
    """A slice and a copy of each group, and what joins them; the node reads that."""
    source = graph.tensors[node.inputs[0]]
    size = source.shape[0] // node.of(StackPool).stack
    made: list[Node] = []
    parts = []
    for at in range(0, source.shape[0], size):
        part, copy = (f"{node.name}/{what}{at // size}" for what in ("group", "aligned"))
        graph.tensors[part] = dataclasses.replace(source, name=part,
                                                  shape=(size, *source.shape[1:]))
        made.append(Node(Slice(at, at + size), part, [source.name], part, {}))
        copied(graph, part, copy, made, arch)
        parts.append(copy)
    joined = f"{node.name}/groups"
    graph.tensors[joined] = dataclasses.replace(source, name=joined)
    node.inputs = [joined]
    return [*made, Node(Concat(), joined, parts, joined, {})]
