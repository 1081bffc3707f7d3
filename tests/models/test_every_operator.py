"""What the page of operators says of ONNX is so from a float file on: `quantize`, `compile`, and no
layer differs from onnxruntime by more than 1 LSB."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx_nets import Net, agree

from falconet.compiler import compile_model
from falconet.compiler.importer.onnx.context import HANDLERS
from falconet.compiler.importer.onnx.roles import Role, having
from falconet.isa import preset
from falconet.isa.graph.ops import OPERATORS
from falconet.isa.graph.page import NO_NODE
from falconet_models.ptq.quantize import quantize

F = np.float32
Body = Callable[[Net, str], str]


def constant(*values: float) -> np.ndarray:
    return np.array(values if len(values) > 1 else values[0], F)


def channels(n: Net, low: float, high: float, rank: int = 3) -> np.ndarray:
    return n.random.uniform(low, high, (16, *[1] * (rank - 1))).astype(F)


def unary(op: str, opset: int = 17, least: float | None = None, **attrs: object
          ) -> tuple[int, Body]:
    """The operator behind a convolution, or behind a limit that it needs."""
    def body(n: Net, x: str) -> str:
        x = x if least is None else n.op("Clip", x, constant(least), constant(9))
        return str(n.op(op, x, **attrs))
    return opset, body


def both(op: str) -> tuple[int, Body]:
    """Of two tensors."""
    return 17, lambda n, x: str(n.op(op, x, n.op("Relu", x)))


def flat(op: str) -> tuple[int, Body]:
    """A matrix product of the whole image, and what it takes to make an image of it again."""
    def body(n: Net, x: str) -> str:
        rows = n.op("Reshape", n.op("MaxPool", x, kernel_shape=[8, 8], strides=[8, 8]),
                    np.array([1, 64]))
        w = n.random.normal(0, 0.2, (64, 16)).astype(F)
        return str(n.op("Reshape", n.op(op, rows, w), np.array([1, 16, 1, 1])))
    return 17, body


def per_channel(op: str, low: float, high: float) -> tuple[int, Body]:
    return 17, lambda n, x: str(n.op(op, n.op("Relu", x), channels(n, low, high)))


def view(op: str, **attrs: int) -> tuple[int, Body]:
    """Of a pixel: there and back."""
    def body(n: Net, x: str) -> str:
        y = n.op("MaxPool", x, kernel_shape=[16, 16])
        sides = [np.array([2, 3])] if "eeze" in op else []
        y = n.op("Squeeze", y, np.array([2, 3])) if op == "Unsqueeze" else y
        y = n.op(op, y, *sides, **attrs)
        return y if op == "Unsqueeze" else str(n.op("Reshape", y, np.array([1, 16, 1, 1])))
    return 17, body


def batch_norm(n: Net, x: str) -> str:
    parts = [n.random.uniform(0.5, 2, 16).astype(F) for _ in range(4)]
    return str(n.op("BatchNormalization", n.op("Relu", x), *parts))


def split(n: Net, x: str) -> str:
    a, b = n.op("Split", x, np.array([5, 11]), outputs=2, axis=1)
    return str(n.op("Concat", b, a, axis=1))


TAKEN: dict[str, tuple[int, Body]] = {
    "Conv": (17, lambda n, x: n.op("Conv", x, n.random.normal(0, 0.1, (16, 8, 3, 3)).astype(F),
                                   group=2, pads=[1, 1, 1, 1])),
    "Gemm": flat("Gemm"), "MatMul": flat("MatMul"),
    "AveragePool": unary("AveragePool", kernel_shape=[3, 3], strides=[2, 2]),
    "GlobalAveragePool": unary("GlobalAveragePool"), "ReduceMean": unary("ReduceMean", axes=[2, 3]),
    "ConvTranspose": (17, lambda n, x: n.op(
        "ConvTranspose", x, n.random.normal(0, 0.2, (16, 8, 2, 2)).astype(F), strides=[2, 2])),
    "GlobalMaxPool": unary("GlobalMaxPool"), "ReduceMax": unary("ReduceMax", axes=[1]),
    "Pad": (17, lambda n, x: n.op("Pad", x, np.array([0, 0, 1, 2, 0, 0, 0, 3]))),
    "BatchNormalization": (17, batch_norm),
    "Add": both("Add"), "Sub": both("Sub"), "Mul": per_channel("Mul", -1, 2),
    "Div": per_channel("Div", 0.5, 2),
    "Relu": unary("Relu"), "Clip": (17, lambda n, x: n.op("Clip", x, constant(-1), constant(2))),
    "LeakyRelu": unary("LeakyRelu", alpha=0.2),
    "PRelu": (17, lambda n, x: n.op("PRelu", x, channels(n, -0.5, 0.5))),
    "Log": unary("Log", least=0.1), "Sqrt": unary("Sqrt", least=0.0),
    "Reciprocal": unary("Reciprocal", least=0.25),
    "Pow": (17, lambda n, x: n.op("Pow", x, constant(2))),
    "Min": (17, lambda n, x: n.op("Min", x, constant(0.5))),
    "Max": (17, lambda n, x: n.op("Max", x, constant(-0.5))),
    "Celu": unary("Celu", alpha=0.5), "Selu": unary("Selu"), "Elu": unary("Elu"),
    "Gelu": unary("Gelu", 20), "Mish": unary("Mish", 18), "Swish": unary("Swish", 24),
    "HardSwish": unary("HardSwish"), "HardSigmoid": unary("HardSigmoid"),
    "ThresholdedRelu": unary("ThresholdedRelu", alpha=0.5),
    "QuickGelu": unary("QuickGelu", domain="com.microsoft"),
    **{op: unary(op) for op in ("Sigmoid", "Tanh", "Softplus", "Softsign", "Erf", "Exp", "Abs",
                                "Neg", "Sin", "Cos", "Atan", "Sign", "Floor", "Ceil", "Round")},
    "MaxPool": unary("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "Concat": (17, lambda n, x: n.op("Concat", x, n.op("Relu", x), axis=1)),
    "Slice": (17, lambda n, x: n.op("Slice", x, np.array([3]), np.array([9]), np.array([1]))),
    "Split": (17, split),
    "Resize": (17, lambda n, x: n.op("Resize", x, None, constant(1, 1, 2, 2), mode="nearest",
                                     coordinate_transformation_mode="asymmetric",
                                     nearest_mode="floor")),
    "Upsample": (9, lambda n, x: n.op("Upsample", x, constant(1, 1, 2, 2), mode="nearest")),
    "Identity": unary("Identity"), "Dropout": unary("Dropout"),
    "Flatten": view("Flatten"), "Squeeze": view("Squeeze"), "Unsqueeze": view("Unsqueeze"),
    "Reshape": flat("MatMul"), "Transpose": view("Transpose", perm=[0, 2, 3, 1]),
    "Gather": (17, lambda n, x: n.op("Gather", x, np.array([7, 0, 15, 7]), axis=1)),
    "Tile": (17, lambda n, x: n.op("Tile", x, np.array([1, 1, 2, 1]))),
    "Expand": (17, lambda n, x: n.op("Expand", n.op("GlobalAveragePool", x),
                                     np.array([1, 16, 5, 4]))),
    "DepthToSpace": unary("DepthToSpace", blocksize=2, mode="CRD"),
    "SpaceToDepth": unary("SpaceToDepth", blocksize=2),
}
"""Opset and what is put between two convolutions, by operator."""


def network(op: str) -> onnx.ModelProto:
    """Convolution, the operator, convolution, in float."""
    opset, body = TAKEN[op]
    n = Net((1, 3, 16, 16), opset=opset)
    w = [n.random.normal(0, 0.25, s).astype(F) for s in ((16, 3, 3, 3), (16,))]
    x = body(n, n.op("Conv", "x", *w, pads=[1, 1, 1, 1]))
    assert op in {node.op_type for node in n.nodes}
    shape = n.model(x).graph.output[0].type.tensor_type.shape.dim
    width = shape[1].dim_value if len(shape) == 4 else 16
    last = n.op("Conv", x, n.random.normal(0, 0.25, (8, width, 1, 1)).astype(F))
    return n.model(last)


def test_every_operator_of_the_page_is_tried() -> None:
    said = {name for kind in OPERATORS.values() for name in kind.onnx} | set(NO_NODE)
    assert set(TAKEN) == said - having(Role.QUANTISE)
    assert said == set(HANDLERS)


@pytest.mark.parametrize("op", TAKEN)
def test_what_the_page_says_is_quantised_and_compiled(op: str) -> None:
    model = network(op)
    random = np.random.default_rng(5)
    samples = [random.normal(0, 1, (1, 3, 16, 16)).astype(F) for _ in range(3)]
    quantised = quantize(model, samples)
    agree(quantised, rate=0.03)
    assert compile_model(quantised, preset("pynq-z2")).n_instructions
