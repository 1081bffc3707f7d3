"""Nodes and constants of an ONNX file, and single nodes run by onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from falconet.isa import FalconetError
from falconet.isa.errors import shown

__all__ = ["OnnxNode", "array", "evaluate", "line", "onnx_node", "version_of"]

Array = NDArray[Any]


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


def onnx_node(p: onnx.NodeProto) -> OnnxNode:
    label = p.name or f"{p.op_type}:{p.output[0]}"
    attrs = {a.name: helper.get_attribute_value(a) for a in p.attribute}
    attrs = {k: v.decode() if isinstance(v, bytes) else v for k, v in attrs.items()}
    return OnnxNode(p.op_type, label, list(p.input), list(p.output), attrs, p)


def array(t: onnx.TensorProto) -> Array:
    try:
        return numpy_helper.to_array(t)
    except Exception as e:  # whatever onnx and numpy raise
        raise FalconetError(f"constant {shown(t.name)}: unreadable ({line(e)}); export the "
                            "network again") from None


def line(e: Exception) -> str:
    text = "".join(c if c.isprintable() else " " for c in str(e))
    return " ".join(text.split())[:200]


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
        node.refuse(f"onnxruntime cannot evaluate it ({line(e)}); simplify the model")


def version_of(model: onnx.ModelProto) -> int:
    """The opset of the standard operators; 0 if none is named."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
