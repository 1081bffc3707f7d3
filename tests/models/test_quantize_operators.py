"""Float networks with every kind of activation, quantised and compiled; refusals come at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import truth
from onnx import TensorProto, numpy_helper
from onnx_nets import Net, agree

from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.passes import optimise
from falconet.isa import FalconetError, preset
from falconet_models.ptq.prepare import session
from falconet_models.ptq.quantize import quantize

F = np.float32
Body = Callable[[Net, str], str]


def _float(body: Body, *, opset: int = 17, size: int = 16) -> onnx.ModelProto:
    """Convolution, ``body``, convolution, in float."""
    n = Net((1, 3, size, size), opset=opset)
    w = [n.random.normal(0, 0.25, s).astype(F) for s in ((16, 3, 3, 3), (16,))]
    x = body(n, n.op("Conv", "x", *w, pads=[1, 1, 1, 1]))
    shape = n.model(x).graph.output[0].type.tensor_type.shape.dim
    channels = shape[1].dim_value if len(shape) == 4 else 16
    last = [n.random.normal(0, 0.25, (8, channels, 1, 1)).astype(F)]
    return n.model(n.op("Conv", x, *last))


def _samples(model: onnx.ModelProto, count: int = 6) -> list[np.ndarray]:
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    random = np.random.default_rng(5)
    return [random.normal(0, 1, shape).astype(F) for _ in range(count)]


def _gelu(n: Net, x: str) -> str:
    y = n.op("Add", n.op("Erf", n.op("Div", x, np.array(2**0.5, F))), np.array(1, F))
    return str(n.op("Mul", n.op("Mul", x, y), np.array(0.5, F)))


def _hard_swish(n: Net, x: str) -> str:
    y = n.op("Clip", n.op("Add", x, np.array(3, F)), np.array(0, F), np.array(6, F))
    return str(n.op("Div", n.op("Mul", x, y), np.array(6, F)))


def _batch_norm(n: Net, x: str) -> str:
    parts = [n.random.uniform(0.5, 2, 16).astype(F) for _ in range(4)]
    return str(n.op("BatchNormalization", n.op("Relu", x), *parts))


def _slopes(*values: float) -> Body:
    array = np.resize(np.array(values, F), (16, 1, 1))
    return lambda n, x: n.op("PRelu", x, array)


def _shuffle(n: Net, x: str) -> str:
    y = n.op("Transpose", n.op("Reshape", x, np.array([1, 4, 4, 16, 16])), perm=[0, 2, 1, 3, 4])
    return str(n.op("Reshape", y, np.array([1, 16, 16, 16])))


def _focus(n: Net, x: str) -> str:
    most = np.iinfo(np.int64).max
    parts = [n.op("Slice", x, np.array([i, j]), np.array([most, most]), np.array([2, 3]),
                  np.array([2, 2])) for j in (0, 1) for i in (0, 1)]
    return str(n.op("Concat", *parts, axis=1))


TAKEN: dict[str, tuple[int, Body, int]] = {  # opset, body, nodes of the machine beside two convs
    "gelu by erf": (17, _gelu, 0), "gelu": (20, lambda n, x: n.op("Gelu", x), 0),
    "hard-swish by clip": (17, _hard_swish, 0),
    "silu": (17, lambda n, x: n.op("Mul", x, n.op("Sigmoid", x)), 0),
    "mish by softplus": (17, lambda n, x: n.op("Mul", n.op("Tanh", n.op("Softplus", x)), x), 0),
    "abs": (17, lambda n, x: n.op("Abs", x), 0),
    "slope": (17, _slopes(0.2), 0), "slopes": (17, _slopes(0.1, 0.5, 1.5), 0),
    "slopes of both signs": (17, _slopes(0.1, -0.5, 0.7), 3),
    "slopes below 0": (17, _slopes(-0.1, -0.5), 3), "slope below 0": (17, _slopes(-0.25), 0),
    "leak below 0": (17, lambda n, x: n.op("LeakyRelu", x, alpha=-0.25), 0),
    "slopes behind silu": (17, lambda n, x: _slopes(0.1, 0.6)(n, n.op(
        "Mul", x, n.op("Sigmoid", x))), 1),
    "silu by exp": (17, lambda n, x: n.op("Div", x, n.op("Add", n.op("Exp", n.op("Neg", x)),
                                                         np.array(1, F))), 0),
    "mean, then slopes": (17, lambda n, x: _slopes(0.1, 0.6)(n, n.op(
        "AveragePool", x, kernel_shape=[2, 2])), 1),
    "batch norm after relu": (17, _batch_norm, 1),
    "pad": (17, lambda n, x: n.op("Pad", x, np.array([0, 0, 0, 1, 0, 0, 2, 0])), 0),
    "pad with axes": (18, lambda n, x: n.op("Pad", x, np.array([1, 0, 2, 1]), None,
                                            np.array([2, 3])), 0),
    "split": (18, lambda n, x: n.op("Concat", *n.op("Split", x, outputs=2, axis=1,
                                                    num_outputs=2)[::-1], axis=1), 3),
    "resize with axes": (18, lambda n, x: n.op("Resize", x, None, np.array([2, 2], F),
                                               axes=[2, 3], mode="nearest"), 1),
    "dilated average": (19, lambda n, x: n.op("AveragePool", x, kernel_shape=[2, 2],
                                              dilations=[2, 2]), 1),
    "pool that rounds up": (17, lambda n, x: n.op("MaxPool", x, kernel_shape=[2, 2],
                                                  strides=[2, 2], pads=[1, 1, 1, 1],
                                                  ceil_mode=1), 1),
    "shuffle": (17, _shuffle, 1), "focus": (17, _focus, 0),
    "pixel shuffle": (17, lambda n, x: n.op("DepthToSpace", x, blocksize=2, mode="CRD"), 5),
    "space to depth": (17, lambda n, x: n.op("SpaceToDepth", x, blocksize=2), 0),
    "chosen channels": (17, lambda n, x: n.op("Gather", x, np.array([3, 3, 0, 9]), axis=1), 1),
    "rows for columns": (17, lambda n, x: n.op("Transpose", x, perm=[0, 1, 3, 2]), 1),
    "side by side": (17, lambda n, x: n.op("Concat", x, n.op("Relu", x), axis=3), 2),
    "more channels": (17, lambda n, x: n.op("Pad", x, np.array([0, 2, 0, 0, 0, 2, 0, 0])), 1),
    "ones around": (17, lambda n, x: n.op("Pad", x, np.array([0, 0, 1, 1, 0, 0, 1, 1]),
                                          np.array(1, F)), 1),
    "reflected": (17, lambda n, x: n.op("Pad", x, np.array([0, 0, 1, 1, 0, 0, 1, 1]),
                                        mode="reflect"), 1),
    "tiles": (17, lambda n, x: n.op("Tile", x, np.array([1, 1, 2, 1])), 1),
    "expanded": (17, lambda n, x: n.op("Expand", n.op("GlobalAveragePool", x),
                                       np.array([1, 16, 4, 4])), 2),
    "opset 7": (7, lambda n, x: n.op("Upsample", n.op("Clip", x, min=0.0, max=6.0),
                                     scales=[1.0, 1.0, 2.0, 2.0]), 1),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_compile_takes_is_quantised(name: str) -> None:
    opset, body, extra = TAKEN[name]
    model = _float(body, opset=opset)
    for value in (*model.graph.value_info, *model.graph.output):
        value.type.tensor_type.ClearField("shape")  # onnx infers some that onnxruntime does not
    del model.graph.value_info[:]
    (x, *_) = samples = _samples(model)
    (want,) = session(model).run(None, {"x": x})
    for dim in want.shape:
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = dim
    quantised = quantize(model, samples)
    (got,) = session(quantised, optimise=False).run(None, {"x": x})
    assert 20 * np.log10(np.linalg.norm(want) / np.linalg.norm(got - want)) > 22
    agree(quantised, rate=0.03)
    nodes = optimise(import_onnx(quantised), preset("pynq-z2")).nodes
    assert len(nodes) == 2 + extra, [(n.op, n.name) for n in nodes]


def _many(n: Net, x: str) -> str:
    y = n.op("Resize", n.op("Softmax", x, axis=1), None, np.array([1, 1, 2, 2], F), mode="cubic")
    z = n.op("Resize", n.op("LpPool", x, kernel_shape=[1, 1]), None, np.array([1, 1, 2, 2], F))
    return str(n.op("Mul", y, n.op("Sigmoid", z)))


REFUSED: dict[str, tuple[Body, list[str]]] = {
    "unsupported": (lambda n, x: n.op("Softmax", x, axis=1), ["(Softmax): this operator is not"]),
    "rows of another width": (lambda n, x: n.op("Reshape", x, np.array([1, 16, 8, 32])),
                              ["(Conv): it moves data"]),
    "many": (_many, ["(LpPool): this op", "(Softmax): this op", "(Resize): mode 'cubic'"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_any_work(name: str) -> None:
    body, reasons = REFUSED[name]
    model = _float(body)
    names = {f"node '{n.name}' ({n.op_type}): " for n in model.graph.node}

    def work(stage: str, share: float) -> None:
        raise AssertionError(stage)

    with pytest.raises(FalconetError) as caught:
        quantize(model, _samples(model), progress=work)
    lines = str(caught.value).split("\n")
    if len(reasons) > 1:
        assert lines.pop(0) == f"the network cannot be compiled for {len(reasons)} reasons:"
    assert len(lines) == len(reasons)
    for line, reason in zip(lines, reasons):
        assert reason in line and any(line.strip().startswith(n) for n in names)
    assert not truth.check(str(caught.value), model)  # it is in order, and nothing else is blamed


def test_integers_are_not_quantised() -> None:
    """What has no float result is refused by its name too."""
    n = Net((1, 3, 16, 16))
    model = n.model(n.op("ArgMax", n.op("Conv", "x", np.ones((8, 3, 1, 1), F)), axis=1),
                    types=(TensorProto.INT64,))
    with pytest.raises(FalconetError, match=r"node 'argmax\d' \(ArgMax\): this operator"):
        quantize(model, _samples(model))


def _wrong_type(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(
        np.ones((16, 3, 3, 3), np.float64), model.graph.initializer[0].name))


def _no_input(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "nobody"


def _unknown(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Convolve"


@pytest.mark.parametrize("fault", [_wrong_type, _no_input, _unknown])
def test_what_onnxruntime_refuses(fault: Callable[[onnx.ModelProto], None], tmp_path: Path) -> None:
    """It is said of it only if it is so."""
    model = _float(_slopes(0.1))
    fault(model)
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(FalconetError) as caught:
        quantize(tmp_path / "net.onnx", _samples(model))
    assert truth.check(str(caught.value).replace(str(tmp_path), "model "), model)


def _unsorted(model: onnx.ModelProto) -> None:
    nodes = [*model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes[::-1])


def _no_maker(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "nobody"


def _no_result(model: onnx.ModelProto) -> None:
    del model.graph.node[1].output[:]


def _long_bias(model: onnx.ModelProto) -> None:
    name = model.graph.node[0].input[2]
    (bias,) = (i for i in model.graph.initializer if i.name == name)
    bias.CopyFrom(numpy_helper.from_array(np.zeros(17, F), name))


@pytest.mark.parametrize("fault, why", [
    (_unsorted, r"node 'conv7' \(Conv\): it reads 'v5_0' before it is computed"),
    (_no_maker, "nothing computes the output 'nobody'"),
    (_no_result, r"\(PRelu\): not a valid ONNX node"),
    (_long_bias, r"17|shapes"), (_no_input, "it reads 'nobody' before"),
])
def test_models_in_memory_that_are_none(fault: Callable[[onnx.ModelProto], None], why: str) -> None:
    model = _float(_slopes(0.1))
    fault(model)
    with pytest.raises(FalconetError, match=why):
        quantize(model, _samples(model))
