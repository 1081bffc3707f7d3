"""Where a network ends and a detector's tail begins, and the tail as a function of the heads.

The heads are the last convolutions. What follows them moves values and computes each result from
what the heads have in a few channels, and constants; a non-maximum suppression ends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from falconet.compiler.importer.onnx.nodes import line

__all__ = ["NoTail", "NotATail", "Tail", "find", "reads", "without_suppression"]

Floats = NDArray[np.float32]

_NETWORK = {
    "Conv", "ConvTranspose", "Gemm", "MatMul", "MaxPool", "AveragePool", "GlobalAveragePool",
    "GlobalMaxPool", "Resize", "Upsample", "BatchNormalization", "InstanceNormalization", "LSTM",
    "GRU", "Einsum",
}
_MOVES = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten"}
_MOST = 60  # heads; a detector of six levels with boxes, classes, objectness and landmarks has 24


class NotATail(Exception):
    """Why what follows the last convolutions is no detector's tail, by the file's names."""


class NoTail(NotATail):
    """There is nothing that could be a tail."""


@dataclass(frozen=True)
class Tail:
    """``heads`` are names of tensors [1, C, H, W], ``shapes`` their (C, H, W)."""

    heads: list[str]
    shapes: dict[str, tuple[int, int, int]]
    outputs: list[str]
    operators: set[str]
    session: Any

    def run(self, values: Mapping[str, Floats]) -> list[Floats]:
        """The outputs for heads [C, H, W]."""
        given = {h: np.asarray(values[h], np.float32)[None] for h in self.heads}
        try:
            found = [np.asarray(v, np.float32) for v in self.session.run(self.outputs, given)]
        except Exception as e:  # whatever onnxruntime raises
            raise NotATail(f"onnxruntime cannot run what follows the last convolutions ({line(e)})"
                           ) from None
        for name, value in zip(self.outputs, found):
            if not np.all(np.isfinite(value)):
                raise NotATail(f"output '{name}': values of usual heads are not finite")
        return found


def reads(node: onnx.NodeProto) -> set[str]:
    """The tensors that a node reads, those that its subgraphs take from outside included."""
    graphs = [g for a in node.attribute for g in (a.g, *a.graphs)]
    return set(node.input).union(*(reads(n) for g in graphs for n in g.node)) - {""}


def without_suppression(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The model that ends at the boxes and scores of its NonMaxSuppression, if it has one.

    Returns
    -------
    The model (the same if there is none), and the thresholds that the node names, as fields of a
    description. Outputs that are not computed from the suppression stay.
    """
    graph = model.graph
    found = [n for n in graph.node if n.op_type == "NonMaxSuppression"]
    if len(found) != 1:
        return model, {}
    node = found[0]
    constants = _constants(graph)
    behind = set(node.output)
    for n in graph.node:
        if behind & reads(n):
            behind.update(n.output)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = [o for o in copy.graph.output if o.name not in behind and o.name not in node.input[:2]]
    kept += [helper.make_tensor_value_info(i, TensorProto.FLOAT, None) for i in node.input[:2]]
    del copy.graph.output[:]
    copy.graph.output.extend(kept)
    needed = {o.name for o in kept}
    nodes = []
    for n in reversed(copy.graph.node):
        if needed & set(n.output):
            needed |= reads(n)
            nodes.append(n)
    del copy.graph.node[:]
    copy.graph.node.extend(reversed(nodes))
    fields = {}
    for i, name in ((3, "nms_threshold"), (4, "score_threshold")):
        if len(node.input) > i and node.input[i] in constants:
            value = float(constants[node.input[i]].reshape(-1)[0])
            if 0 < value <= 1:
                fields[name] = round(value, 6)
    return copy, fields


