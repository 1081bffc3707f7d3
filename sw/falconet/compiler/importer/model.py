"""Reading ONNX: checks, static shapes, constants, and single nodes run by onnxruntime."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from falconet.compiler.importer.cut import cut
from falconet.compiler.importer.opset import normalise, version_of
from falconet.isa import FalconetError
from falconet.isa.checks import read_json
from falconet.isa.errors import shown
from falconet.isa.heads import parse

__all__ = ["Model", "OnnxNode", "describe_heads", "evaluate", "load", "read"]

Array = NDArray[Any]
_MIN_OPSET = 13


@dataclass(frozen=True)
class OnnxNode:
    """A node with its attributes as Python values and a name that is never empty."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any]
    proto: onnx.NodeProto

    def refuse(self, why: str) -> NoReturn:
        """Raise the one-sentence error of this node; ``why`` says what to do."""
        raise FalconetError(f"node '{self.name}' ({self.op}): {why}")


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
    head = parse(_meta(model).get("postprocess"))
    if head is not None:
        model = cut(model, head.tensors())
    try:
        onnx.checker.check_model(model)
    except Exception as e:
        raise FalconetError(f"{where}: not a valid ONNX model ({_line(e)}); export it again"
                            ) from None
    model = normalise(model, _MIN_OPSET)
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True), name
    except Exception as e:
        raise FalconetError(f"{where}: its shapes do not fit together, says onnx ({_line(e)}); "
                            "export it again") from None


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
        raise FalconetError(f"{where}: not an ONNX file ({_line(e)}); export the network again"
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


def _line(e: Exception) -> str:
    text = "".join(c if c.isprintable() else " " for c in str(e))
    return " ".join(text.split())[:200]


def read(source: str | Path | onnx.ModelProto) -> Model:
    """Everything the importer needs of a model.

    Raises
    ------
    FalconetError
        for what is no valid ONNX, for a batch other than 1 and for dynamic sizes.
    """
    proto, name = load(source)
    graph = proto.graph
    constants = {t.name: _array(t) for t in graph.initializer}
    nodes = []
    for p in graph.node:
        label = p.name or f"{p.op_type}:{p.output[0]}"
        attrs = {a.name: helper.get_attribute_value(a) for a in p.attribute}
        attrs = {k: v.decode() if isinstance(v, bytes) else v for k, v in attrs.items()}
        if p.domain not in ("", "ai.onnx", "com.microsoft"):
            raise FalconetError(f"node '{label}' ({p.op_type}): operators of domain '{p.domain}' "
                                "are unknown; export standard ONNX (QDQ format)")
        nodes.append(OnnxNode(p.op_type, label, list(p.input), list(p.output), attrs, p))
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
    return Model(name, nodes, constants, shapes, types, inputs,
                 [v.name for v in graph.output], version_of(proto), _meta(proto))


def _array(t: onnx.TensorProto) -> Array:
    try:
        return numpy_helper.to_array(t)
    except Exception as e:  # whatever onnx and numpy raise
        raise FalconetError(f"constant {shown(t.name)}: unreadable ({_line(e)}); export the "
                            "network again") from None


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


def evaluate(node: OnnxNode, inputs: list[Array | None], opset: int) -> list[Array]:
    """What onnxruntime makes of constant inputs."""
    import onnxruntime as ort

    given = {n: np.asarray(a) for n, a in zip(node.inputs, inputs) if a is not None}
    graph = helper.make_graph(
        [node.proto], "one",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
         for n, a in given.items()],
        [helper.make_value_info(n, onnx.TypeProto()) for n in node.outputs if n],
    )
    model = helper.make_model(graph, opset_imports=[
        helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1),
    ], ir_version=10)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(model.SerializeToString(), options,
                                       providers=["CPUExecutionProvider"])
        return list(session.run(None, given))
    except Exception as e:
        node.refuse(f"onnxruntime cannot evaluate it ({_line(e)}); simplify the model")


