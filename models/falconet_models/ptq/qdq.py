"""The QDQ graph of a network that is quantised where ``stored_tensors`` says.

Activations are int8 per tensor, weights as ``stored_weights`` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from falconet.isa import FalconetError
from falconet_models.ptq.stored_tensors import Plan
from falconet_models.ptq.stored_weights import Weights, quantise_weights

__all__ = ["insert", "scale_and_zero_point"]

Array = NDArray[Any]


def scale_and_zero_point(low: float, high: float) -> tuple[np.float32, int]:
    """int8 parameters with which [low, high] is -128 .. 127 and zero is exact."""
    scale = np.float32((high - low) / 255)
    scale = max(scale, np.finfo(np.float32).tiny)
    return np.float32(scale), int(np.clip(np.rint(-128 - low / float(scale)), -128, 127))


class _Writer:
    """The QDQ graph while it is written down."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Array) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def dequantise(
        self, name: str, stored: Array, scale: Array, axis: int, output: str
    ) -> str:
        """A stored constant made real again."""
        self.nodes.append(helper.make_node("DequantizeLinear", [
            self.constant(f"{name}.stored", stored), self.constant(f"{name}.scale", scale),
            self.constant(f"{name}.zero_point", np.zeros(scale.shape, stored.dtype)),
        ], [output], f"{name}.dequantize", axis=axis))
        return output

    def pair(self, name: str, parameters: list[str], source: str, output: str) -> None:
        self.nodes.append(helper.make_node(
            "QuantizeLinear", [source, *parameters], [f"{name}.stored"], f"{name}.quantize"))
        self.nodes.append(helper.make_node(
            "DequantizeLinear", [f"{name}.stored", *parameters], [output], f"{name}.dequantize"))


def insert(
    model: onnx.ModelProto,
    plan: Plan,
    ranges: Mapping[str, tuple[float, float]],
    biases: Mapping[str, NDArray[np.float64]] | None = None,
) -> onnx.ModelProto:
    """The QDQ model.

    Parameters
    ----------
    ranges:
        (low, high) of each group, by its first tensor.
    biases:
        Real biases by the output of the node, instead of the model's.
    """
    arrays = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    results = {o.name for o in model.graph.output}
    writer = _Writer()
    parameters: dict[str, tuple[np.float32, int, list[str]]] = {}
    for first in plan.members():
        scale, zero_point = scale_and_zero_point(*ranges[first])
        parameters[first] = scale, zero_point, [
            writer.constant(f"{first}.scale", np.array(scale, np.float32)),
            writer.constant(f"{first}.zero_point", np.array(zero_point, np.int8)),
        ]
    real = {}  # quantised tensor -> the name under which its value is read

    def quantised(tensor: str, source: str) -> None:
        real[tensor] = tensor if tensor in results else f"{tensor}.real"
        writer.pair(tensor, parameters[plan.group[tensor]][2], source, real[tensor])

    weighted = {n.output[0] for n in plan.weighted}
    for entry in model.graph.input:
        quantised(entry.name, entry.name)
    for node in model.graph.node:
        new = onnx.NodeProto()
        new.CopyFrom(node)
        new.input[:] = [real.get(i, i) for i in node.input]
        if node.output[0] in weighted:
            scale, zero_point, _ = parameters[plan.group[node.input[0]]]
            w = quantise_weights(node, arrays, scale, zero_point,
                                 (biases or {}).get(node.output[0]))
            _constants(writer, new, node, w, scale)
        for i, name in enumerate(node.output):
            if name in plan.group and name in results:
                new.output[i] = f"{name}.float"
        writer.nodes.append(new)
        for name, source in zip(node.output, new.output):
            if name in plan.group:
                quantised(name, source)
    return _finished(model, writer)


def _finished(model: onnx.ModelProto, writer: _Writer) -> onnx.ModelProto:
    """What was written, in the place of the graph of ``model``; checked."""
    used = {i for n in writer.nodes for i in n.input}
    graph = helper.make_graph(
        writer.nodes, model.graph.name, list(model.graph.input), list(model.graph.output),
        [*(i for i in model.graph.initializer if i.name in used), *writer.constants],
    )
    result = helper.make_model(
        graph, opset_imports=list(model.opset_import), ir_version=model.ir_version,
        producer_name="falconet",
    )
    result.metadata_props.extend(model.metadata_props)
    result = onnx.shape_inference.infer_shapes(result, check_type=True, strict_mode=True)
    onnx.checker.check_model(result)
    return result


def _constants(
    writer: _Writer, new: onnx.NodeProto, node: onnx.NodeProto, w: Weights,
    input_scale: np.float32,
) -> None:
    """Weight and bias of ``new`` as stored constants behind a DequantizeLinear."""
    name = node.name or node.output[0]
    new.input[1] = writer.dequantise(
        f"{name}.weight", w.weight, w.scale, w.axis, f"{name}.weight.real")
    if node.op_type == "MatMul":
        if np.any(w.bias):
            raise FalconetError(f"node '{name}' (MatMul): a bias was asked for; use Gemm")
        return
    scale = np.tile(w.scale * input_scale, w.bias.size // w.scale.size).astype(np.float32)
    stored = np.clip(np.rint(w.bias / scale.astype(np.float64)), -(2**31), 2**31 - 1)
    del new.input[2:]
    new.input.append(writer.dequantise(
        f"{name}.bias", stored.astype(np.int32), scale, 0, f"{name}.bias.real"))
