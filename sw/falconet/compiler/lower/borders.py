"""Convolutions of more weights than the memory holds, of which no pixel needs all.

A dilated window that is as high as its image (DeepLab's, Chen et al. 2017) sees padding above or
below wherever it stands. What padding adds is known, so that each run of rows is a convolution with
fewer kernel rows and another bias; a pick joins the rows.
"""

from __future__ import annotations

import dataclasses
from itertools import groupby
from typing import NamedTuple

import numpy as np

from falconet.compiler.graph import Graph, Node, output_shape
from falconet.compiler.lower.lanes import lane_layout
from falconet.isa import Arch
from falconet.isa.graph.ops.conv import Conv
from falconet.isa.graph.ops.pick import Pick

__all__ = ["split_at_borders"]


class _Band(NamedTuple):
    """``length`` rows (or columns) of the output whose windows see kernel rows ``taps`` alone.

    Of a convolution with those and ``pads`` they are the rows from ``first`` on.
    """

    taps: slice
    pads: tuple[int, int]
    first: int
    length: int


def split_at_borders(graph: Graph, arch: Arch) -> Graph:
    """Rewrite the layers whose weights of one output block exceed the memory, where that helps."""
    graph, nodes = graph.copy(), []
    layout = lane_layout(graph, arch)
    for node in graph.nodes:
        made = None
        if isinstance(node.attrs, Conv) and not node.depthwise and node.attrs.groups == 1:
            words = layout[node.inputs[0]].blocks * arch.word_steps
            most = (arch.weight_words - arch.weight_param_words) // words
            if node.attrs.kernel[0] * node.attrs.kernel[1] > most:
                made = _split(graph, node, most)
        nodes += made or [node]
    graph.nodes = nodes
    return graph


def _split(graph: Graph, node: Node, most: int) -> list[Node] | None:
    """Nodes that compute the same with at most ``most`` taps each; None if there are none."""
    a, out = node.of(Conv), graph.tensors[node.output]
    _, *size = graph.tensors[node.inputs[0]].shape
    rows = _bands(a, 0, size[0], out.shape[1], whole=False)
    columns = _bands(a, 1, size[1], out.shape[2], whole=True)
    if rows is None or columns is None:
        return None
    (x,) = columns
    made: list[Node] = []
    picked: list[int] = []
    base = 0
    for i, y in enumerate(rows):
        weight = node.consts["weight"]
        kept = weight[:, :, y.taps, x.taps]
        if kept.shape[2] * kept.shape[3] > most:
            return None
        beyond = weight.sum((1, 2, 3), dtype=np.int64) - kept.sum((1, 2, 3), dtype=np.int64)
        attrs = dataclasses.replace(a, kernel=kept.shape[2:], pads=(
            y.pads[0], x.pads[0], y.pads[1], x.pads[1]))
        name = f"/above.{i}"
        part = Node(attrs, node.name + name, list(node.inputs), node.output + name, {
            **node.consts, "weight": np.ascontiguousarray(kept),
            "bias": (node.consts["bias"] + a.pad * beyond).astype(np.int32)})
        shape = output_shape(part, graph.shapes(node))
        graph.tensors[part.output] = dataclasses.replace(out, name=part.output, shape=shape)
        made.append(part)
        picked += range(base + y.first, base + y.first + y.length)
        base += shape[1]
    if len({graph.tensors[n.output].shape[2] for n in made}) > 1:
        return None
    join = Pick(across=1, rows=tuple(picked), columns=tuple(range(x.first, x.first + x.length)))
    return [*made, Node(join, node.name, [n.output for n in made], node.output)]


def _bands(a: Conv, i: int, size: int, out: int, *, whole: bool) -> list[_Band] | None:
    """Runs of rows (i = 0) or columns that see the same taps; one with all of them if ``whole``."""
    k, s, d, pad = a.kernel[i], a.stride[i], a.dilation[i], a.pads[i]

    def seen(at: int) -> tuple[int, int]:
        inside = [t for t in range(k) if 0 <= at * s - pad + t * d < size]
        return (inside[0], inside[-1] + 1) if inside else (0, 0)

    spans = [seen(at) for at in range(out)]
    if (0, 0) in spans:
        return None
    if whole:
        spans = [(min(lo for lo, _ in spans), max(hi for _, hi in spans))] * out
    bands, at = [], 0
    for (lo, hi), run in groupby(spans):
        count, start = len(list(run)), at * s - pad + lo * d
        if start > 0 and start % s:
            return None
        first = max(0, start // s)
        before = max(0, -start)
        reach = (first + count - 1) * s - before + (hi - lo - 1) * d + 1
        bands.append(_Band(slice(lo, hi), (before, max(0, reach - size)), first, count))
        at += count
    return bands
