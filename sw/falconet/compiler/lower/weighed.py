"""Tensors that are loaded as weights: they hold zeros in all lanes without a channel."""

from __future__ import annotations

import numpy as np

from falconet.compiler.graph import Graph, Node
from falconet.compiler.lower.lanes import copied, lane_layout
from falconet.compiler.lower.operator import Layout
from falconet.compiler.lower.ops import OPERATORS
from falconet.isa import Arch
from falconet.isa.graph.ops.constant import Constant
from falconet.isa.graph.ops.matmul import MatMul
from falconet.isa.graph.stage import Staged

__all__ = ["weighed_operands"]


def weighed_operands(graph: Graph, arch: Arch, everywhere: frozenset[str]
                     ) -> tuple[Graph, frozenset[str]]:
    """The graph with copies of operands of matrix products whose channels lie elsewhere than those
    they are multiplied by, or beside others; and the names of the tensors whose lanes without a
    channel must hold 0."""
    if not any(isinstance(n.attrs, MatMul) for n in graph.nodes):
        return graph, frozenset()
    graph, layout = graph.copy(), lane_layout(graph, arch)
    makers = {n.output: n for n in graph.nodes}
    clean: set[str] = set()
    copies: dict[str, str] = {}
    made: list[Node] = []

    def copy(node: Node, i: int) -> None:
        name = node.inputs[i]
        if name not in copies:
            copies[name] = copied(graph, name, f"{node.name}/aligned{i}", made, arch)
            makers[copies[name]] = made[-1]
            layout[copies[name]] = OPERATORS[made[-1].op].lanes(made[-1], [layout[name]], arch)
        node.inputs[i] = copies[name]

    for node in graph.nodes:
        if isinstance(node.attrs, MatMul):
            b = node.inputs[1]
            if b in everywhere or (
                    _gaps(layout[b], arch) and not _can_be_clean(makers.get(b), layout[b])):
                copy(node, 1)
            if not _alike(layout, node):
                for i, name in enumerate(node.inputs):
                    at = layout[name].lane_of
                    if not np.array_equal(at, np.arange(len(at))):
                        copy(node, i)
            if _gaps(layout[node.inputs[1]], arch):
                clean.add(node.inputs[1])
        made.append(node)
    graph.nodes = made
    return graph, frozenset(clean)


def _alike(layout: dict[str, Layout], node: Node) -> bool:
    a, b = (layout[name] for name in node.inputs)
    return a.blocks == b.blocks and np.array_equal(a.lane_of, b.lane_of)


def _gaps(layout: Layout, arch: Arch) -> bool:
    return len(layout.lane_of) < layout.blocks * arch.lanes


def _can_be_clean(maker: Node | None, layout: Layout) -> bool:
    """Whether a tensor's maker can store 0 where there is no channel: its sums are 0 there."""
    if maker is None:
        return False
    a = maker.attrs
    return isinstance(a, Constant) or (
        isinstance(a, Staged) and OPERATORS[maker.op].empty and "table" not in maker.consts
        and a.lo <= 0 <= a.hi)
