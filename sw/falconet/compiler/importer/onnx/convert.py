"""ONNX with quantisation (QDQ of onnxruntime, QCDQ of Brevitas) to the integer graph.

Every QuantizeLinear becomes one node: what was computed since the last DequantizeLinear, and the
output stage that stores it. Nothing is approximated but the multiplier (docs/arithmetic.md); what
the machine cannot do exactly is refused with the ONNX node's name and a way out.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx

from falconet.compiler.findings import Findings
from falconet.compiler.graph import Graph
from falconet.compiler.importer import store
from falconet.compiler.importer.build import Builder
from falconet.compiler.importer.expr import (
    Expr,
    Input,
    IntInput,
    Quantised,
    Real,
    Unknown,
    Value,
    View,
    Weight,
)
from falconet.compiler.importer.onnx import handlers
from falconet.compiler.importer.onnx.context import HANDLERS, QUANTISE, Context, chw
from falconet.compiler.importer.onnx.model import Model, read
from falconet.compiler.importer.onnx.nodes import OnnxNode
from falconet.compiler.importer.onnx.roles import Role, having
from falconet.compiler.importer.stage import Stage
from falconet.compiler.nodes import weighted
from falconet.compiler.passes.verify import verify
from falconet.isa import Arch, FalconetError, preset

__all__ = ["import_onnx", "import_structure", "import_with_sources"]

_PACKAGES = (handlers, store)  # they fill HANDLERS and STORES
_CONSTANTS_TOO = having(Role.QUANTISE, Role.VIEW)
_POINTWISE = having(Role.CLAMP, Role.FUNCTION)
"""Operators that see one value at a time, in whatever order."""


def import_onnx(source: str | Path | onnx.ModelProto, *, arch: Arch | None = None) -> Graph:
    """The integer graph of a quantised ONNX file or model.

    Inputs and outputs of the graph bear the names of the ONNX inputs and outputs. A JSON object in
    the model's metadata under ``falconet`` becomes ``graph.meta``.

    Parameters
    ----------
    arch:
        Gives the widths of accumulator and multiplier; preset pynq-z2 if absent.

    Raises
    ------
    FalconetError
        naming the ONNX node, for what is not quantised or not supported; all such nodes, a line
        each, if there are several.
    """
    return import_with_sources(source, arch=arch)[0]


def import_with_sources(
    source: str | Path | onnx.ModelProto, *, arch: Arch | None = None
) -> tuple[Graph, dict[str, str]]:
    """The graph, and for its tensors the int8 or uint8 ONNX value that each one equals."""
    model = read(source)
    builder = Builder(model.name, arch or preset("pynq-z2"))
    outputs = _build(model, builder)
    sources = dict(builder.sources)
    _name_outputs(builder, outputs, sources)
    return builder.graph, sources


def import_structure(source: str | Path | onnx.ModelProto, *, arch: Arch | None = None) -> Graph:
    """The graph of a QDQ model whose scales mean nothing yet: of its numbers only shapes count.

    Raises
    ------
    FalconetError
        for what :func:`import_onnx` and the verifier refuse whatever the scales are.
    """
    model, arch = read(source), arch or preset("pynq-z2")
    builder = Builder(model.name, arch, structure=True)
    _name_outputs(builder, _build(model, builder), {})
    return verify(builder.graph, arch)


def _build(model: Model, builder: Builder) -> dict[str, str]:
    """Grow the graph; the tensors of the ONNX outputs."""
    ctx = Context(model, builder)
    findings = Findings()
    ctx.values.update(model.constants)
    for name in model.inputs:
        with findings.collected():
            ctx.values[name] = _input(model, name)
    findings.check()
    for node in model.nodes:
        args = [ctx.values[i] if i else None for i in node.inputs]
        found = _unknown(ctx, node)
        if not any(isinstance(a, Unknown) for a in args) or _passes(node, args[0]):
            with findings.collected():
                found = _visit(ctx, node, args)
        ctx.values.update(zip(node.outputs, found))
    builder.graph.meta = model.meta
    outputs = {}
    for name in model.outputs:
        if not isinstance(ctx.values.get(name), Unknown):
            with findings.collected():
                outputs[name] = _stored(ctx, name)
    findings.check()
    for name in model.inputs:
        if name not in builder.graph.tensors:
            raise FalconetError(f"input '{name}': nothing quantises it; {QUANTISE}")
    return outputs


def _unknown(ctx: Context, node: OnnxNode) -> list[Value]:
    """What stands for the results of a node that is refused, or behind one."""
    return [Unknown(node.name, chw(ctx.model.shapes.get(o, [])) or (0, 0, 0))
            for o in node.outputs]


def _passes(node: OnnxNode, x: Value | None) -> bool:
    """Whether the node stores, or reads as stored, a value of known shape."""
    return node.op == "QuantizeLinear" and isinstance(x, Unknown) and all(x.shape)


def _input(model: Model, name: str) -> Value:
    shape = chw(model.shapes[name])
    assert shape is not None
    kind = model.types[name]
    if kind == onnx.TensorProto.FLOAT:
        return Input(name, shape, name)
    if kind in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8):
        return IntInput(name, shape, kind == onnx.TensorProto.UINT8)
    raise FalconetError(f"input '{name}': its type must be float, int8 or uint8; export it so")


def _visit(ctx: Context, node: OnnxNode, args: list[Value | None]) -> list[Value]:
    """The values of a node's outputs."""
    constant = all(a is None or isinstance(a, np.ndarray | Weight) for a in args)
    if constant and not (node.op in _CONSTANTS_TOO and any(isinstance(a, Weight) for a in args)):
        if node.op not in ("QuantizeLinear", "DequantizeLinear"):
            return list(ctx.fold(node, [ctx.maybe_constant(a) for a in args]))
    if node.op == "Shape":
        return [np.array(ctx.model.shape(node.inputs[0], node), np.int64)[
            node.attrs.get("start", 0):node.attrs.get("end")]]
    handler = HANDLERS.get(node.op)
    if handler is None:
        node.refuse("this operator is not supported; replace it, or end the network before it and "
                    "compute it afterwards (a detector ends at its heads: describe them, --heads)")
    view = args[0] if args else None
    constants = [ctx.maybe_constant(a) for a in args[1:] if a is not None]
    if isinstance(view, View) and node.op in _POINTWISE and all(
            c is not None and c.size == 1 for c in constants):
        inner = handler(ctx, node, [view.inner, *args[1:]])
        assert isinstance(inner, Expr)
        return [dataclasses.replace(view, inner=inner)]
    found = handler(ctx, node, args)
    return found if isinstance(found, list) else [found]


