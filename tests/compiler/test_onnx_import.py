"""Every operator that the importer knows, against onnxruntime on the same file."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_nets import ARCH, Net, agree, quantise_static

from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.passes import optimise
from falconet_sim.golden.device import run_graph

Body = Callable[[Net, str], str]
F = np.float32


def _pool(kind: str, **attrs: object) -> Body:
    return lambda n, x: n.op(kind, x, **attrs)


def _then(kind: str, *constants: object, **attrs: object) -> Body:
    """A convolution and an activation without Q/DQ between."""
    return lambda n, x: n.op(kind, n.conv(x, 8), *(np.array(c, F) for c in constants), **attrs)


def _unary(kind: str, **attrs: object) -> Body:
    return lambda n, x: n.op(kind, x, **attrs)


def _resize(n: Net, x: str, factors: tuple[float, float] = (2, 3), **attrs: object) -> str:
    return n.op("Resize", x, None, np.array([1, 1, *factors], F), mode="nearest", **attrs)


def _batch_norm(n: Net, x: str) -> str:
    gamma = np.array([1, -2, 0.5, 0, 1, 3, -0.1, 1], F)
    return n.op("BatchNormalization", x, gamma, np.linspace(-1, 1, 8, dtype=F),
                np.linspace(-1, 1, 8, dtype=F), np.linspace(0.2, 2, 8, dtype=F))


def _hard_swish(n: Net, x: str) -> str:
    six = n.op("Clip", n.op("Add", x, np.array(3, F)), np.array(0, F), np.array(6, F))
    return n.op("Div", n.op("Mul", x, six), np.array(6, F))


def _silu(n: Net, x: str) -> str:
    return n.op("Mul", x, n.op("Sigmoid", x))


def _silu_quantised(n: Net, x: str) -> str:
    return n.op("Mul", n.q(n.op("Sigmoid", x), 1 / 256, -128), x)


def _gelu(n: Net, x: str) -> str:
    erf = n.op("Erf", n.op("Div", x, np.array(2**0.5, F)))
    half = n.op("Mul", x, n.op("Add", erf, np.array(1, F)))
    return n.op("Mul", half, np.array(0.5, F))


def _gemm(n: Net, x: str, **attrs: object) -> str:
    flat = n.op("Flatten", x)
    transposed = bool(attrs.get("transB"))
    shape = (10, 960) if transposed else (960, 10)
    return n.op("Gemm", flat, n.weight(*shape, axis=0 if transposed else 1), n.bias(10), **attrs)


def _matmul(n: Net, x: str) -> str:
    flat = n.op("Reshape", x, np.array([1, -1], np.int64))
    y = n.op("MatMul", flat, n.weight(960, 12, axis=1))
    return n.op("Add", y, np.linspace(-1, 1, 12, dtype=F))


def _reshape_by_shape(n: Net, x: str) -> str:
    batch = n.op("Slice", n.op("Shape", x), np.array([0]), np.array([1]))
    shape = n.op("Concat", batch, np.array([-1]), axis=0)
    flat = n.op("Reshape", x, shape)
    return n.op("Gemm", flat, n.weight(10, 960), transB=1)


def _transposed_weights(n: Net, x: str) -> str:
    flat = n.op("Flatten", x)
    return n.op("MatMul", flat, n.op("Transpose", n.weight(10, 960), perm=[1, 0]))


def _mean_and_view(n: Net, x: str) -> str:
    mean = n.q(n.op("ReduceMean", x, axes=[2, 3], keepdims=0), 0.005)
    y = n.op("Unsqueeze", n.op("Mul", mean, np.array(10, F)), np.array([2, 3]))
    y = n.op("Transpose", n.op("Dropout", n.op("Identity", y)), perm=[0, 2, 3, 1])
    return n.op("Squeeze", y, np.array([1, 2]))


def _branches(n: Net, x: str, *, rescale: bool, store: bool = True) -> tuple[str, str]:
    a, b = n.conv(x, 8), n.op("Relu", n.conv(x, 8, k=1))
    if not store:
        return a, b
    return n.q(a, 0.2, 3), n.q(b, 0.11 if rescale else 0.2, -128 if rescale else 3)


def _padded(n: Net, x: str) -> str:
    padded = n.op("Pad", x, np.array([0, 0, 1, 2, 0, 0, 3, 0]), np.array(0, F))
    return n.op("Add", n.q(n.conv(padded, 8), 0.15), n.q(n.op(
        "MaxPool", padded, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), 0.05))


def _split(n: Net, x: str) -> str:
    a, b, c = n.op("Split", x, np.array([2, 5, 1]), outputs=3, axis=1)
    return n.op("Concat", c, a, b, axis=1)


BODIES: dict[str, Body] = {
    "conv": lambda n, x: n.conv(x, 13),
    "conv-stride": lambda n, x: n.conv(x, 8, strides=[2, 1]),
    "conv-dilation": lambda n, x: n.conv(x, 8, dilations=[2, 3], pads=[2, 3, 2, 3]),
    "conv-pads": lambda n, x: n.conv(x, 8, pads=[0, 1, 2, 0]),
    "conv-same-upper": lambda n, x: n.conv(x, 8, strides=[2, 2], auto_pad="SAME_UPPER"),
    "conv-same-lower": lambda n, x: n.conv(x, 8, strides=[2, 2], auto_pad="SAME_LOWER"),
    "conv-valid": lambda n, x: n.conv(x, 8, auto_pad="VALID"),
    "conv-groups": lambda n, x: n.conv(x, 16, group=4),
    "conv-depthwise": lambda n, x: n.conv(x, 8, k=5, group=8, strides=[2, 2]),
    "conv-per-tensor": lambda n, x: n.op("Conv", x, n.weight(8, 8, 1, 1, per_channel=False)),
    "conv-relu": _then("Relu"),
    "conv-clip": _then("Clip", 0.0, 6.0),
    "conv-leaky": _then("LeakyRelu", alpha=0.1),
    "conv-prelu": _then("PRelu", np.linspace(0, 1.5, 8).reshape(8, 1, 1)),
    "conv-leaky-clip": lambda n, x: n.op("Clip", n.op("LeakyRelu", n.conv(x, 8)), None,
                                         np.array(2, F)),
    "conv-batchnorm": lambda n, x: _batch_norm(n, n.conv(x, 8)),
    "conv-mul-add": lambda n, x: n.op("Add", np.ones((8, 1, 1), F), n.op(
        "Mul", n.conv(x, 8), np.array(0.5, F))),
    "conv-maxpool": lambda n, x: n.op("MaxPool", n.op("Relu", n.conv(x, 8)), kernel_shape=[2, 2]),
    "gemm": lambda n, x: _gemm(n, x),
    "gemm-transposed": lambda n, x: _gemm(n, x, transB=1, alpha=0.5, beta=2.0),
    "matmul": _matmul,
    "matmul-transposed": _transposed_weights,
    "reshape-by-shape": _reshape_by_shape,
    "averagepool": _pool("AveragePool", kernel_shape=[3, 2], strides=[2, 2]),
    "averagepool-pads": _pool("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1],
                              count_include_pad=1),
    "globalaveragepool": _pool("GlobalAveragePool"),
    "reducemean": _mean_and_view,
    "maxpool": _pool("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "maxpool-ceil": _pool("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "maxpool-dilation": _pool("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]),
    "pad": _padded,
    "concat": lambda n, x: n.op("Concat", *_branches(n, x, rescale=False), axis=1),
    "concat-rescale": lambda n, x: n.op("Concat", *_branches(n, x, rescale=True), axis=-3),
    "concat-pending": lambda n, x: n.op("Concat", *_branches(n, x, rescale=True, store=False),
                                        axis=1),
    "split": _split,
    "slice": lambda n, x: n.op("Slice", x, np.array([-6]), np.array([100]), np.array([1])),
    "resize": lambda n, x: _resize(n, x, coordinate_transformation_mode="asymmetric",
                                   nearest_mode="floor"),
    "resize-half-pixel": _resize,
    "resize-sizes": lambda n, x: n.op("Resize", x, None, None, np.array([1, 8, 24, 20]),
                                      mode="nearest"),
    "relu": _unary("Relu"),
    "clip": lambda n, x: n.op("Clip", x, np.array(-1, F), np.array(2, F)),
    "leaky": _unary("LeakyRelu", alpha=0.3),
    "prelu": lambda n, x: n.op("PRelu", x, np.linspace(0, 1, 8, dtype=F).reshape(8, 1, 1)),
    "prelu-negative": lambda n, x: n.op("PRelu", x, np.array([-0.5], F)),
    "sigmoid": _unary("Sigmoid"),
    "hardsigmoid": _unary("HardSigmoid", alpha=1 / 6),
    "hardswish": _unary("HardSwish"),
    "tanh": _unary("Tanh"),
    "elu": _unary("Elu", alpha=0.7),
    "softplus": _unary("Softplus"),
    "silu": _silu,
    "silu-quantised": _silu_quantised,
    "hardswish-decomposed": _hard_swish,
    "gelu-decomposed": _gelu,
    "square": lambda n, x: n.op("Mul", x, x),
    "add": lambda n, x: n.op("Add", *_branches(n, x, rescale=True)),
    "add-relu": lambda n, x: n.op("Relu", n.op("Add", *_branches(n, x, rescale=True))),
    "sub": lambda n, x: n.op("Sub", *_branches(n, x, rescale=True)),
    "add-per-channel": lambda n, x: n.op("Add", x, np.linspace(-2, 2, 8, dtype=F).reshape(8, 1, 1)),
    "div-per-channel": lambda n, x: n.op("Div", x, np.linspace(-2, 3, 8, dtype=F).reshape(8, 1, 1)),
    "batchnorm": _batch_norm,
}


@pytest.mark.parametrize("style", ["qdq", "qcdq"])
@pytest.mark.parametrize("name", sorted(BODIES))
def test_operator(name: str, style: str) -> None:
    """int8 in the style of onnxruntime, uint8 in the style of Brevitas."""
    n = Net(style=style, unsigned=style == "qcdq")
    x = n.q("x", 0.02, 11)
    agree(n.model(n.q(BODIES[name](n, x), 0.043, -7)))


@pytest.mark.parametrize("unsigned", [False, True])
def test_onnxruntime_quantised_network(unsigned: bool, tmp_path: object) -> None:
    """All of a small network as quantize_static writes it."""
    n = Net((1, 3, 24, 24))
    r = n.random

    def conv(x: str, o: int, i: int, k: int, **a: object) -> str:
        return n.op("Conv", x, r.normal(0, 0.3, (o, i, k, k)).astype(F),
                    r.normal(0, 0.3, o).astype(F), pads=[k // 2] * 4, **a)

    stem = n.op("Relu", conv("x", 16, 3, 3, strides=[2, 2]))
    deep = n.op("Clip", conv(stem, 16, 1, 3, group=16), np.array(0, F), np.array(6, F))
    total = n.op("Add", conv(deep, 16, 16, 1), stem)
    leaky = n.op("LeakyRelu", total, alpha=0.1)
    small = n.op("MaxPool", leaky, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    up = _resize(n, small, (2, 2), coordinate_transformation_mode="asymmetric",
                 nearest_mode="floor")
    joined = _silu(n, n.op("Concat", up, stem, axis=1))
    flat = n.op("Flatten", n.op("GlobalAveragePool", joined))
    y = n.op("Gemm", flat, r.normal(0, 0.3, (10, 32)).astype(F), r.normal(0, 1, 10).astype(F),
             transB=1)
    model = quantise_static(n.model(y), tmp_path, unsigned=unsigned)  # type: ignore[arg-type]
    layers = agree(model)
    assert sum(v.different for v in layers) <= 1e-3 * sum(v.total for v in layers)


def test_brevitas_residual_network() -> None:
    """Narrow-range input, ReLU as unsigned clip, shared scale of a residual, int8 linear."""
    n = Net((1, 3, 16, 16), style="qcdq")
    x = n.q("x", 0.0078125, clip=(-127, 127))
    stem = n.q(n.op("Relu", n.conv(x, 8, 3)), 0.0625, clip=(0, 127))
    a = n.q(n.conv(stem, 8, group=8), 0.125, clip=(-127, 127))
    b = n.q(n.conv(stem, 8, k=1), 0.125, clip=(-127, 127))
    total = n.q(n.op("Add", a, b), 0.125, clip=(-127, 127))
    layers = agree(n.model(n.q(n.op("GlobalAveragePool", total), 0.03, clip=(-127, 127))))
    add = next(v for v in layers if v.op == "eltwise")
    assert add.different == 0, "powers of two are exact, ties included"


def test_integer_input_and_output() -> None:
    n = Net((1, 3, 8, 8))
    n.inputs = [helper.make_tensor_value_info("x", TensorProto.UINT8, (1, 3, 8, 8))]
    real = n.op("DequantizeLinear", "x", np.array(1 / 128, F), np.array(128, np.uint8))
    scale, zero = np.array(0.03, F), np.array(5, np.int8)
    y = n.op("QuantizeLinear", n.conv(real, 4, 3), scale, zero)
    model = n.model(y, types=(TensorProto.INT8,))
    agree(model)
    graph = import_onnx(model)
    assert graph.tensors["x"].zero_point == 0
    assert graph.tensors[y].zero_point == 5


def test_dead_channels() -> None:
    """Channels whose weights are zero or nearly zero keep their bias."""
    n = Net((1, 4, 6, 6))
    x = n.q("x", 0.02)
    w = n.random.integers(-127, 128, (4, 1, 3, 3)).astype(np.int8)
    w[0] = 0
    scale = n.constant([1e-3, 1e-3, 1e-10, 1e-7])
    weight = n.op("DequantizeLinear", n.constant(w, np.int8), scale,
                  n.constant([0] * 4, np.int8), axis=0)
    y = n.op("Conv", x, weight, np.array([0.5, 0.2, -0.7, 1.1], F), group=4, pads=[1, 1, 1, 1])
    model = n.model(n.q(y, 0.02))
    agree(model)
    graph = optimise(import_onnx(model), ARCH)
    out = run_graph(*graph.to_dict(), {"x": np.full((4, 6, 6), 50, np.int8)})[graph.outputs[0]]
    assert [int(out[c, 3, 3]) for c in (0, 2, 3)] == [25, -35, 55]


def test_outputs_keep_their_onnx_names() -> None:
    """The same tensor twice, and an output that is also read inside."""
    n = Net()
    a = n.q(n.conv(n.q("x"), 8), 0.1)
    b = n.q(n.conv(a, 4), 0.3)
    same = n.op("Identity", a)
    model = n.model(a, b, same)
    graph = optimise(import_onnx(model), ARCH)
    assert graph.outputs == [a, b, same]
    agree(model)


def test_metadata(tmp_path: object) -> None:
    n = Net()
    model = n.model(n.q(n.conv(n.q("x"), 8), 0.1))
    helper.set_model_props(model, {"falconet": json.dumps({"labels": ["cat"]})})
    path = tmp_path / "small.onnx"  # type: ignore[operator]
    onnx.save(model, path)
    graph = import_onnx(path)
    assert graph.meta == {"labels": ["cat"]}
    assert graph.name == "small"
    assert graph.inputs == ["x"]


def test_old_opset() -> None:
    """Resize and per-tensor quantisation as opset 11 wrote them are converted."""
    n = Net(opset=11)
    weight = n.weight(8, 8, 3, 3, per_channel=False)
    agree(n.model(n.q(n.op("Conv", n.q("x"), weight, pads=[1, 1, 1, 1]), 0.1)))
