"""Depthwise layers of wide kernels, shared between the vector engine and the MAC array.

A kernel of more columns than the vector engine has taps costs it so much that the MAC array, which
wastes all but one of a block's products, helps where it would wait: some blocks of channels become
a grouped convolution. Parts are views of the input, joined in the output, so nothing is copied.
Whether that is faster the schedule's estimate says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from falconet.compiler.graph import Graph, Node
from falconet.compiler.machine.slide import slide_of
from falconet.isa import Arch
from falconet.isa.graph.ops.concat import Concat
from falconet.isa.graph.ops.conv import Conv
from falconet.isa.graph.ops.slice import Slice

__all__ = ["shares"]

_ROUND: tuple[Callable[[float], int], ...] = (int, round)


def shares(graph: Graph, arch: Arch) -> Iterator[Graph]:
    """Graphs that compute the same with such layers shared; none if there is none to share."""
    before: list[dict[str, int]] = [{}]
    for rounded in _ROUND:
        parts = {n.name: m for n in graph.nodes if (m := _blocks(graph, n, arch, rounded))}
        if parts not in before:
            before.append(parts)
            yield _shared(graph, parts, arch)


def _blocks(graph: Graph, node: Node, arch: Arch, rounded: Callable[[float], int]) -> int:
    """How many blocks of a layer the MAC array takes, so that both engines end together, the
    convolution in front of the layer included."""
    a = node.attrs
    if (not isinstance(a, Conv) or not node.depthwise or a.pool or "table" in node.consts
            or a.kernel[1] <= arch.taps or a.dilation[1] > 1):
        return 0
    c, h, w = graph.tensors[node.output].shape
    blocks, (ky, kx) = -(-c // arch.lanes), a.kernel
    slide = slide_of(kx, a.stride[1], w, arch.taps)
    vector = h * ky * (slide.words * slide.steps(w) if slide else kx * w)
    array = h * w * ky * kx * arch.word_steps
    maker = graph.producer(node.inputs[0])
    ahead = graph.macs(maker) / arch.macs_per_cycle if maker is not None else 0.0
    room = arch.weight_words // 4 // (ky * kx * arch.word_steps + arch.weight_param_words)
    found = min(rounded((vector * blocks - ahead) / (vector + array)), room, blocks - 1)
    rest = c - (blocks - found) * arch.lanes
    return 0 if found < 1 or rest % 2 else found


def _shared(graph: Graph, parts: dict[str, int], arch: Arch) -> Graph:
    graph, made = graph.copy(), []
    for node in graph.nodes:
        if node.name not in parts:
            made.append(node)
            continue
        c = graph.tensors[node.output].shape[0]
        at = (-(-c // arch.lanes) - parts[node.name]) * arch.lanes
        ends = [_part(graph, node, i, span, made) for i, span in enumerate(((0, at), (at, c)))]
        made.append(Node(Concat(), node.name, ends, node.output))
    graph.nodes = made
    return graph


def _part(graph: Graph, node: Node, number: int, span: tuple[int, int], made: list[Node]) -> str:
    """Append a part of a layer, the second one as a grouped convolution; the tensor it makes."""
    begin, end = span
    part = f"{node.output}/part{number}"
    names = f"{part}/input", part
    for name, old in zip(names, (*node.inputs, node.output)):
        t = graph.tensors[old]
        graph.tensors[name] = dataclasses.replace(t, name=name, shape=(end - begin, *t.shape[1:]))
    consts = {k: v[begin:end] for k, v in node.consts.items()}
    groups = end - begin
    if number:
        groups //= 2
        pair, (_, _, *kernel) = np.arange(end - begin), node.consts["weight"].shape
        weight = np.zeros((end - begin, 2, *kernel), np.int8)
        weight[pair, pair % 2] = consts["weight"][:, 0]
        consts["weight"] = weight
    made.append(Node(Slice(begin, end), f"{node.name}/part{number}/part", [node.inputs[0]],
                     names[0]))
    made.append(Node(dataclasses.replace(node.of(Conv), groups=groups),
                     f"{node.name}/part{number}", [names[0]], names[1], consts))
    return names[1]
