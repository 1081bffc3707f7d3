"""Where a network is quantised: which of its values are stored, and which of them share a scale.

What an operator is for that its handler in the importer says (``importer.onnx.roles``), so that
what can be imported can be quantised. One tensor is quantised for every value that the machine
stores, none in between. In particular

* what computes (a convolution, a sum, a pool) and a Relu, Clip, LeakyRelu or PRelu directly behind
  it are one step;
* operators that make one function of one tensor of several (x * sigmoid(x), GELU by Erf) are one
  step, a table;
* inputs and outputs of operators that only move values (Concat, Resize, MaxPool, Reshape ...)
  share one scale and zero point.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from falconet.compiler.findings import Findings
from falconet.compiler.importer.onnx import handlers
from falconet.compiler.importer.onnx.opset import label
from falconet.compiler.importer.onnx.roles import Role, having
from falconet.isa import FalconetError

__all__ = ["CLAMPS", "Plan", "attribute", "make_plan"]

_ROOM = handlers  # which says the roles
_WEIGHTED = having(Role.WEIGHTED)
CLAMPS = having(Role.CLAMP)
_MOVES = having(Role.MOVE, Role.VIEW)
_BEFORE_CLAMPS = having(Role.WEIGHTED, Role.LAYER, Role.COMBINATION)
_ONE_FUNCTION = having(Role.CLAMP, Role.FUNCTION, Role.COMBINATION)


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


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute's value, or ``default``."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _data_inputs(node: onnx.NodeProto, constants: Container[str]) -> list[str]:
    """The inputs that hold activations."""
    return [i for i in node.input if i and i not in constants]


def _constant_weights(node: onnx.NodeProto, constants: Container[str]) -> bool:
    return node.op_type in _WEIGHTED and all(i in constants for i in node.input[1:] if i)


def _check(node: onnx.NodeProto) -> None:
    if node.op_type == "Gemm" and (
        attribute(node, "alpha", 1.0) != 1 or attribute(node, "beta", 1.0) != 1
        or attribute(node, "transA", 0)
    ):
        raise FalconetError(f"{label(node)}: alpha, beta or transA is set; export a plain Linear")


def make_plan(model: onnx.ModelProto) -> Plan:
    """Decide what is quantised in a float model (of ``prepare.load_float``).

    Raises
    ------
    FalconetError
        Names the nodes that cannot be quantised. What ``compile`` refuses is told by
        ``convert.import_structure`` of the QDQ model.
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
    functions, tables = _functions(graph, constants, readers)

    def inside(node: onnx.NodeProto) -> bool:
        """Whether the node's result exists only on the way to the next node's."""
        users = readers.get(node.output[0], [])
        if node.output[0] in functions:
            return True
        if len(users) != 1 or node.output[0] in results:
            return False
        return (node.op_type in _BEFORE_CLAMPS and users[0].op_type in CLAMPS
                and not _falling(users[0], constants)
                and not (node.output[0] in tables and _many_slopes(users[0], constants)))

    plan = Plan()
    for entry in graph.input:
        plan.group[entry.name] = entry.name
    for node in graph.node:
        if _constant_weights(node, constants):
            plan.weighted.append(node)
        data = _data_inputs(node, constants)
        if not data or inside(node):
            continue
        made = [o for o in node.output if o and types.get(o, TensorProto.FLOAT)
                == TensorProto.FLOAT]
        plan.group.update(zip(made, made))
        if node.op_type in _MOVES:
            _join(plan.group, [i for i in (*data, *made) if i in plan.group])
    return plan


def _falling(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a slope is below 0, which takes a stored input."""
    if node.op_type == "PRelu" and node.input[1] in constants:
        return bool(np.any(numpy_helper.to_array(constants[node.input[1]]) < 0))
    return bool(attribute(node, "alpha", 0.0) < 0)


def _many_slopes(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether there is a slope a channel, which no table has."""
    return node.op_type == "PRelu" and any(
        np.prod(constants[i].dims) > 1 for i in node.input[1:] if i in constants)


def _functions(
    graph: onnx.GraphProto, constants: Mapping[str, onnx.TensorProto],
    readers: Mapping[str, list[onnx.NodeProto]],
) -> tuple[set[str], set[str]]:
    """Results that exist only inside a function of one tensor, which becomes one table; and the
    results of tables.

    Such a function combines what operators with scalar constants compute from a common tensor, or
    goes on with the result of another. A clamp alone is none: it is a part of what is before it.
    """
    results = {o.name for o in graph.output}
    makers: dict[str, list[str]] = {}  # result -> the activations that it is computed from
    roots: dict[str, list[str]] = {}  # result -> itself and what it is a function of, nearest first
    inner: set[str] = set()
    tables: set[str] = set()
    for node in graph.node:
        data, out = _data_inputs(node, constants), node.output[0]
        if node.op_type not in _ONE_FUNCTION or not data or any(
                np.prod(constants[i].dims) != 1 for i in node.input if i in constants):
            continue
        chains = [roots.get(i, [i]) for i in data]
        common = next((r for r in chains[0] if all(r in c for c in chains)), None)
        if common is None:
            continue
        makers[out] = data
        roots[out] = [out, *chains[0][chains[0].index(common):]]
        if len(data) > 1:
            part = _between(makers, data, common)
        else:
            part = {data[0]} & tables
        users = {u.output[0] for i in part for u in readers[i]}
        together = not part & results and users <= part | {out}
        if together:
            inner |= part
        if node.op_type not in CLAMPS or (part and together):
            tables.add(out)
    return inner, tables


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
