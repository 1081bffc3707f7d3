"""Where a network is quantised, and the QDQ graph that says so.

The file says what the machine does: one quantised tensor for every value that the machine
stores, none in between. In particular

* a Conv, Gemm, MatMul or Add and the Relu, Clip or LeakyRelu directly behind it are one step;
* inputs and outputs of operators that only move values (Concat, Resize, MaxPool, Reshape ...)
  share one scale and zero point;
* activations are int8 per tensor; weights int8 per output channel, symmetric, in [-127, 127];
  biases int32, their scale that of the input times that of the weights.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from falconet.isa import FalconetError

__all__ = ["Plan", "Weights", "insert", "make_plan", "quantise_weights", "scale_and_zero_point"]

WEIGHTED = ("Conv", "Gemm", "MatMul")
CLAMPS = ("Relu", "Clip", "LeakyRelu")
MOVES = (
    "Concat", "Resize", "MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze",
    "Slice", "Split", "Identity", "DepthToSpace",
)
COMPUTES = (
    "Add", "Sub", "AveragePool", "GlobalAveragePool", "ReduceMean", "Sigmoid", "HardSigmoid",
    "HardSwish", "Tanh", "Elu", "Softplus", "Mish", "Gelu", "Mul", "Div", *CLAMPS,
)
_GATES = ("Sigmoid", "HardSigmoid")

_BIAS_MAX = 1 << 22
"""Largest stored bias: a quarter of the accumulator, so that the products keep the rest."""

Array = NDArray[Any]


@dataclass
class Plan:
    """Which tensors are quantised, and which of them together.

    ``group`` maps each quantised tensor to the first of its group; ``weighted`` are the nodes
    with weights, in order.
    """

    group: dict[str, str] = field(default_factory=dict)
    weighted: list[onnx.NodeProto] = field(default_factory=list)

    def members(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for tensor, first in self.group.items():
            found.setdefault(first, []).append(tensor)
        return found


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _data_inputs(node: onnx.NodeProto, constants: Container[str]) -> list[str]:
    """The inputs that hold activations."""
    if node.op_type == "Concat":
        return list(node.input)
    if node.op_type in ("Add", "Sub", "Mul", "Div"):
        return [i for i in node.input if i not in constants]
    return [node.input[0]]


def _check(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> None:
    label = f"node '{node.name or node.output[0]}' ({node.op_type})"
    if node.op_type in WEIGHTED:
        if node.input[1] not in constants:
            raise FalconetError(f"{label}: its weights are not constant; cut the model before it")
        if len(node.input) > 2 and node.input[2] and node.input[2] not in constants:
            raise FalconetError(f"{label}: its bias is not constant; cut the model before it")
        if node.op_type == "Gemm" and (
            _attribute(node, "alpha", 1.0) != 1 or _attribute(node, "beta", 1.0) != 1
            or _attribute(node, "transA", 0)
        ):
            raise FalconetError(f"{label}: alpha, beta or transA is set; export a plain Linear")
    elif node.op_type not in (*MOVES, *COMPUTES):
        raise FalconetError(
            f"{label}: the machine has no such operator; cut the model before it, replace it, or "
            "describe a detector's heads, which end it (--heads)"
        )
    for name in _data_inputs(node, constants):
        if name in constants:
            raise FalconetError(
                f"{label}: its operand '{name}' is constant; fold it into a convolution"
            )


def make_plan(model: onnx.ModelProto) -> Plan:
    """Decide what is quantised in a float model (of ``prepare.load_float``).

    Raises
    ------
    FalconetError
        Names the first node that the machine cannot compute.
    """
    graph = model.graph
    constants = {i.name: i for i in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        _check(node, constants)
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    results = {o.name for o in graph.output}

    def inside(node: onnx.NodeProto) -> bool:
        """Whether the node's result exists only on the way to the next node's."""
        users = readers.get(node.output[0], [])
        if len(users) != 1 or node.output[0] in results:
            return False
        if node.op_type in _GATES:
            return users[0].op_type == "Mul" and node.input[0] in users[0].input
        return node.op_type in (*WEIGHTED, "Add") and users[0].op_type in CLAMPS

    plan = Plan()
    for entry in graph.input:
        plan.group[entry.name] = entry.name
    skipped = set()
    for node in graph.node:
        if node.op_type in WEIGHTED:
            plan.weighted.append(node)
        data = _data_inputs(node, constants)
        if node.op_type in ("Mul", "Div") and len(data) > 1 and not skipped & set(data):
            raise FalconetError(
                f"node '{node.name or node.output[0]}' ({node.op_type}): the machine multiplies "
                "no two tensors; replace it"
            )
        if inside(node):
            skipped.add(node.output[0])
            continue
        for name in filter(None, node.output):
            plan.group[name] = name
        if node.op_type in MOVES:
            _join(plan.group, [*data, *filter(None, node.output)])
    return plan


def _join(group: dict[str, str], tensors: list[str]) -> None:
    roots = {group[t] for t in tensors}
    first = next(t for t in group if t in roots)
    for t, root in group.items():
        if root in roots:
            group[t] = first


def scale_and_zero_point(low: float, high: float) -> tuple[np.float32, int]:
    """int8 parameters with which [low, high] is -128 .. 127 and zero is exact."""
    scale = np.float32((high - low) / 255)
    scale = max(scale, np.finfo(np.float32).tiny)
    return np.float32(scale), int(np.clip(np.rint(-128 - low / float(scale)), -128, 127))


@dataclass
class Weights:
    """The constants of one weighted node: ``weight`` int8, ``bias`` in float."""

    weight: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float64]
    axis: int


def quantise_weights(
    node: onnx.NodeProto, constants: Mapping[str, Array], input_scale: np.float32
) -> Weights:
    """Per-channel scales: the largest weight is 127, or more if the bias would not fit."""
    weight = constants[node.input[1]].astype(np.float64)
    axis = 0 if node.op_type == "Conv" or _attribute(node, "transB", 0) else weight.ndim - 1
    count = weight.shape[axis]
    bias = np.zeros(count)
    if len(node.input) > 2 and node.input[2]:
        bias = np.broadcast_to(constants[node.input[2]].astype(np.float64).reshape(-1), count)
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = np.abs(weight).max(axis=others) / 127
    scale = np.maximum(scale, np.abs(bias) / (float(input_scale) * _BIAS_MAX))
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    stored = np.clip(np.rint(weight / scale.reshape(shape).astype(np.float64)), -127, 127)
    return Weights(stored.astype(np.int8), scale, np.array(bias), axis)


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
            scale = parameters[plan.group[node.input[0]]][0]
            w = quantise_weights(node, arrays, scale)
            bias = w.bias if biases is None else biases.get(node.output[0], w.bias)
            _constants(writer, new, node, w, bias, scale)
        for i, name in enumerate(node.output):
            if name in plan.group and name in results:
                new.output[i] = f"{name}.float"
        writer.nodes.append(new)
        for name, source in zip(node.output, new.output):
            if name in plan.group:
                quantised(name, source)
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
    bias: NDArray[np.float64], input_scale: np.float32,
) -> None:
    """Weight and bias of ``new`` as stored constants behind a DequantizeLinear."""
    name = node.name or node.output[0]
    new.input[1] = writer.dequantise(
        f"{name}.weight", w.weight, w.scale, w.axis, f"{name}.weight.real")
    if node.op_type == "MatMul":
        if np.any(bias):
            raise FalconetError(f"node '{name}' (MatMul): a bias was asked for; use Gemm")
        return
    scale = (w.scale * input_scale).astype(np.float32)
    stored = np.clip(np.rint(bias / scale.astype(np.float64)), -(2**31), 2**31 - 1)
    del new.input[2:]
    new.input.append(writer.dequantise(
        f"{name}.bias", stored.astype(np.int32), scale, 0, f"{name}.bias.real"))
