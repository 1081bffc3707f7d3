"""Reading ONNX: checks, static shapes, constants."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper

from falconet.compiler.importer.onnx.cut import cut
from falconet.compiler.importer.onnx.limits import check_nodes, check_shape
from falconet.compiler.importer.onnx.nodes import OnnxNode, array, line, onnx_node, version_of
from falconet.compiler.importer.onnx.opset import normalise
from falconet.compiler.importer.onnx.shapes import NoShapes, infer
from falconet.isa import FalconetError
from falconet.isa.checks import read_json
from falconet.isa.metadata.head import parse

__all__ = ["Model", "describe_heads", "load", "read"]

Array = NDArray[Any]
_MIN_OPSET = 13


@dataclass
class Model:
    """A checked model: nodes in order, initialisers, static shapes and types of all values."""

    name: str
    nodes: list[OnnxNode]
    constants: dict[str, Array]
    shapes: dict[str, list[int]]
    types: dict[str, int]
    inputs: list[str]
    outputs: list[str]
    opset: int
    meta: dict[str, Any]

    def shape(self, value: str, node: OnnxNode) -> list[int]:
        try:
            return self.shapes[value]
        except KeyError:
            node.refuse(f"the shape of '{value}' is not static; export with fixed sizes, batch 1")


def load(source: str | Path | onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """The model with inferred shapes, opset 13 or newer, and its name.

    It ends at the detection head that its metadata describes, if they do.
    """
    model, name, where = _open(source)
    check_nodes(model, where)
    head = parse(_meta(model).get("postprocess"))
    try:
        if head is not None:
            model = cut(model, head.tensors())
        _checked(model, where)
        return infer(normalise(model, _MIN_OPSET), strict=True), name
    except NoShapes as e:
        raise FalconetError(f"{where}: {e}") from None


def _checked(model: onnx.ModelProto, where: str) -> None:
    try:
        onnx.checker.check_model(model)
    except Exception as e:  # onnx raises classes of its own
        raise FalconetError(f"{where}: not a valid ONNX model ({line(e)}); export it again"
                            ) from None


def _open(source: str | Path | onnx.ModelProto) -> tuple[onnx.ModelProto, str, str]:
    """The model as it is, its name, and what to call it in a message."""
    if isinstance(source, onnx.ModelProto):
        return source, source.graph.name or "network", "model"
    where = str(source)
    try:
        return onnx.load(where), Path(source).stem, where
    except OSError as e:
        raise FalconetError(f"{where}: {e.strerror or e}; give the path of an ONNX file") from None
    except Exception as e:
        raise FalconetError(f"{where}: not an ONNX file ({line(e)}); export the network again"
                            ) from None


def describe_heads(source: str | Path | onnx.ModelProto, heads: dict[str, Any]) -> onnx.ModelProto:
    """The model with ``heads`` in place of its own description of a detection head."""
    if parse(heads) is None:
        raise FalconetError("heads: kind must be 'detection'; see falconet_models.metadata")
    model, name, _ = _open(source)
    fresh = onnx.ModelProto()
    fresh.CopyFrom(model)
    fresh.graph.name = name
    props = {p.key: p.value for p in fresh.metadata_props}
    props["falconet"] = json.dumps({**_meta(model), "postprocess": heads})
    helper.set_model_props(fresh, props)
    return fresh


def read(source: str | Path | onnx.ModelProto) -> Model:
    """Everything the importer needs of a model.

    Raises
    ------
    FalconetError
        for what is no valid ONNX, for a batch other than 1 and for dynamic sizes.
    """
    proto, name = load(source)
    graph = proto.graph
    constants = {t.name: array(t) for t in graph.initializer}
    nodes = []
    for p in graph.node:
        nodes.append(onnx_node(p))
        if p.domain not in ("", "ai.onnx", "com.microsoft"):
            nodes[-1].refuse(f"operators of domain '{p.domain}' are unknown; export standard ONNX "
                             "(QDQ format)")
    shapes, types = {}, {}
    for v in (*graph.value_info, *graph.input, *graph.output):
        t = v.type.tensor_type
        types[v.name] = t.elem_type
        if t.HasField("shape") and all(d.HasField("dim_value") for d in t.shape.dim):
            shapes[v.name] = [d.dim_value for d in t.shape.dim]
    inputs = [v.name for v in graph.input if v.name not in constants]
    for i in inputs:
        if i not in shapes or len(shapes[i]) not in (2, 4) or shapes[i][0] != 1:
            raise FalconetError(
                f"input '{i}': the shape must be fixed, [1, C, H, W], batch 1; export the network "
                "with a fixed input size"
            )
    for value, shape in shapes.items():
        if shape[:1] == [1]:
            check_shape(f"input '{value}'" if value in inputs else f"value '{value}'", shape)
    return Model(name, nodes, constants, shapes, types, inputs,
                 [v.name for v in graph.output], version_of(proto), _meta(proto))


def _meta(proto: onnx.ModelProto) -> dict[str, Any]:
    for p in proto.metadata_props:
        if p.key == "falconet":
            try:
                meta = read_json(p.value)
                if isinstance(meta, dict):
                    return meta
            except ValueError:
                pass
            raise FalconetError("metadata 'falconet': not a JSON object; write one or remove it")
    return {}
