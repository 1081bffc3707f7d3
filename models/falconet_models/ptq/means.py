"""Ranges of the means over large windows, which are sums of means that have eight bits themselves.

Where a mean's range is a small part of its input's, as it is of what has no bias to either side,
its steps would be finer than what it is made of (``falconet.compiler.importer.store.pooling``).
"""

from __future__ import annotations

import onnx
from onnx import helper

from falconet.compiler.importer.store.pooling import MOST
from falconet_models.ptq.stored_tensors import Plan

__all__ = ["widen_means"]

Ranges = dict[str, tuple[float, float]]

_LEAST = 1 / 8
"""Share of the input's range that a mean's has at least: each 2 of it is a tensor more."""

_MEANS = ("GlobalAveragePool", "ReduceMean", "AveragePool")


def widen_means(model: onnx.ModelProto, plan: Plan, ranges: Ranges) -> None:
    """Give means over more than :data:`MOST` rows or columns the range that the compiler can keep.

    ``ranges`` of each group, by its first tensor, are changed.
    """
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    for node in model.graph.node:
        if node.op_type not in _MEANS or not _large(node, shapes.get(node.input[0], [])):
            continue
        source, result = plan.group.get(node.input[0]), plan.group.get(node.output[0])
        if source is None or result is None:
            continue
        (low, high), (least, most) = ranges[source], ranges[result]
        lacking = (high - low) * _LEAST - (most - least)
        if lacking > 0:  # on the side of the wider half, so that zero stays where it is
            share = max(0.0, most) / max(most - least, 1e-30) if most > least else 0.5
            ranges[result] = least - lacking * (1 - share), most + lacking * share


def _large(node: onnx.NodeProto, shape: list[int]) -> bool:
    kernel = next((helper.get_attribute_value(a) for a in node.attribute
                   if a.name == "kernel_shape"), shape[2:])
    return max(kernel, default=0) > MOST
