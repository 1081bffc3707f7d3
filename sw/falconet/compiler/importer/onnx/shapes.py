"""Shapes of all values, and what constants a model computes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from falconet.compiler.importer.onnx.limits import Budget
from falconet.compiler.importer.onnx.nodes import array, evaluate, line, onnx_node, version_of
from falconet.compiler.importer.onnx.sides import check_sides
from falconet.isa import FalconetError

__all__ = ["NoShapes", "check_constants", "infer"]

_FEW = 1 << 16
"""Numbers of a list that onnx may follow; it takes some 150 bytes for each."""

_LEFT = ("If", "QuantizeLinear", "DequantizeLinear")  # not folded: no constants for the next node

Array = NDArray[Any]


class NoShapes(Exception):
    """Why onnx infers no shapes, and what to do."""


def infer(model: onnx.ModelProto, *, strict: bool = False) -> onnx.ModelProto:
    """The model with all shapes that onnx infers.

    onnx follows the numbers that shapes are made of, one by one, in every list whose length it
    knows: where one is long, or may become so, it is told not to. With ``strict`` a shape that onnx
    cannot infer is a fault. Raises :class:`NoShapes`, and FalconetError for a negative side.
    """
    bare = _infer(model, False, False)
    longest, unknown = _lists(bare.graph)
    if longest <= _FEW and unknown:  # what may depend on constants that are computed
        longest = max((a.size for a in check_constants(bare).values() if a.ndim == 1), default=0)
    return _infer(model, strict, longest <= _FEW)


def _infer(model: onnx.ModelProto, strict: bool, known: bool) -> onnx.ModelProto:
    try:
        check_sides(model, known=known)
        return onnx.shape_inference.infer_shapes(model, strict_mode=strict, data_prop=known)
    except FalconetError:
        raise
    except Exception as e:  # onnx raises classes of its own
        raise NoShapes(f"its shapes do not fit together, says onnx ({line(e)}); export it again"
                       ) from None


def _lists(graph: onnx.GraphProto) -> tuple[int, bool]:
    """Numbers of the longest list of a graph and of those in it; whether a shape is not known."""
    longest = max((math.prod(t.dims) for t in graph.initializer if len(t.dims) == 1), default=0)
    known = {""}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shape = value.type.tensor_type.shape
        if value.type.tensor_type.HasField("shape") and (
                all(d.HasField("dim_value") for d in shape.dim)):
            known.add(value.name)
            longest = max(longest, shape.dim[0].dim_value if len(shape.dim) == 1 else 0)
    unknown = any(o not in known for n in graph.node for o in n.output)
    for inner in (g for n in graph.node for a in n.attribute for g in (a.g, *a.graphs)):
        found = _lists(inner)
        longest, unknown = max(longest, found[0]), unknown or found[1]
    return longest, unknown


def check_constants(model: onnx.ModelProto) -> dict[str, Array]:
    """Refuse a model whose constants are too much, before they are computed.

    ``model`` has the shapes that are known. Returns the constants, computed and held.
    """
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in (*model.graph.value_info, *model.graph.input)
              if all(d.dim_value for d in v.type.tensor_type.shape.dim)}
    held = {t.name: array(t) for t in model.graph.initializer}
    budget = Budget(sum(a.nbytes for a in held.values()), version_of(model))
    _walk(model.graph, held, shapes, budget)
    return held


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
