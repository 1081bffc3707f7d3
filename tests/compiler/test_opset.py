"""Other opsets and forms: equal to what onnxruntime makes of the original file."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import Net, agree

from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.importer.onnx.nodes import version_of
from falconet.compiler.importer.onnx.opset import normalise
from falconet.isa import FalconetError

F = np.float32


def run(model: onnx.ModelProto, x: np.ndarray) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return list(ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": x}))


def one(version: int, op: str, *inputs: np.ndarray, outputs: int = 1, shape: Any = (1, 4, 6, 8),
        **attrs: Any) -> onnx.ModelProto:
    """One node; ``inputs`` are constants."""
    names = [f"k{i}" for i in range(len(inputs))]
    out = [f"y{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *names], out, **attrs)], "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in out],
        [numpy_helper.from_array(v, n) for v, n in zip(inputs, names)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)],
                              ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


_BN = [np.arange(1, 5, dtype=F) / k for k in (1, 2, 3, 4)]
OLD = {
    "clip": one(7, "Clip", min=-0.5, max=0.5), "clip below": one(9, "Clip", min=-0.5),
    "clip above": one(10, "Clip", max=0.25),
    "pad": one(7, "Pad", pads=[0, 0, 1, 2, 0, 0, 3, 0]),
    "pad with": one(10, "Pad", pads=[0, 0, 1, 2, 0, 0, 3, 0], value=1.5),
    "reflect": one(7, "Pad", pads=[0, 0, 1, 2, 0, 0, 3, 0], mode="reflect"),
    "slice": one(7, "Slice", starts=[1, 0], ends=[3, -1], axes=[1, 3]),
    "slice without axes": one(9, "Slice", starts=[0, 1], ends=[1, 3]),
    "upsample 7": one(7, "Upsample", scales=[1.0, 1.0, 2.0, 3.0]),
    "upsample 9": one(9, "Upsample", np.array([1, 1, 3, 2], F), mode="nearest"),
    "upsample linear": one(9, "Upsample", np.array([1, 1, 2, 2], F), mode="linear"),
    "resize 10": one(10, "Resize", np.array([1, 1, 2, 2], F)),
    "split": one(7, "Split", outputs=2, axis=1, split=[1, 3]),
    "split evenly": one(11, "Split", outputs=2, axis=1),
    "squeeze": one(11, "Squeeze", axes=[2], shape=(1, 4, 1, 8)),
    "squeeze all": one(7, "Squeeze", shape=(1, 4, 1, 8)),
    "unsqueeze": one(11, "Unsqueeze", axes=[0, 3], shape=(4, 6)),
    "sum": one(12, "ReduceSum", axes=[1, 2], keepdims=0),
    "dropout": one(7, "Dropout", ratio=0.5), "dropout 10": one(10, "Dropout", ratio=0.3),
    "batch norm": one(7, "BatchNormalization", *_BN, epsilon=1e-3),
    "batch norm 8": one(8, "BatchNormalization", *_BN),
    "average": one(7, "AveragePool", kernel_shape=[2, 3], pads=[1, 1, 0, 1]),
    "prelu": one(7, "PRelu", np.full((4, 1, 1), 0.2, F)),
    "mean": one(11, "ReduceMean", axes=[2, 3]), "softplus": one(7, "Softplus"),
}


@pytest.mark.parametrize("name", OLD)
def test_old_nodes(name: str) -> None:
    shape = [d.dim_value for d in OLD[name].graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(3).normal(0, 1, shape).astype(F)
    fresh = normalise(OLD[name], 17)
    onnx.checker.check_model(fresh, full_check=True)
    assert version_of(fresh) == 17 and version_of(OLD[name]) < 13
    for a, b in zip(run(OLD[name], x), run(fresh, x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_changed_its_meaning_is_refused_by_name() -> None:
    old = one(11, "Softmax")
    old.graph.node[0].name = "probabilities"
    with pytest.raises(FalconetError, match=r"'probabilities' \(Softmax\): its form in opset 11"):
        normalise(old, 13)
    assert run(one(11, "Softmax"), np.ones((1, 4, 6, 8), F))[0].max() < 0.01
    assert run(one(13, "Softmax"), np.ones((1, 4, 6, 8), F))[0].max() > 0.1  # so it did change


@pytest.mark.parametrize("version", [1, 6])
def test_too_old(version: int) -> None:
    with pytest.raises(FalconetError, match=f"opset {version}; export it with opset 13"):
        normalise(one(version, "Relu"), 13)


def _gelu(n: Net, x: str) -> str:
    return n.op("Gelu", x)


def test_too_new() -> None:
    model = one(17, "Relu")
    model.opset_import[0].version = 1000
    with pytest.raises(FalconetError, match=r"opset 1000, and the newest .* opset 13 to 23"):
        normalise(model, 13)


LATER = {
    "split": (18, lambda n, x: n.op("Concat", *n.op("Split", x, outputs=2, axis=1, num_outputs=2)
                                    [::-1], axis=1)),
    "pad with axes": (18, lambda n, x: n.op("Pad", x, np.array([1, 2, 0, 1]), None,
                                            np.array([2, 3]))),
    "pad with axes, negative": (19, lambda n, x: n.op("Pad", x, np.array([2, 1]), None,
                                                      np.array([-1]))),
    "resize with axes": (18, lambda n, x: n.op("Resize", x, None, np.array([2, 3], F),
                                               axes=[2, 3], mode="nearest")),
    "resize, axes turned": (19, lambda n, x: n.op("Resize", x, None, np.array([2, 3], F),
                                                  axes=[3, 2], mode="nearest")),
    "resize, sizes and axes": (19, lambda n, x: n.op("Resize", x, None, None, np.array([24, 20]),
                                                     axes=[2, 3], mode="nearest")),
    "mean": (18, lambda n, x: n.op("ReduceMean", x, np.array([2, 3]))),
    "dilated average": (19, lambda n, x: n.op("AveragePool", x, kernel_shape=[2, 2],
                                              dilations=[2, 3])),
    "gelu": (20, _gelu), "mish": (18, lambda n, x: n.op("Mish", x)),
    "hard swish": (22, lambda n, x: n.op("HardSwish", x)),
}


@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize("newest", [False, True])
def test_later_nodes(name: str, newest: bool) -> None:
    version, body = LATER[name]
    n = Net(opset=23 if newest else version)
    agree(n.model(n.q(body(n, n.q("x")), 0.037)))


@pytest.mark.parametrize("version", range(13, 24))
def test_a_network_of_every_opset(version: int) -> None:
    n = Net(opset=version)
    x = n.q(n.op("Relu", n.conv(n.q("x"), 8)))
    x = n.q(n.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))
    agree(n.model(n.q(n.op("LeakyRelu", n.conv(x, 16, group=1), alpha=0.1))))


def _pool(op: str, seed: int) -> onnx.ModelProto:
    random = np.random.default_rng(seed)
    kernel = [int(v) for v in random.integers(1, 5, 2)]
    attrs: dict[str, Any] = {
        "kernel_shape": kernel, "strides": [int(v) for v in random.integers(1, 5, 2)],
        "pads": [int(random.integers(0, kernel[i % 2])) for i in range(4)], "ceil_mode": 1}
    if op == "MaxPool":
        attrs["dilations"] = [int(v) for v in random.integers(1, 3, 2)]
    size = [int(v) for v in random.integers(9, 20, 2)]
    return one(17, op, shape=(1, 2, *size), **attrs)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_rounding_up(op: str) -> None:
    """The sizes that onnxruntime computes, where onnx infers others and where it does not."""
    wrong = refused = 0
    for seed in range(150):
        model = _pool(op, seed)
        shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
        x = np.random.default_rng(seed).normal(0, 1, shape).astype(F)
        (want,) = run(model, x)
        dims = model.graph.output[0].type.tensor_type.shape.dim
        wrong += [d.dim_value for d in dims] != list(want.shape)
        try:
            fresh = normalise(model, 13)
        except FalconetError as e:
            assert "ceil_mode" in str(e)
            refused += 1
            continue
        (got,) = run(fresh, x)
        np.testing.assert_array_equal(got, want)
        fresh.graph.output[0].type.tensor_type.ClearField("shape")
        dims = onnx.shape_inference.infer_shapes(fresh).graph.output[0].type.tensor_type.shape.dim
        assert [d.dim_value for d in dims] == list(want.shape)
    assert wrong > 10 and refused < wrong


def test_pools_that_round_up_one_behind_the_other() -> None:
    n = Net((1, 8, 21, 19))
    x = n.q("x")
    for _ in range(2):
        x = n.q(n.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1],
                     ceil_mode=1))
    model = n.model(n.q(n.conv(x, 8)))
    (want,) = run(model, np.zeros((1, 8, 21, 19), F))
    del model.graph.value_info[:]  # onnx inferred sizes that onnxruntime does not compute
    for dim, size in zip(model.graph.output[0].type.tensor_type.shape.dim, want.shape):
        dim.dim_value = size
    agree(model)
    (out,) = import_onnx(model).outputs
    assert import_onnx(model).tensors[out].shape == want.shape[1:]


@pytest.mark.parametrize("dtype", [TensorProto.INT4, TensorProto.UINT4])
@pytest.mark.parametrize("domain, version", [("com.microsoft", 17), ("", 21)])
@pytest.mark.parametrize("zero", [True, False])
def test_weights_of_4_bits(dtype: int, domain: str, version: int, zero: bool) -> None:
    n = Net(opset=version)
    shift = 8 if dtype == TensorProto.UINT4 and zero else 0
    values = n.random.integers(*((0, 16) if dtype == TensorProto.UINT4 else (-8, 8)), (8, 8, 3, 3))
    n.initialisers += [
        helper.make_tensor("w", dtype, values.shape, values.reshape(-1).tolist()),
        helper.make_tensor("wz", dtype, [], [shift])]
    w = n.op("DequantizeLinear", "w", n.constant(0.02), *(["wz"] if zero else []))
    model = n.model(n.q(n.op("Conv", n.q("x"), w, pads=[1, 1, 1, 1])))
    dequantize = next(m for m in model.graph.node if m.output[0] == w)
    dequantize.domain = domain
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    agree(model, rate=0.03)  # 0.02 times a whole number is often a tie
