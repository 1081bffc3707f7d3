"""Channels are written where they will be read, however they are shuffled and split in between.

Shuffles, slices and concats only say which channels of which layers a layer reads. Where a
convolution's channels part, it becomes several convolutions, one for all that is read together
from then on; each writes its place in what is read, and nothing is copied. Such networks are the
units of ShuffleNetV2 (Ma et al., 2018) and the cross-stage blocks of YOLO.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from falconet.compiler.graph import Graph, Node
from falconet.compiler.passes.dead import eliminate_dead
from falconet.isa.graph.ops.concat import Concat
from falconet.isa.graph.ops.conv import Conv
from falconet.isa.graph.ops.gather import Gather
from falconet.isa.graph.ops.slice import Slice

__all__ = ["FEW", "OF_OUTPUT", "channel_origins", "route_channels"]

FEW = 12
"""Channels that are not worth a convolution of their own: most of a block stays empty."""

OF_OUTPUT = ("weight", "bias", "mult", "mult_neg", "shift")
"""Constants of a convolution that have an entry for each output channel."""

Channel = tuple[str, int]


@dataclass
class _Wires:
    """Which channels of which layers each tensor is made of.

    ``origin`` of every tensor; ``uses``: tensors that layers or the network's caller read and that
    slices or gathers had a part in; ``whole``: layers' tensors that are wanted as they are.
    """

    origin: dict[str, list[Channel]] = field(default_factory=dict)
    uses: list[str] = field(default_factory=list)
    whole: set[str] = field(default_factory=set)


def route_channels(graph: Graph) -> Graph:
    """Split convolutions into what is read together, and join the parts where they are read.

    A convolution stays what it is if another layer reads all of it, or a concat without a slice or
    gather in it does; so does what reads a channel twice.
    """
    wires = _follow(graph)
    new = graph.copy()
    parts = _split(new, wires)
    if not parts:
        return new
    made = []
    for node in new.nodes:
        t = node.output
        if t in wires.uses and any(x in parts for x, _ in wires.origin[t]):
            made += _joined(new, node, wires.origin[t], parts)
        else:
            made.append(node)
    new.nodes = made
    return eliminate_dead(new)  # the slices and concats that led there


def _wire(node: Node) -> bool:
    return isinstance(node.attrs, Concat | Slice) or (
        isinstance(node.attrs, Gather) and node.attrs.exact)


def channel_origins(graph: Graph) -> dict[str, list[Channel]]:
    """Of every tensor the layer, or input, and channel of it that each of its channels is."""
    found: dict[str, list[Channel]] = {}
    for name in (*graph.inputs, *(n.output for n in graph.nodes if not _wire(n))):
        found[name] = [(name, c) for c in range(graph.tensors[name].shape[0])]
    for node in filter(_wire, graph.nodes):
        given, a = [c for i in node.inputs for c in found[i]], node.attrs
        if isinstance(a, Slice):
            given = given[a.begin:a.end]
        elif isinstance(a, Gather):
            given = [given[i] for i in a.index]
        found[node.output] = given
    return found


def _follow(graph: Graph) -> _Wires:
    found = _Wires(channel_origins(graph), whole=set(graph.inputs))
    crossed: set[str] = set()
    wires = {n.output for n in graph.nodes if _wire(n)}
    for node in filter(_wire, graph.nodes):
        if not isinstance(node.attrs, Concat) or crossed.intersection(node.inputs):
            crossed.add(node.output)
    read = {i for n in graph.nodes if n.output not in wires for i in n.inputs}
    for t in (n.output for n in graph.nodes):
        if t in read or t in graph.outputs:
            channels = found.origin[t]
            if t in crossed and len(set(channels)) == len(channels):
                found.uses.append(t)
            else:
                found.whole.update(x for x, _ in channels)
    return found


def _split(graph: Graph, wires: _Wires) -> dict[str, dict[int, Channel]]:
    """Split the convolutions; for each of them the part and the place in it of its channels."""
    readers: dict[Channel, list[str]] = defaultdict(list)
    for t in wires.uses:
        for channel in wires.origin[t]:
            readers[channel].append(t)
    found: dict[str, dict[int, Channel]] = {}
    made: list[Node] = []
    for node in graph.nodes:
        groups = [] if node.output in wires.whole else _together(graph, node, readers)
        if len(groups) < 2:
            made.append(node)
            continue
        found[node.output] = {}
        for i, channels in enumerate(groups):
            part = f"{node.output}/part{i}"
            made += _part(graph, node, part, channels, i)
            found[node.output].update({c: (part, k) for k, c in enumerate(channels)})
    graph.nodes = made
    return found


def _together(graph: Graph, node: Node, readers: dict[Channel, list[str]]) -> list[list[int]]:
    """Channels of a convolution that have the same readers, and are of one group; the few that
    have others together."""
    a, x = node.attrs, node.output
    if not isinstance(a, Conv) or node.depthwise or a.pool:
        return []
    wide = graph.tensors[x].shape[0] // a.groups
    found: dict[tuple[int, tuple[str, ...]], list[int]] = defaultdict(list)
    for c in range(wide * a.groups):
        if readers[x, c]:
            found[c // wide, tuple(readers[x, c])].append(c)
    few = FEW if a.groups == 1 else FEW // 2
    many = [v for v in found.values() if len(v) >= few]
    rest = sorted(c for v in found.values() if len(v) < few for c in v)
    if rest and a.groups > 1:
        return []
    return [*many, rest] if rest else many


def _part(graph: Graph, node: Node, output: str, channels: list[int], number: int) -> list[Node]:
    """The convolution of some channels of one group, behind a slice of what that reads."""
    _add(graph, output, node.output, len(channels))
    name, a = f"{node.name}/part{number}", node.of(Conv)
    consts = {k: v[channels] if k in OF_OUTPUT else v for k, v in node.consts.items()}
    part = node.with_(name=name, output=output, consts=consts,
                      attrs=dataclasses.replace(a, groups=1))
    if a.groups == 1:
        return [part]
    wide, size = graph.tensors[node.output].shape[0] // a.groups, consts["weight"].shape[1]
    begin, read = channels[0] // wide * size, f"{output}/part"
    _add(graph, read, node.inputs[0], size)
    cut = Node(Slice(begin, begin + size), f"{name}/part", list(node.inputs), read)
    return [cut, part.with_(inputs=[read])]


def _add(graph: Graph, name: str, like: str, channels: int) -> None:
    t = graph.tensors[like]
    graph.tensors[name] = dataclasses.replace(t, name=name, shape=(channels, *t.shape[1:]))


def _joined(graph: Graph, node: Node, origin: list[Channel], parts: dict[str, dict[int, Channel]]
            ) -> list[Node]:
    """What makes the node's output of the parts: all of some, pieces of others, and their order."""
    wanted = [parts[x][c] if x in parts else (x, c) for x, c in origin]
    taken: dict[str, list[int]] = defaultdict(list)
    for part, c in wanted:
        taken[part].append(c)
    builder = _Joiner(graph, node)
    pieces = {p: sorted(cs) for p, cs in taken.items() if len(cs) < graph.tensors[p].shape[0]}
    few = [p for p, cs in pieces.items() if len(cs) < FEW]
    names, order = [], []
    for p in taken:
        if p not in pieces:
            names.append(p)
            order += [(p, c) for c in range(len(taken[p]))]
        elif len(few) < 2 or p not in few:
            names.append(builder.gather(p, pieces[p]))
            order += [(p, c) for c in pieces[p]]
    if len(few) > 1:
        cut = [builder.gather(p, pieces[p]) for p in few]
        names.append(builder.squeeze(builder.concat(cut)))
        order += [(p, c) for p in few for c in pieces[p]]
    place = {channel: i for i, channel in enumerate(order)}
    builder.finish(builder.concat(names), [place[channel] for channel in wanted])
    return builder.nodes