def _stored(ctx: Context, name: str) -> str:
    """The tensor that holds ONNX output ``name``."""
    value = ctx.values.get(name)
    if isinstance(value, View) and isinstance(value.inner, Real):
        t = ctx.builder.tensor(value.inner)
        tensor = ctx.builder.quantise(value, Stage(t.scale, t.zero_point), name)
        if value.stored:
            ctx.builder.sources.setdefault(tensor, value.stored)
        return tensor
    if isinstance(value, Quantised):
        value = ctx.builder.real_of(value, name)
    if isinstance(value, Real):
        return value.tensor
    why = (f"node '{value.node}' has no QuantizeLinear after it" if isinstance(value, Expr)
           else "it is not computed from the input")
    raise FalconetError(f"output '{name}': {why}; {QUANTISE}")


def _name_outputs(builder: Builder, outputs: dict[str, str], sources: dict[str, str]) -> None:
    """Give the outputs' tensors the names of the ONNX outputs; copy one that has a role already."""
    graph = builder.graph
    renamed: dict[str, str] = {}
    for name, tensor in outputs.items():
        old = renamed.get(tensor, tensor)
        if old in graph.inputs or old in graph.outputs:
            graph.nodes.append(weighted(builder.node_name(f"{name}/copy"), [old], name,
                                        graph.tensors[old].shape[0], builder.arch))
            graph.tensors[name] = dataclasses.replace(graph.tensors[old], name=name)
            if old in sources:
                sources[name] = sources[old]
        else:
            renamed[tensor] = name
            graph.tensors[name] = dataclasses.replace(graph.tensors.pop(old), name=name)
            for node in graph.nodes:
                node.inputs = [name if i == old else i for i in node.inputs]
                node.output = name if node.output == old else node.output
            if old in sources:
                sources[name] = sources.pop(old)
        graph.outputs.append(name)
