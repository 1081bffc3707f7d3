"""Where a network is quantised, and the QDQ graph that says so.

The file says what the machine does: one quantised tensor for every value that the machine
stores, none in between. In particular

* a Conv, Gemm, MatMul or Add and the Relu, Clip, LeakyRelu or PRelu directly behind it are one
  step;
* operators that make one function of one tensor of several (x * sigmoid(x), GELU by Erf) are one
  step, a table;
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
from onnx import TensorProto, helper, numpy_helper

from falconet.compiler.findings import Findings
from falconet.compiler.importer.opset import label
from falconet.compiler.onnx_import import FUNCTIONS
from falconet.isa import FalconetError

__all__ = ["Plan", "Weights", "insert", "make_plan", "quantise_weights", "scale_and_zero_point"]

WEIGHTED = ("Conv", "Gemm", "MatMul")
CLAMPS = ("Relu", "Clip", "LeakyRelu", "PRelu")
MOVES = (
    "Concat", "Resize", "MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze",
    "Slice", "Split", "Identity", "Pad",
)
_SECOND_TOO = ("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max")
"""Operators whose operands may all be activations."""

_ONE_FUNCTION = ("Relu", "Clip", "LeakyRelu", *_SECOND_TOO, *FUNCTIONS)

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
    if node.op_type in _SECOND_TOO:
        return [i for i in node.input if i not in constants]
    return [node.input[0]]


def _constant_weights(node: onnx.NodeProto, constants: Container[str]) -> bool:
    return node.op_type in WEIGHTED and all(i in constants for i in node.input[1:] if i)


def _check(node: onnx.NodeProto) -> None:
    if node.op_type == "Gemm" and (
        _attribute(node, "alpha", 1.0) != 1 or _attribute(node, "beta", 1.0) != 1
        or _attribute(node, "transA", 0)
    ):
        raise FalconetError(f"{label(node)}: alpha, beta or transA is set; export a plain Linear")


def make_plan(model: onnx.ModelProto) -> Plan:
    """Decide what is quantised in a float model (of ``prepare.load_float``).

    Raises
    ------
    FalconetError
        Names the nodes that cannot be quantised. What ``compile`` refuses is told by
        ``compiler.onnx_import.check_structure`` of the QDQ model.
    """
    graph = model.graph
    constants = {i.name: i for i in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    findings = Findings()
    for node in graph.node:
        with findings.collected():
            _check(node)
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    findings.check()
    results = {o.name for o in graph.output}
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    functions = _functions(graph, constants, readers)

    def inside(node: onnx.NodeProto) -> bool:
        """Whether the node's result exists only on the way to the next node's."""
        users = readers.get(node.output[0], [])
        if node.output[0] in functions:
            return True
        if len(users) != 1 or node.output[0] in results:
            return False
        return node.op_type in (*WEIGHTED, "Add") and users[0].op_type in CLAMPS and not (
            users[0].op_type == "PRelu" and _falling(constants.get(users[0].input[1])))

    plan = Plan()
    for entry in graph.input:
        plan.group[entry.name] = entry.name
    for node in graph.node:
        if _constant_weights(node, constants):
            plan.weighted.append(node)
        data = _data_inputs(node, constants)
        if inside(node):
            continue
        made = [o for o in node.output if o and types.get(o, TensorProto.FLOAT)
                == TensorProto.FLOAT]
        plan.group.update(zip(made, made))
        if node.op_type in MOVES:
            _join(plan.group, [i for i in (*data, *made) if i in plan.group])
    return plan


def _falling(slope: onnx.TensorProto | None) -> bool:
    """Whether a slope is below 0, which takes a stored input."""
    return slope is not None and bool(np.any(numpy_helper.to_array(slope) < 0))


def _functions(
    graph: onnx.GraphProto, constants: Mapping[str, onnx.TensorProto],
    readers: Mapping[str, list[onnx.NodeProto]],
) -> set[str]:
    """Results that exist only inside a function of one tensor, which becomes one table.

    Such a function is a product or quotient of what operators with scalar constants compute from
    a common tensor, and what scalars are added or multiplied directly behind it.
    """
    results = {o.name for o in graph.output}
    makers: dict[str, list[str]] = {}  # result -> the activations that it is computed from
    roots: dict[str, list[str]] = {}  # result -> itself and what it is a function of, nearest first
    inner: set[str] = set()
    products: set[str] = set()
    for node in graph.node:
        data, out = _data_inputs(node, constants), node.output[0]
        if node.op_type not in _ONE_FUNCTION or any(
                np.prod(constants[i].dims) != 1 for i in node.input if i in constants):
            continue
        chains = [roots.get(i, [i]) for i in data]
        common = next((r for r in chains[0] if all(r in c for c in chains)), None)
        if common is None:
            continue
        makers[out] = data
        roots[out] = [out, *chains[0][chains[0].index(common):]]
        if len(data) > 1 and node.op_type in ("Mul", "Div"):
            part = _between(makers, data, common)
        elif data[0] in products and node.op_type in ("Add", "Sub", "Mul", "Div"):
            part = {data[0]}
        else:
            continue
        users = {u.output[0] for i in part for u in readers[i]}
        if not part & results and users <= part | {out}:
            inner |= part
            products.add(out)
    return inner


def _between(makers: Mapping[str, list[str]], ends: list[str], root: str) -> set[str]:
    """``ends`` and all that lies between them and ``root``, which does not belong to it."""
    found: set[str] = set()
    left = [*ends]
    while left:
        name = left.pop()
        if name != root and name not in found:
            found.add(name)
            left += makers[name]
    return found


def _join(group: dict[str, str], tensors: list[str]) -> None:
    roots = {group[t] for t in tensors}
    if not roots:
        return
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
        given = constants[node.input[2]].astype(np.float64).reshape(-1)
        if given.size not in (1, count):
            raise FalconetError(f"{label(node)}: its bias is {given.size} numbers for {count} "
                                "channels; export it again")
        bias = np.broadcast_to(given, count)
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
