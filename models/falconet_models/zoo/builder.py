"""A small builder of ONNX graphs in the form that Falconet's models share."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from falconet.isa import FalconetError

__all__ = ["GraphBuilder", "check_size"]

OPSET = 17
IR_VERSION = 8


def check_size(model: str, **sizes: int) -> None:
    """Refuse an input extent that is not a positive multiple of 32."""
    for name, value in sizes.items():
        if not isinstance(value, int) or value <= 0 or value % 32:
            raise FalconetError(
                f"{model}: {name}={value} is impossible; use a positive multiple of 32"
            )


class GraphBuilder:
    """Appends nodes; each method returns the name of the tensor, which is the name of the node.

    Parameters
    ----------
    name:
        Name of the graph.
    input_shape:
        ``[1, C, H, W]`` of the only input, which is called ``input``.
    """

    def __init__(self, name: str, input_shape: tuple[int, int, int, int]) -> None:
        self.name = name
        self.input_shape = input_shape
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        return name

    def conv(
        self, name: str, x: str, weight: NDArray[Any], bias: NDArray[Any], *,
        stride: int = 1, groups: int = 1,
    ) -> str:
        """A convolution with a square kernel and as much padding as keeps the size."""
        k = weight.shape[2]
        return self.node(
            "Conv", name, x,
            self.constant(f"{name}.weight", weight.astype(np.float32)),
            self.constant(f"{name}.bias", bias.astype(np.float32)),
            kernel_shape=[k, k], strides=[stride] * 2, pads=[k // 2] * 4, dilations=[1, 1],
            group=groups,
        )

    def finish(self, outputs: list[str]) -> onnx.ModelProto:
        """The checked model with inferred shapes."""
        graph = helper.make_graph(
            self.nodes, self.name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, self.input_shape)],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
            self.initializers,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
            producer_name="falconet",
        )
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        onnx.checker.check_model(model)
        return model
