"""stackpool: groups of channels as rows of a window; over all channels, lane by lane first.

A maximum over channels is one over blocks, which leaves as many values as a word has lanes. The
array then writes copies of these, their lanes turned by quarters, and the maximum over the copies
leaves a quarter of them different; so on, until all are one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from falconet.compiler.graph import Graph, Node
from falconet.compiler.lower.operator import Context, Layout, Operator
from falconet.compiler.lower.stage import is_uniform, stage_of, uniform
from falconet.compiler.machine.op import Op
from falconet.compiler.machine.place import Array
from falconet.compiler.machine.stack import StackOp
from falconet.compiler.nodes import weighted
from falconet.isa import Arch, Window
from falconet.isa.graph.ops.concat import Concat
from falconet.isa.graph.ops.conv import Conv
from falconet.isa.graph.ops.maxpool import MaxPool
from falconet.isa.graph.ops.slice import Slice
from falconet.isa.graph.ops.stackpool import CHAIN, StackPool

__all__ = ["OPERATOR"]

_MOST = Window.field("n_ky").hi
_FEW = 4  # groups of one channel that are copied one by one


def _lanes(node: Node, inputs: Sequence[Layout], arch: Arch) -> Layout:
    lane_of = inputs[0].lane_of[: len(inputs[0].lane_of) // node.of(StackPool).stack]
    return Layout(int(lane_of.max()) // arch.lanes + 1, lane_of)


def _lower(context: Context, node: Node, layer: int) -> Op:
    a, out, (source,) = node.of(StackPool), context.output(node), context.sources(node)
    _, height, width = context.graph.tensors[node.output].shape
    stage, shared = stage_of(node, out, context.arch.lanes), is_uniform(node)
    lanes, ones = context.arch.lanes, (a.stack * a.kernel[0], a.kernel[1])
    groups = source.lane_of.reshape(a.stack, -1)
    chain = a.chain(single=height == width == 1)
    assert chain is not None and context.arch.taps == CHAIN
    return StackOp(
        node.name, layer, (source,), out, height, arch=context.arch, width=width,
        stage=uniform(stage, out) if shared else stage, shared=shared, kernel=a.kernel,
        stride=a.stride, stack=a.stack, chain=chain,
        apart=int(groups[-1, 0] - groups[0, 0]) // lanes // max(1, a.stack - 1) or out.blocks,
        weight=None if a.maximum else np.ones((out.blocks * lanes, *ones), np.int8))


class _Maker:
    """Nodes that take a ``stackpool``'s place, with stages that leave values as they are."""

    def __init__(self, graph: Graph, node: Node, arch: Arch) -> None:
        self.graph, self.node, self.arch, self.nodes = graph, node, arch, list[Node]()
        self.origin = graph.tensors[node.inputs[0]]

    def name(self) -> str:
        return f"{self.node.name}/step{len(self.nodes)}"

    def add(self, new: Node, channels: int) -> str:
        self.graph.tensors[new.output] = dataclasses.replace(
            self.origin, name=new.output, shape=(channels, *self.origin.shape[1:]))
        self.nodes.append(new)
        return new.output

    def cut(self, x: str, begin: int, end: int) -> str:
        if (begin, end) == (0, self.graph.tensors[x].shape[0]):
            return x
        name = self.name()
        return self.add(Node(Slice(begin, end), name, [x], name, {}), end - begin)

    def join(self, parts: list[str]) -> str:
        if len(parts) == 1:
            return parts[0]
        name = self.name()
        channels = sum(self.graph.tensors[p].shape[0] for p in parts)
        return self.add(Node(Concat(), name, parts, name, {}), channels)

    def _kept(self, channels: int) -> dict[str, Array]:
        """Constants of a stage that stores what it gets."""
        consts = weighted("", [], "", channels, self.arch).consts
        return {k: v for k, v in consts.items() if k != "coef"}

    def pick(self, x: str, channels: Array) -> str:
        """Channel ``channels[i]`` of ``x`` as channel i, by the array."""
        weight = np.zeros((len(channels), self.graph.tensors[x].shape[0], 1, 1), np.int8)
        weight[np.arange(len(channels)), channels] = 1
        name = self.name()
        consts = {**self._kept(len(channels)), "weight": weight}
        return self.add(Node(Conv(kernel=(1, 1)), name, [x], name, consts), len(channels))

    def most(self, x: str, stack: int) -> str:
        """The maximum over the groups of ``x``, in steps if there are many."""
        size = self.graph.tensors[x].shape[0] // stack
        if stack > _MOST:
            ends = np.linspace(0, stack, -(-stack // _MOST) + 1).astype(int)
            parts = [self.most(self.cut(x, int(a) * size, int(b) * size), int(b - a))
                     for a, b in pairwise(ends)]
            return self.most(self.join(parts), len(parts))
        if stack == 1:
            return x
        name = self.name()
        attrs = StackPool(stack=stack, maximum=True)
        return self.add(Node(attrs, name, [x], name, self._kept(size)), size)

    def over_channels(self, x: str) -> str:
        """The maximum over all channels."""
        lanes, c = self.arch.lanes, self.graph.tensors[x].shape[0]
        whole = c // lanes
        parts = []
        if whole:
            parts.append(self.most(self.cut(x, 0, whole * lanes), whole))
        if c % lanes:  # some channels twice, so that no lane holds anything else
            rest = self.cut(x, whole * lanes, c)
            parts.append(self.pick(rest, np.arange(lanes) % (c % lanes)))
        x, n = self.most(self.join(parts), len(parts)), lanes
        while n > 1:
            turns = 4 if n % 4 == 0 else 2
            n //= turns
            if n > 1:
                at = np.arange(lanes)
                x = self.pick(x, np.concatenate([(at + i * n) % lanes for i in range(turns)]))
            else:
                x = self.join([self.pick(x, np.array([i])) for i in range(turns)])
            x = self.most(x, turns)
        return x


def _expand(graph: Graph, node: Node, arch: Arch) -> list[Node]:
    a = node.of(StackPool)
    (c, _, _), maker = graph.tensors[node.inputs[0]].shape, _Maker(graph, node, arch)
    single = c == a.stack > _FEW
    if not a.maximum or not (single or a.stack * a.kernel[0] > _MOST):
        return [node]
    x = maker.over_channels(node.inputs[0]) if single else maker.most(node.inputs[0], a.stack)
    stage = {k: getattr(a, k) for k in ("zp", "lo", "hi")}
    last = MaxPool(kernel=a.kernel, stride=a.stride, **stage)
    return [*maker.nodes, Node(last, node.name, [x], node.output, node.consts)]


OPERATOR = Operator(_lower, expand=_expand, lanes=_lanes)