class _Joiner:
    """Makes the nodes of one tensor."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph, self.node = graph, node
        self.nodes: list[Node] = []

    def _new(self, attrs: Concat | Gather | Conv, inputs: list[str], channels: int) -> Node:
        at = f"/part{len(self.nodes)}"
        output = self.node.output + at
        _add(self.graph, output, self.node.output, channels)
        self.nodes.append(Node(attrs, self.node.name + at, inputs, output))
        return self.nodes[-1]

    def _channels(self, name: str) -> int:
        return self.graph.tensors[name].shape[0]

    def gather(self, x: str, index: list[int]) -> str:
        return self._new(Gather(tuple(index)), [x], len(index)).output

    def concat(self, names: list[str]) -> str:
        if len(names) == 1:
            return names[0]
        return self._new(Concat(), names, sum(map(self._channels, names))).output

    def squeeze(self, x: str) -> str:
        """A copy by a convolution, whose channels lie side by side again."""
        c = self._channels(x)
        node = self._new(Conv(kernel=(1, 1)), [x], c)
        one = np.ones(c, np.uint32)
        node.consts.update(weight=np.eye(c, dtype=np.int8)[:, :, None, None], mult=one,
                           mult_neg=one, bias=np.zeros(c, np.int32), shift=np.zeros(c, np.uint8))
        return node.output

    def finish(self, x: str, index: list[int]) -> None:
        """The tensor itself, from ``x``."""
        self.nodes.append(Node(Gather(tuple(index)), self.node.name, [x], self.node.output))
