"""End a network at its detection head: what the machine's detect engine replaces is cut off.

The head's tensors become outputs. One may be named by the value before its QuantizeLinear, behind
it or behind the DequantizeLinear; the output has the name given, and means the stored tensor.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from falconet.compiler.importer.onnx.shapes import infer
from falconet.isa.metadata.head import fault

__all__ = ["cut"]


def cut(model: onnx.ModelProto, heads: list[tuple[str, str]]) -> onnx.ModelProto:
    """The model with ``heads`` as outputs, without all that depends on them.

    Parameters
    ----------
    heads:
        Pairs of the description's field and the tensor's name.

    Other outputs stay if they do not depend on a head. Raises FalconetError naming the field whose
    tensor the model does not have.
    """
    made = {o for n in model.graph.node for o in n.output}
    outputs = [o.name for o in model.graph.output]
    for field, name in heads:
        if name not in made:
            fault(field, f"the network has no tensor '{name}'; its outputs are "
                         f"{', '.join(outputs)}")
    names = list(dict.fromkeys(name for _, name in heads))
    fresh = onnx.ModelProto()
    fresh.CopyFrom(model)
    for name in names:
        stored = _stored(fresh.graph, name)
        if stored != name:
            _exchange(fresh.graph, name, stored)
    inferred = infer(fresh).graph
    _end(fresh.graph, names, {v.name: v for v in inferred.value_info})
    return fresh


def _stored(graph: onnx.GraphProto, name: str) -> str:
    """The DequantizeLinear's output that means the same as ``name``, if there is one."""
    maker = {o: n.op_type for n in graph.node for o in n.output}
    value, steps = name, ["QuantizeLinear", "Clip", "DequantizeLinear"]
    if maker[name] == "DequantizeLinear":
        return name
    if maker[name] == "QuantizeLinear":
        steps = steps[1:]
    for step in steps:
        user = next((n for n in graph.node if n.op_type == step and n.input[0] == value), None)
        if user is not None:
            value = user.output[0]
        elif step != "Clip":
            return name
    return value


def _exchange(graph: onnx.GraphProto, name: str, stored: str) -> None:
    """Give the value ``stored`` the name ``name`` and the other way round."""
    other = {name: stored, stored: name}
    for node in graph.node:
        node.input[:] = [other.get(i, i) for i in node.input]
        node.output[:] = [other.get(o, o) for o in node.output]
    for infos in (graph.value_info, graph.output):
        for info in infos:
            info.name = other.get(info.name, info.name)


def _end(graph: onnx.GraphProto, heads: list[str], known: dict[str, onnx.ValueInfoProto]) -> None:
    """Make ``heads`` outputs; ``known`` describes the values."""
    behind = set(heads)
    for node in graph.node:
        if behind.intersection(node.input):
            behind.update(o for o in node.output if o not in heads)
    outputs = {o.name: o for o in graph.output}
    kept = [o for n, o in outputs.items() if n in heads or n not in behind]
    kept += [known.get(h) or helper.make_tensor_value_info(h, TensorProto.FLOAT, None)
             for h in heads if h not in outputs]
    used = {o.name for o in kept}
    nodes = []
    for node in reversed(graph.node):
        if used.intersection(node.output):
            used.update(node.input)
            nodes.append(node)
    values = [v for v in graph.value_info if v.name in used and v.name not in heads]
    end = onnx.GraphProto(output=kept, node=reversed(nodes), value_info=values)
    for field in ("output", "node", "value_info"):
        graph.ClearField(field)
    graph.MergeFrom(end)
