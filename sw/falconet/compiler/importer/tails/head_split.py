"""The heads that a description names: channels of the file's last convolutions, each by itself.

A channel may be scaled and shifted, so that all anchors and levels have one form; weights and bias
take that up, and nothing is left to compute.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from falconet.compiler.importer.tails.tail_graph import NotATail

__all__ = ["Part", "split"]


@dataclass(frozen=True)
class Part:
    """Tensor ``name``: channel ``i`` is ``factor[i] * source[channel[i]] + shift[i]``."""

    name: str
    source: str
    channel: tuple[int, ...]
    factor: tuple[float, ...]
    shift: tuple[float, ...]


def split(model: onnx.ModelProto, parts: Iterable[Part]) -> onnx.ModelProto:
    """A copy in which the parts are there too, each the result of a convolution.

    Raises
    ------
    NotATail
        If a source is not the result of a plain convolution with constant weights.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    constants = {c.name: c for c in graph.initializer}
    values = {v.name: v for v in (*graph.value_info, *graph.output)}
    for part in parts:
        if part.name == part.source:
            continue
        index = next(i for i, n in enumerate(graph.node) if part.source in n.output)
        node = graph.node[index]
        if not set(i for i in node.input[1:] if i) <= constants.keys():
            raise NotATail(f"node '{node.name}' ({node.op_type}) has weights that are not constant")
        group = next((a.i for a in node.attribute if a.name == "group"), 1)
        if group != 1:
            raise NotATail(f"node '{node.name}' ({node.op_type}) has {group} groups, so its "
                           "channels cannot be taken apart")
        channel, factor = list(part.channel), np.array(part.factor)
        weight = numpy_helper.to_array(constants[node.input[1]])[channel].astype(np.float64)
        bias = np.zeros(len(channel))
        if len(node.input) > 2 and node.input[2]:
            bias = numpy_helper.to_array(constants[node.input[2]])[channel].astype(np.float64)
        new = onnx.NodeProto()
        new.CopyFrom(node)
        new.name = part.name
        new.output[:] = [part.name]
        new.input[:] = [node.input[0], f"{part.name}.weight", f"{part.name}.bias"]
        for name, value in ((new.input[1], weight * factor[:, None, None, None]),
                            (new.input[2], bias * factor + part.shift)):
            graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
        graph.node.insert(index + 1, new)
        dims = [d.dim_value for d in values[part.source].type.tensor_type.shape.dim]
        graph.value_info.append(helper.make_tensor_value_info(
            part.name, TensorProto.FLOAT, [1, len(channel), *dims[2:]]))
    return copy
