"""A grouped convolution behind a shuffle: one convolution a group, of the channels that it reads.

In ShuffleNetV1 (Zhang et al., 2018) each group of the second grouped convolution reads some
channels of every group of the first. As one operation it reads the blocks of all of them. In
pieces, each reads what was written for it (:mod:`falconet.compiler.passes.route`).
"""

from __future__ import annotations

import dataclasses
from collections import Counter

from falconet.compiler.graph import Graph, Node
from falconet.compiler.passes.dead import eliminate_dead
from falconet.compiler.passes.route import FEW, OF_OUTPUT
from falconet.isa.graph.ops.concat import Concat
from falconet.isa.graph.ops.conv import Conv
from falconet.isa.graph.ops.gather import Gather

__all__ = ["split_groups"]


def split_groups(graph: Graph) -> Graph:
    """Split grouped convolutions, and depthwise ones between them and the gather before, where
    every group reads a good part of each group of the convolution behind that."""
    new = graph.copy()
    makers = {n.output: n for n in graph.nodes}
    readers = Counter(i for n in graph.nodes for i in set(n.inputs))
    readers.update(graph.outputs)
    made: list[Node] = []
    for node in new.nodes:
        chain = _chain(node, makers, readers)
        made += _in_pieces(new, chain) if chain else [node]
    new.nodes = made
    return eliminate_dead(new)


def _chain(node: Node, makers: dict[str, Node], readers: Counter[str]) -> list[Node]:
    """The gather, the depthwise convolutions behind it, and the grouped one; none if it is none."""
    a, chain = node.attrs, [node]
    if not isinstance(a, Conv) or a.groups == 1 or node.depthwise or a.pool:
        return []
    while (before := makers.get(chain[0].inputs[0])) is not None:
        if readers[before.output] != 1 or len(before.inputs) != 1:
            return []
        chain.insert(0, before)
        if not (isinstance(before.attrs, Conv) and before.depthwise):
            break
    first = chain[0].attrs
    source = makers.get(chain[0].inputs[0])
    if not isinstance(first, Gather) or not first.exact or source is None:
        return []
    other, size = source.attrs, len(first.index) // a.groups
    if not isinstance(other, Conv) or source.depthwise or readers[source.output] != 1:
        return []
    wide = source.consts["weight"].shape[0] // other.groups
    pieces = Counter((i // size, c // wide) for i, c in enumerate(first.index))
    crossed = any(first.index[i] > first.index[i + 1] for i in range(len(first.index) - 1))
    return chain if crossed and min(pieces.values()) >= FEW // 2 else []


def _in_pieces(graph: Graph, chain: list[Node]) -> list[Node]:
    gather, *between, last = chain
    a, index = last.of(Conv), gather.of(Gather).index
    size, made, outputs = len(index) // a.groups, [], []
    for g in range(a.groups):
        some = slice(g * size, (g + 1) * size)
        x = _piece(graph, gather, g, size)
        made.append(x.with_(attrs=Gather(index[some]), inputs=[gather.inputs[0]]))
        for node in between:
            piece = _piece(graph, node, g, size)
            made.append(piece.with_(
                attrs=dataclasses.replace(node.of(Conv), groups=size), inputs=[made[-1].output],
                consts=_some(node, some)))
        wide = graph.tensors[last.output].shape[0] // a.groups
        piece = _piece(graph, last, g, wide)
        made.append(piece.with_(attrs=dataclasses.replace(a, groups=1), inputs=[made[-1].output],
                                consts=_some(last, slice(g * wide, (g + 1) * wide))))
        outputs.append(made[-1].output)
    return [*made, Node(Concat(), last.name, outputs, last.output)]


def _piece(graph: Graph, node: Node, number: int, channels: int) -> Node:
    """A copy with names of its own, and its tensor."""
    output = f"{node.output}/part{number}"
    t = graph.tensors[node.output]
    graph.tensors[output] = dataclasses.replace(t, name=output, shape=(channels, *t.shape[1:]))
    return node.with_(name=f"{node.name}/part{number}", output=output)


def _some(node: Node, channels: slice) -> dict[str, object]:
    return {k: v[channels] if k in OF_OUTPUT else v for k, v in node.consts.items()}
