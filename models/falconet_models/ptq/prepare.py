"""A float ONNX model made ready for quantisation: read, checked, simplified, with shapes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

from falconet.compiler.findings import Findings
from falconet.compiler.importer.onnx.contrib import STANDARD, known_here
from falconet.compiler.importer.onnx.limits import check_nodes, check_shape
from falconet.compiler.importer.onnx.nodes import line
from falconet.compiler.importer.onnx.opset import label, normalise
from falconet.compiler.importer.onnx.shapes import NoShapes, check_constants, infer
from falconet.isa import FalconetError

__all__ = ["load_float", "read_model", "session"]

OPSET = 17
_QUANTISED = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger"}


def session(model: onnx.ModelProto, *, optimise: bool = True) -> ort.InferenceSession:
    """An onnxruntime session.

    With ``optimise=False`` every node is computed by itself in float: the literal reading of a
    QDQ model, which optimised integer kernels do not keep to.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = (
        level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    )
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def read_model(source: str | Path | onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """The model, a copy of one that is given, and what errors call it."""
    if isinstance(source, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(source)
        return model, f"model '{source.graph.name}'"
    try:
        model = onnx.load(str(source))
        onnx.checker.check_model(model)
    except OSError as e:
        raise FalconetError(
            f"{source}: {e.strerror or e}; give the path of an ONNX model"
        ) from None
    except Exception as e:  # protobuf and onnx raise classes of their own
        reason = str(e).strip().split("\n")[0] or type(e).__name__
        raise FalconetError(f"{source}: not an ONNX model ({reason}); export it again") from None
    return model, str(source)


def _check_nodes(model: onnx.ModelProto, name: str) -> None:
    """Every node is one of its operator's, and reads what is there already."""
    context = onnx.checker.C.CheckerContext()
    context.ir_version = model.ir_version
    context.opset_imports = {o.domain: o.version for o in model.opset_import}
    known = {"", *(i.name for i in (*model.graph.input, *model.graph.initializer)),
             *(i.values.name for i in model.graph.sparse_initializer)}
    for node in model.graph.node:
        try:
            onnx.checker.check_node(node, context)
        except Exception as e:  # onnx raises classes of its own
            raise FalconetError(f"{name}: {label(node)}: not a valid ONNX node ({line(e)}); export "
                                "it again") from None
        if missing := [i for i in node.input if i not in known]:
            raise FalconetError(f"{name}: {label(node)}: it reads '{missing[0]}' before it is "
                                "computed; export it again")
        known.update(node.output)
    for output in model.graph.output:
        if output.name not in known:
            raise FalconetError(f"{name}: nothing computes the output '{output.name}'; export it "
                                "again")


def _check(model: onnx.ModelProto, name: str) -> None:
    """One float image in, fixed extents (a symbolic batch becomes 1), nothing quantised."""
    check_nodes(model, name)
    _check_nodes(model, name)
    findings = Findings()
    for node in model.graph.node:
        if node.domain not in STANDARD and not known_here(node):
            with findings.collected():
                raise FalconetError(f"{label(node)}: it is of domain '{node.domain}'; export with "
                                    "standard operators alone")
    findings.check()
    for node in model.graph.node:
        if node.op_type in _QUANTISED:
            raise FalconetError(
                f"{name}: {label(node)}: the model is quantised already; compile it as it is, or "
                "give the float model"
            )
    constants = {i.name for i in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in constants]
    if len(inputs) != 1:
        raise FalconetError(f"{name}: {len(inputs)} inputs; give a model with one, an image")
    value = inputs[0].type.tensor_type
    if value.elem_type != TensorProto.FLOAT:
        raise FalconetError(f"{name}: input '{inputs[0].name}' is not float32; export it as float")
    dims = value.shape.dim
    if dims and not dims[0].dim_value:
        dims[0].dim_value = 1
        for output in model.graph.output:
            shape = output.type.tensor_type.shape.dim
            if shape and not shape[0].dim_value:
                shape[0].dim_value = 1
    shape = [d.dim_value or d.dim_param or "?" for d in dims]
    if len(dims) != 4 or not all(isinstance(d, int) for d in shape) or shape[0] != 1:
        raise FalconetError(
            f"{name}: input '{inputs[0].name}' has the shape {shape}; "
            "export it with the fixed shape 1 x C x H x W, or give it one with "
            "onnxruntime.tools.make_dynamic_shape_fixed"
        )
    check_shape(f"{name}: input '{inputs[0].name}'", shape)


def load_float(
    model: onnx.ModelProto, name: str | None = None, *, sides: bool = True
) -> onnx.ModelProto:
    """A copy of the model in opset 17 or newer: constants and batch norm folded, shapes inferred.

    Parameters
    ----------
    name:
        What errors call it.
    sides:
        Whether every activation must be one that a machine can hold: those of a detector's tail,
        rows of all its boxes, need not.

    Raises
    ------
    FalconetError
        If it is quantised already, or has other than one fixed-size input.
    """
    name = name or f"model '{model.graph.name}'"
    model, _ = read_model(model)
    _check(model, name)
    try:
        model = normalise(model, OPSET)
        check_constants(infer(model))
    except NoShapes as e:
        raise FalconetError(f"{name}: {e}") from None
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, "model.onnx"))
            options = ort.SessionOptions()
            options.log_severity_level = 3
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
            options.optimized_model_filepath = path
            ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            simple = onnx.load(path)
    except Exception as e:  # onnxruntime raises classes of its own
        reason = str(e).strip().split("\n")[0]
        raise FalconetError(f"{name}: onnxruntime refuses the model ({reason}); export it again"
                            ) from None
    try:
        simple = onnx.shape_inference.infer_shapes(simple, check_type=True, strict_mode=True)
    except Exception as e:
        reason = str(e).strip().split("\n")[0]
        raise FalconetError(f"{name}: its shapes do not fit together, says onnx ({reason}); "
                            "export it again") from None
    for value in (*simple.graph.value_info, *simple.graph.output):
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if dims[:1] == [1]:
            check_shape(f"{name}: value '{value.name}'", dims if sides else [int(np.prod(dims))])
    for i in reversed(range(len(simple.opset_import))):
        if simple.opset_import[i].domain not in ("", "ai.onnx"):
            del simple.opset_import[i]
    return simple
