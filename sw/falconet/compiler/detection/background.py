"""The background of a softmax, taken away from the other logits by the machine.

A file that others have quantised has a channel for the background of each anchor, and SCAN wants
its logit to be 0. A softmax knows only differences, so that a convolution with weights of 1 and -1
makes what SCAN wants.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from falconet.compiler.detection.tables import head_tensor
from falconet.compiler.graph import Graph, Node, Tensor
from falconet.compiler.importer.requant import requantise
from falconet.isa import Arch
from falconet.isa.graph.ops.conv import Conv
from falconet.isa.metadata.head import Head, parse

__all__ = ["without_background"]

_REACH = 11.0  # sigmoid(11) is 1 - 2**-16


def without_background(graph: Graph, arch: Arch) -> Graph:
    """The graph, if its head has no background; else one whose logits are differences.

    They are stored with the scale of the logits, or with one up to twice as wide if +-127 of those
    would not reach 11, where nothing changes any more; what does not fit saturates.
    """
    head = parse(graph.meta.get("postprocess"))
    if head is None or head.background is None:
        return graph
    graph = graph.copy()
    levels = []
    for level, described in zip(head.levels, graph.meta["postprocess"]["levels"]):
        n = len(level.anchors)
        logits = head_tensor(graph, level, "class", n * head.channels("class"),
                             f"{n} anchors x {len(head.labels)} labels and the background")
        node, less = _differences(head, n, logits, arch)
        graph.nodes.append(node)
        graph.tensors[less.name] = less
        graph.outputs = [less.name if name == logits.name else name for name in graph.outputs]
        levels.append({**described, "class": less.name})
    graph.meta["postprocess"] = {**graph.meta["postprocess"], "levels": levels,
                                 "background": "zero"}
    return graph


def _differences(head: Head, anchors: int, logits: Tensor, arch: Arch) -> tuple[Node, Tensor]:
    """The convolution and what it makes: class by class, anchor by anchor."""
    assert head.background is not None
    one = np.eye(head.channels("class"), dtype=np.int8)
    rows = np.delete(one, head.background, axis=0) - one[head.background]
    weight = np.kron(np.eye(anchors, dtype=np.int8), rows)
    scale = logits.scale * max(1.0, min(255.0, _REACH / logits.scale) / 127)
    channels = len(weight)
    less = dataclasses.replace(
        logits, name=f"{logits.name}/classes", shape=(channels, *logits.shape[1:]), scale=scale,
        zero_point=0)
    stage = requantise(np.full(channels, logits.scale / scale), bits=arch.mult_bits)
    return Node(Conv(kernel=(1, 1)), less.name, [logits.name], less.name, {
        "weight": weight[:, :, None, None], "bias": np.zeros(channels, np.int32),
        **stage.consts()}), less