def find(model: onnx.ModelProto, *, decoded: bool = True) -> Tail:
    """The tail of a model with constants folded and shapes inferred.

    ``decoded``: whether one that computes nothing that could be a box is none.

    Raises
    ------
    NotATail
        If no convolution ends the network, or what follows needs more than the heads.
    """
    graph = model.graph
    constants = _constants(graph)
    heads = _last_convolutions(graph, constants)
    behind, nodes = set(heads), []
    for node in graph.node:
        if behind & reads(node) and not set(node.output) & set(heads):
            behind.update(node.output)
            nodes.append(node)
    outputs = [o.name for o in graph.output if o.name in behind and o.name not in heads]
    if not heads or not outputs:
        raise NoTail("no output is computed from the last convolutions")
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= reads(node)
            kept.append(node)
    heads = [h for h in heads if h in needed]
    operators = {n.op_type for n in kept}
    if decoded and not operators - _MOVES - {"Concat", "Sigmoid", "Softmax", "Slice", "Split"}:
        kind = NotATail if len(heads) > 1 else NoTail
        raise kind(f"output '{outputs[0]}' holds what the convolutions give, and no boxes are "
                       "computed from it")
    made = {o for n in kept for o in n.output}
    for node in kept:
        for name in reads(node):
            if name not in made and name not in constants and name not in heads:
                raise NotATail(f"node '{node.name}' ({node.op_type}) reads '{name}', which is "
                               "neither a last convolution nor a constant")
    return _session(model, heads, outputs, kept[::-1], operators)


def _session(model: onnx.ModelProto, heads: Sequence[str], outputs: Sequence[str],
             nodes: Sequence[onnx.NodeProto], operators: set[str]) -> Tail:
    import onnxruntime as ort

    graph = model.graph
    values = {v.name: v for v in (*graph.value_info, *graph.output)}
    shapes: dict[str, tuple[int, int, int]] = {}
    for h in heads:
        dims = [d.dim_value for d in values[h].type.tensor_type.shape.dim] if h in values else []
        if len(dims) != 4 or dims[0] != 1 or 0 in dims:
            raise NotATail(f"the shape of '{h}' is not fixed")
        shapes[h] = dims[1], dims[2], dims[3]
    used = set().union(*(reads(n) for n in nodes))
    part = helper.make_graph(
        nodes, "tail", [helper.make_tensor_value_info(h, TensorProto.FLOAT, [1, *shapes[h]])
                        for h in heads],
        [helper.make_value_info(o, onnx.TypeProto()) for o in outputs],
        [c for c in graph.initializer if c.name in used])
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(
            helper.make_model(part, opset_imports=list(model.opset_import),
                              ir_version=model.ir_version).SerializeToString(),
            options, providers=["CPUExecutionProvider"])
    except Exception as e:  # whatever onnxruntime raises
        raise NotATail(f"onnxruntime cannot run what follows the last convolutions ({line(e)})"
                       ) from None
    return Tail(list(heads), shapes, list(outputs), operators, session)


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    found = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def _last_convolutions(graph: onnx.GraphProto, constants: Mapping[str, Any]) -> list[str]:
    """Results of convolutions behind which there is no layer but that of a DFL."""
    makers = {o: n for n in graph.node for o in n.output}
    before: set[str] = set()  # tensors from which a layer is computed
    heads = []
    for node in reversed(graph.node):
        layer = node.op_type in _NETWORK and not _expectation(node, makers, constants)
        if node.op_type == "Conv" and layer and not set(node.output) & before:
            heads.append(node.output[0])
        if layer or before & set(node.output):
            before |= reads(node)
    if len(heads) > _MOST:
        raise NotATail(f"{len(heads)} convolutions end the network")
    return heads[::-1]


def _expectation(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto],
                 constants: Mapping[str, Any]) -> bool:
    """Whether it takes the mean of a distribution: one row of weights behind a Softmax."""
    if node.op_type not in ("Conv", "MatMul", "Gemm", "Einsum") or len(node.input) < 2:
        return False
    weights = constants.get(node.input[1])
    if weights is None or np.count_nonzero(np.array(weights.shape) > 1) > 1:
        return False
    name = node.input[0]
    while name in makers and makers[name].op_type in _MOVES:
        name = makers[name].input[0]
    return name in makers and makers[name].op_type == "Softmax"
