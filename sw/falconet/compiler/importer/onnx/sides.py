"""Sides of fewer than no pixels, found before onnx meets them."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from falconet.compiler.importer.onnx.nodes import onnx_node
from falconet.isa import FalconetError

__all__ = ["check_sides"]


def check_sides(model: onnx.ModelProto, *, known: bool) -> None:
    """Refuse a model with a negative side, of a window larger than what it slides over.

    onnx takes that for a shape and ends the process at a Slice of it (its issue 8481). So the
    shapes are inferred without any Slice, then with those whose inputs are now known, until all
    are there. ``known``: as in the inference that follows, onnx follows the numbers in lists.

    Raises
    ------
    FalconetError
        naming the first node, or input, with such a side.
    """
    probe = _light(model)
    places = [(g, list(g.node)) for g in _graphs(probe.graph)]
    hidden = [n.output[0] for _, nodes in places for n in nodes
              if n.op_type == "Slice" and n.output]
    while hidden:
        for graph, nodes in places:
            del graph.node[:]
            graph.node.extend(n for n in nodes if not set(hidden).intersection(n.output))
        inferred = onnx.shape_inference.infer_shapes(probe, data_prop=known)
        shapes = {v.name: v.type.tensor_type.shape for g in _graphs(inferred.graph)
                  for v in (*g.input, *g.value_info, *g.output)
                  if v.type.tensor_type.HasField("shape")}
        _check(model.graph, {name: [d.dim_value for d in s.dim] for name, s in shapes.items()})
        static = {n for n, s in shapes.items() if all(d.HasField("dim_value") for d in s.dim)}
        ready = {o for _, nodes in places for n in nodes for o in n.output
                 if o in hidden and n.input and n.input[0] in static}
        hidden = [o for o in hidden if o not in (ready or hidden[:1])]


def _check(graph: onnx.GraphProto, shapes: dict[str, list[int]]) -> None:
    for value in graph.input:
        if min(shapes.get(value.name, ()), default=0) < 0:
            raise FalconetError(f"input '{value.name}': its shape is {shapes[value.name]}; export "
                                "with fixed sizes, batch 1")
    for node in (n for g in _graphs(graph) for n in g.node):
        for name in node.output:
            if min(shapes.get(name, ()), default=0) < 0:
                onnx_node(node).refuse(f"its output would be of shape {shapes[name]}: its "
                                       "window, or what it cuts off, is larger than its input; "
                                       "export the network for a larger input")


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for inner in (g for n in graph.node for a in n.attribute for g in (a.g, *a.graphs)):
        if inner.node:
            yield from _graphs(inner)


def _light(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the numbers of its weights: lists, which may be shapes, keep theirs."""
    probe = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import,
                            functions=model.functions)
    graph, inputs = model.graph, {v.name for v in model.graph.input}
    probe.graph.name = graph.name
    for field in ("node", "input", "output", "value_info"):
        getattr(probe.graph, field).extend(getattr(graph, field))
    for tensor in graph.initializer:
        if len(tensor.dims) < 2:
            probe.graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            probe.graph.input.append(onnx.helper.make_tensor_value_info(
                tensor.name, tensor.data_type, list(tensor.dims)))
    return probe
