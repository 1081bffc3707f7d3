"""Shapes of all values, and what constants a model computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from falconet.compiler.importer.limits import Budget
from falconet.compiler.importer.nodes import array, evaluate, line, onnx_node, version_of

__all__ = ["NoShapes", "check_constants", "infer"]

_LEFT = ("If", "QuantizeLinear", "DequantizeLinear")  # not folded: no constants for the next node

Array = NDArray[Any]


class NoShapes(Exception):
    """Why onnx infers no shapes, and what to do."""


def infer(model: onnx.ModelProto, *, strict: bool = False) -> onnx.ModelProto:
    """The model with all shapes that onnx infers.

    onnx follows the integers that shapes are made of, those of a Range one by one: first the model
    is looked through for one that is too long. With ``strict`` a shape that
    onnx cannot infer is a fault. Raises :class:`NoShapes`.
    """
    known = True
    if any(n.op_type == "Range" for n in model.graph.node):
        known = check_constants(_infer(model, False, False))
    return _infer(model, strict, known)


def _infer(model: onnx.ModelProto, strict: bool, known: bool) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=strict, data_prop=known)
    except Exception as e:  # onnx raises classes of its own
        raise NoShapes(f"its shapes do not fit together, says onnx ({line(e)}); export it again"
                       ) from None


def check_constants(model: onnx.ModelProto) -> bool:
    """Refuse a model whose constants are too much, before they are computed.

    ``model`` has the shapes that are known. Returns whether every Range is constant.
    """
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in (*model.graph.value_info, *model.graph.input)
              if all(d.dim_value for d in v.type.tensor_type.shape.dim)}
    held = {t.name: array(t) for t in model.graph.initializer}
    budget = Budget(sum(a.nbytes for a in held.values()), version_of(model))
    _walk(model.graph, held, shapes, budget)
    return all(n.output[0] in held for n in model.graph.node if n.op_type == "Range")


def _walk(graph: onnx.GraphProto, values: dict[str, Array], shapes: dict[str, list[int]],
          budget: Budget) -> None:
    values.update((t.name, array(t)) for t in graph.initializer)
    for node in map(onnx_node, graph.node):
        if node.op in ("Loop", "Scan", "SequenceMap"):
            node.refuse("loops are not supported; export the network without them")
        for a in node.proto.attribute:
            for inner in (a.g, *a.graphs):
                _walk(inner, dict(values), shapes, budget)
        if node.op == "Shape" and node.inputs[0] in shapes:
            values[node.outputs[0]] = np.array(shapes[node.inputs[0]], np.int64)[
                node.attrs.get("start", 0):node.attrs.get("end")]
        elif node.op == "Constant" and "value" in node.attrs:
            values[node.outputs[0]] = array(node.attrs["value"])
        elif node.op not in _LEFT and all(i in values for i in node.inputs if i):
            inputs = [values[i] if i else None for i in node.inputs]
            budget.take(node.proto, f"node '{node.name}' ({node.op})",
                        {n: a for n, a in zip(node.inputs, inputs) if a is not None})
            values.update(zip(filter(None, node.outputs),
                              evaluate(node, inputs, budget.opset)))
