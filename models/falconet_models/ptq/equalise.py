"""Cross-layer equalisation: move scale between channels so that one int8 scale suits them all.

A channel may be multiplied by any positive factor where it is made and divided by it where it is
used (Nagel et al., 2019). The network computes the same, but channels that would have used
little of the tensor's int8 range use all of it. Two places pay:

* Between a convolution and a depthwise convolution. Depthwise weights have a scale per channel,
  so the division costs nothing. Behind a Clip the factor is bounded so that what the channel
  took on the calibration data, half as much again included, still is below the clip.
* Linear tensors between convolutions, residual additions included (the bottlenecks of
  MobileNetV2). The division widens the range of the reading filters; the square root of the full
  factor shares the loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from falconet_models.ptq.calibration import with_outputs
from falconet_models.ptq.prepare import session
from falconet_models.ptq.stored_tensors import CLAMPS

__all__ = ["equalise"]

_FACTOR_MAX = 16.0
_MARGIN = 1.5
_TINY = 1e-6

Array = NDArray[Any]


class _Network:
    """A float graph with its connections and constants at hand."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.index = {i.name: k for k, i in enumerate(model.graph.initializer)}
        self.maker = {o: n for n in model.graph.node for o in n.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)
        self.fixed = {o.name for o in model.graph.output} | {i.name for i in model.graph.input}
        uses = [i for n in model.graph.node for i in n.input if i in self.index]
        self.shared = {i for i in uses if uses.count(i) > 1}

    def constant(self, name: str) -> Array:
        return numpy_helper.to_array(self.model.graph.initializer[self.index[name]])

    def replace(self, name: str, value: Array) -> None:
        self.model.graph.initializer[self.index[name]].CopyFrom(
            numpy_helper.from_array(value.astype(np.float32), name))

    def conv(self, node: onnx.NodeProto | None) -> bool:
        """A convolution whose constants are its own."""
        return (node is not None and node.op_type == "Conv"
                and not self.shared & set(node.input[1:])
                and all(i in self.index for i in node.input[1:]))

    def groups(self, node: onnx.NodeProto) -> int:
        return next((a.i for a in node.attribute if a.name == "group"), 1)

    def depthwise(self, node: onnx.NodeProto) -> bool:
        """One input channel, one output channel a group."""
        if not self.conv(node):
            return False
        weight = self.constant(node.input[1])
        return bool(weight.shape[1] == 1 and weight.shape[0] == self.groups(node) > 1)

    def scale_out(self, node: onnx.NodeProto, factor: Array) -> None:
        for name in node.input[1:]:
            value = self.constant(name)
            self.replace(name, value * factor.reshape(-1, *[1] * (value.ndim - 1)))

    def scale_in(self, node: onnx.NodeProto, factor: Array) -> None:
        weight = self.constant(node.input[1])
        column = factor.reshape(-1, 1, 1, 1) if self.depthwise(node) else factor[:, None, None]
        self.replace(node.input[1], weight / column)

    def limit(self, clamp: onnx.NodeProto) -> float | None:
        """The upper clip of a clamp (infinite for ReLU), None if its form cannot be scaled."""
        if clamp.op_type != "Clip":
            return np.inf
        bounds = [float(self.constant(i)) if i in self.index else None for i in clamp.input[1:]]
        if len(bounds) != 2 or bounds[0] != 0 or bounds[1] is None:
            return None
        return bounds[1]


def _pairs(net: _Network) -> list[tuple[onnx.NodeProto, onnx.NodeProto, str, float]]:
    """Convolution, depthwise convolution that alone reads it, tensor between, its upper clip."""
    found = []
    for reader in net.model.graph.node:
        if not net.depthwise(reader):
            continue
        tensor = reader.input[0]
        limit: float | None = np.inf
        between = tensor
        maker = net.maker.get(tensor)
        if maker is not None and maker.op_type in CLAMPS:
            limit = net.limit(maker)
            between = maker.input[0]
            if len(net.readers[between]) != 1:
                continue
            maker = net.maker.get(between)
        if (maker is not None and limit is not None and net.conv(maker)
                and len(net.readers[tensor]) == 1 and not net.fixed & {tensor, between}):
            found.append((maker, reader, tensor, limit))
    return found


def _streams(net: _Network) -> list[set[str]]:
    """Sets of linear tensors, joined by Add, made and read by convolutions alone."""
    root: dict[str, set[str]] = {}
    for node in net.model.graph.node:
        if node.op_type == "Add":
            tensors = {*node.input, *node.output}
            joined = set().union(*(root.get(t, {t}) for t in tensors))
            root.update(dict.fromkeys(joined, joined))
        elif node.op_type == "Conv":
            root.setdefault(node.output[0], {node.output[0]})
    streams = {id(s): s for s in root.values()}.values()

    def plain(tensor: str) -> bool:
        maker = net.maker.get(tensor)
        return (tensor not in net.fixed and maker is not None
                and (maker.op_type == "Add" or net.conv(maker))
                and all(r.op_type == "Add" or (net.conv(r) and net.groups(r) == 1)
                        for r in net.readers.get(tensor, [])))

    return [s for s in streams if all(plain(t) for t in s)]


def _extremes(
    model: onnx.ModelProto, tensors: list[str], samples: Sequence[Array]
) -> dict[str, Array]:
    """Largest magnitude of each channel."""
    run = session(with_outputs(model, tensors))
    top: dict[str, Array] = {}
    (entry,) = (i.name for i in model.graph.input)
    for x in samples:
        for name, value in zip(tensors, run.run(None, {entry: x})):
            v = np.abs(value).max(axis=(0, 2, 3))
            top[name] = np.maximum(top[name], v) if name in top else v
    return top


def equalise(model: onnx.ModelProto, samples: Sequence[Array]) -> onnx.ModelProto:
    """A copy of a float model that computes the same, with its channels balanced.

    Parameters
    ----------
    samples:
        Calibration inputs [1, C, H, W].
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    net = _Network(copy)
    pairs, streams = _pairs(net), _streams(net)
    tensors = dict.fromkeys([*(t for _, _, t, _ in pairs), *(t for s in streams for t in s)])
    if not tensors:
        return copy
    top = _extremes(model, list(tensors), samples)
    for maker, reader, tensor, limit in pairs:
        full = top[tensor].max() if np.isinf(limit) else limit / _MARGIN
        factor = _bounded(full / np.maximum(top[tensor], _TINY))
        net.scale_out(maker, factor)
        net.scale_in(reader, factor)
    for stream in streams:
        if len({top[t].size for t in stream}) > 1:  # one channel is added to all
            continue
        extent = np.max([top[t] for t in stream], axis=0)
        factor = _bounded(np.sqrt(extent.max() / np.maximum(extent, _TINY)))
        for node in _convolutions(net.maker[t] for t in stream):
            net.scale_out(node, factor)
        for node in _convolutions(n for t in stream for n in net.readers.get(t, [])):
            net.scale_in(node, factor)
    return copy


def _bounded(factor: Array) -> Array:
    return np.clip(factor, 1, _FACTOR_MAX)


def _convolutions(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Each convolution among ``nodes`` once."""
    return list({n.output[0]: n for n in nodes if n.op_type == "Conv"}.values())
