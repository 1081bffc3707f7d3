"""Pixels that are left out, or moved into channels, inside the window of the next convolution."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from falconet.compiler.graph import Graph, Node
from falconet.compiler.passes.route import channel_origins
from falconet.isa.graph.ops.conv import Conv
from falconet.isa.graph.ops.pick import Pick

__all__ = ["fold_strides"]


def fold_strides(graph: Graph) -> Graph:
    """Let a convolution read the picture of which it reads every so many rows and columns.

    Its strides grow by their steps. If it reads several such pictures, the phases of one (space to
    depth, YOLO's Focus), their weights become neighbours in a larger window. It stays what it is
    where the window would multiply more than before.
    """
    new = graph.copy()
    origins = channel_origins(graph)
    makers = {n.output: n for n in graph.nodes}
    new.nodes = [_folded(graph, node, origins, makers) or node for node in new.nodes]
    return new


@dataclass(frozen=True)
class _Axis:
    """One direction of the new window, and the place of tap ``j`` of phase ``k`` in it."""

    kernel: int
    stride: int
    dilation: int
    before: int
    behind: int
    places: list[list[int]]


def _folded(graph: Graph, node: Node, origins: dict[str, list[tuple[str, int]]],
            makers: dict[str, Node]) -> Node | None:
    a = node.attrs
    if not isinstance(a, Conv) or a.groups != 1 or a.pool:
        return None
    channels = origins[node.inputs[0]]
    tensors = list(dict.fromkeys(t for t, _ in channels))
    picks = [makers[t].attrs for t in tensors if t in makers]
    plain = [p for p in picks if isinstance(p, Pick) and not p.swap and not p.filled]
    sources = {i for t in tensors if t in makers for i in makers[t].inputs}
    if len(plain) < len(tensors) or len(sources) != 1:
        return None
    (source,) = sources
    c, h, w = graph.tensors[source].shape
    _, out_h, out_w = graph.tensors[node.output].shape
    y = _axis([p.rows for p in plain], a, 0, h, out_h)
    x = _axis([p.columns for p in plain], a, 1, w, out_w)
    if y is None or x is None or c * y.kernel * x.kernel > len(channels) * math.prod(a.kernel):
        return None
    old = node.consts["weight"].astype(np.int32)
    weight = np.zeros((len(old), c, y.kernel, x.kernel), np.int32)
    for i, (t, channel) in enumerate(channels):
        k = tensors.index(t)
        weight[:, channel, np.array(y.places[k])[:, None], x.places[k]] += old[:, i]
    attrs = dataclasses.replace(
        a, kernel=(y.kernel, x.kernel), stride=(y.stride, x.stride),
        dilation=(y.dilation, x.dilation), pads=(y.before, x.before, y.behind, x.behind))
    found = node.with_(attrs=attrs, inputs=[source], consts={
        **node.consts, "weight": weight.astype(np.int8)})
    shapes = graph.shapes(found)
    legal = int(np.abs(weight).max()) <= 127 and not any(attrs.faults(shapes, found.given))
    return found if legal and attrs.shape(shapes, found.given)[1:] == (out_h, out_w) else None


def _axis(phases: Sequence[Sequence[int]], a: Conv, i: int, size: int, out: int) -> _Axis | None:
    """``phases``: the rows, or columns, of which each input is made; ``size`` of the source."""
    steps = {b - c for p in phases for c, b in pairwise(p)}
    starts, length = [p[0] for p in phases], len(phases[0])
    step = steps.pop() if steps else 1
    if steps or step < 1:
        return None
    pads = a.pads[i], a.pads[i + 2]
    if any(pads) and not all(s < step and s + step * length >= size for s in starts):
        return None
    first = min(starts)
    at = [[j * a.dilation[i] * step + s - first for j in range(a.kernel[i])] for s in starts]
    apart = math.gcd(*(v for places in at for v in places)) or 1
    reach = max(v for places in at for v in places) + 1
    stride, before = a.stride[i] * step, pads[0] * step - first
    behind = (out - 1) * stride + reach - size - before
    if before < 0:
        return None
    return _Axis((reach - 1) // apart + 1, stride, apart, before, max(0, behind),
                 [[v // apart for v in places] for places in at])
