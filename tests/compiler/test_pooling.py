"""Pooling of any size: averages in pieces, maxima in two steps, borders that count fewer pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import Net, agree

from falconet.compiler import compile_graph
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.importer.onnx.layerwise import compare
from falconet.isa import FalconetError, preset
from falconet_models.ptq.quantize import quantize
from falconet_sim.golden.device import GoldenDevice, run_graph, run_node
from falconet_sim.iss.simulator import IssDevice

Array = NDArray[Any]
SIZES = ((32, 32), (37, 41), (56, 56), (61, 127), (97, 31), (112, 112), (251, 241), (256, 256),
         (509, 33), (512, 512))


def same_on_the_simulator(model: onnx.ModelProto, name: str = "pynq-z2") -> None:
    graph = import_onnx(model)
    program = compile_graph(graph, preset(name))
    shape = graph.tensors["x"].shape
    inputs = {"x": np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)}
    expected, found = (d(program).run(inputs).outputs for d in (GoldenDevice, IssDevice))
    for output, value in expected.items():
        np.testing.assert_array_equal(found[output], value)


def one(op: str, shape: tuple[int, int, int], *, scales: tuple[float, float] = (0.04, 0.04),
        zeros: tuple[int, int] = (5, -7), opset: int = 17, **attrs: Any) -> onnx.ModelProto:
    n = Net((1, *shape), opset=opset)
    return n.model(n.q(n.op(op, n.q("x", scales[0], zeros[0]), **attrs), scales[1], zeros[1]))


def pictures(size: tuple[int, int], zero: int) -> Array:
    """[10, H, W]: random ones, and some whose pieces all err to one side, or lie at an end."""
    r = np.random.default_rng(size[0])
    y, x = np.indices(size)
    return np.clip([
        r.integers(-128, 128, size), np.full(size, -128), np.full(size, 127),
        r.choice([-128, 127], size), zero + (y + x) % 2, zero + (y * 7 // 9 % 2) * 9 - 4,
        x * 255 // size[1] - 128, zero + r.integers(-3, 4, size),
        zero + (r.random(size) < 0.03) * 100, zero + (r.random(size) < 0.5),
    ], -128, 127).astype(np.int8)


def exact(model: onnx.ModelProto) -> None:
    """Each layer is what onnxruntime computes."""
    graph = import_onnx(model)
    x = np.random.default_rng(3).integers(-128, 128, graph.tensors["x"].shape).astype(np.int8)
    assert {layer.max_lsb for layer in compare(model, run_node, {"x": x})} == {0}


# ---------------------------------------------------------------------- averages


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("scale, zeros", [
    (0.04, (0, 0)), (0.1, (5, 3)), (0.011, (-128, -128)), (0.004, (-20, 3)), (0.022, (127, 90)),
])
def test_a_global_average_is_within_1_of_onnxruntime(
        size: tuple[int, int], scale: float, zeros: tuple[int, int]) -> None:
    """Also where the result's scale is ten times finer than its input's."""
    model = one("GlobalAveragePool", (10, *size), scales=(0.04, scale), zeros=zeros)
    found = compare(model, run_node, {"x": pictures(size, zeros[0])})
    assert max(layer.max_lsb for layer in found) <= 1


def test_the_range_of_the_input_counts() -> None:
    """Behind a ReLU6 that uses an eighth of the steps, one tensor holds the pieces."""
    n = Net((1, 4, 64, 64))
    x = n.q(n.op("Clip", n.conv(n.q("x"), 4, 4), np.float32(0), np.float32(1)), 0.031, -128)
    model = n.model(n.q(n.op("GlobalAveragePool", x), 0.004, -128))
    assert [node.op for node in import_onnx(model).nodes] == ["conv"] * 3
    agree(model)


def test_a_scale_that_pieces_cannot_have_is_refused() -> None:
    with pytest.raises(FalconetError, match=r"'globalaveragepool\d+'.*512 x 512 pixels is off by up"
                                            r" to 17\.5 of its steps.*a greater scale"):
        import_onnx(one("GlobalAveragePool", (2, 512, 512), scales=(0.04, 0.0002)))


@pytest.mark.parametrize("name", ["tiny", "pynq-z2"])
@pytest.mark.parametrize("shape, scale", [
    ((20, 37, 41), 0.04), ((20, 37, 41), 0.011), ((3, 64, 33), 0.003), ((9, 45, 2), 0.005),
])
def test_the_simulator_computes_averages_in_pieces(name: str, shape: tuple[int, int, int],
                                                   scale: float) -> None:
    same_on_the_simulator(one("GlobalAveragePool", shape, scales=(0.04, scale)), name)


def test_rows_of_pieces_are_taken_for_columns() -> None:
    """Ten tensors of nine rows of pieces: 90 rows, in three parts."""
    model = one("GlobalAveragePool", (3, 256, 17), scales=(0.04, 0.0025))
    same_on_the_simulator(model)
    agree(model)


@pytest.mark.parametrize("attrs", [
    {"kernel_shape": [40, 40], "strides": [20, 20]}, {"kernel_shape": [36, 3], "strides": [9, 2]},
    {"kernel_shape": [34, 64], "strides": [17, 32], "pads": [17, 0, 0, 32],
     "count_include_pad": 1}, {"kernel_shape": [80, 48], "strides": [1, 48]},
])
def test_large_windows(attrs: dict[str, Any]) -> None:
    model = one("AveragePool", (3, 80, 96), **attrs)
    agree(model, rate=0.4)
    same_on_the_simulator(model)


def test_a_window_without_pieces_is_refused() -> None:
    with pytest.raises(FalconetError, match=r"'averagepool\d+'.*37 x 37 pixels has no pieces"):
        import_onnx(one("AveragePool", (2, 64, 64), kernel_shape=[37, 37], strides=[5, 5]))


BORDERS: dict[str, dict[str, Any]] = {
    "3x3": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    "3x3 by 2": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]},
    "5x2": {"kernel_shape": [5, 2], "pads": [2, 0, 1, 1], "strides": [1, 2]},
    "ceil_mode": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    "ceil_mode and pads": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1,
                           "pads": [1, 1, 1, 1]},
    "ceil_mode, all counted": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1,
                               "pads": [1, 1, 1, 1], "count_include_pad": 1},
    "same": {"kernel_shape": [3, 4], "strides": [2, 3], "auto_pad": "SAME_UPPER"},
    "dilation": {"kernel_shape": [3, 3], "dilations": [2, 3], "pads": [2, 2, 1, 2], "opset": 19},
    "dilation, all counted": {"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [2, 1, 2, 1],
                              "count_include_pad": 1, "opset": 19},
}


@pytest.mark.parametrize("name", BORDERS)
@pytest.mark.parametrize("size", [(11, 12), (14, 9)])
def test_a_border_divides_by_what_it_counts(name: str, size: tuple[int, int]) -> None:
    attrs = dict(BORDERS[name])
    model = one("AveragePool", (5, *size), opset=attrs.pop("opset", 17), **attrs)
    agree(model, rate=0.1)  # a sixth and a quarter make many ties
    for arch in ("tiny", "pynq-z2"):
        same_on_the_simulator(model, arch)


def test_an_activation_behind_a_border() -> None:
    n = Net((1, 5, 9, 9))
    y = n.op("AveragePool", n.q("x"), kernel_shape=[3, 3], pads=[1] * 4)
    agree(n.model(n.q(n.op("LeakyRelu", y, alpha=0.2), 0.02), n.q(n.op("Relu", y), 0.01, -128)))


def test_a_window_of_padding_alone_has_no_mean() -> None:
    with pytest.raises(FalconetError, match="sees nothing but padding, and the mean of that"):
        import_onnx(one("AveragePool", (2, 3, 3), kernel_shape=[2, 2], dilations=[6, 6],
                        pads=[5, 5, 5, 5], opset=19))


# ---------------------------------------------------------------------- maxima


@pytest.mark.parametrize("op, attrs", [
    ("GlobalMaxPool", {}), ("ReduceMax", {"axes": [2, 3]}), ("ReduceMax", {"axes": [-1]}),
    ("MaxPool", {"kernel_shape": [40, 33]}), ("MaxPool", {"kernel_shape": [34, 35]}),
    ("MaxPool", {"kernel_shape": [37, 5], "strides": [6, 2], "pads": [18, 2, 18, 2]}),
    ("MaxPool", {"kernel_shape": [64, 64], "strides": [8, 16], "pads": [20, 31, 0, 3]}),
    ("MaxPool", {"kernel_shape": [33, 33], "dilations": [2, 1], "pads": [32, 16, 32, 16]}),
])
@pytest.mark.parametrize("size", [(67, 71), (96, 80)])
def test_a_maximum_of_any_size_is_exact(op: str, attrs: dict[str, Any], size: tuple[int, int]
                                        ) -> None:
    model = one(op, (3, *size), zeros=(5, 5), **attrs)
    exact(model)
    same_on_the_simulator(model)


@pytest.mark.parametrize("k, s, p", [(5, 1, 2), (9, 1, 4), (13, 1, 6), (3, 2, 1), (7, 3, 0)])
def test_large_windows_go_along_one_axis_after_the_other(k: int, s: int, p: int) -> None:
    model = one("MaxPool", (20, 26, 26), zeros=(5, 5), kernel_shape=[k, k], strides=[s, s],
                pads=[p] * 4)
    exact(model)
    same_on_the_simulator(model)
    program = compile_graph(import_onnx(model), preset("pynq-z2"))
    reads = sum(i.n_b * i.n_y * i.n_x * i.n_ky * i.n_kx for i in program.instructions()
                if type(i).__name__ == "Window")
    out = (26 + 2 * p - k) // s + 1
    assert reads <= 2 * min(out * out * k * k, (26 + out) * out * k)


# ---------------------------------------------------------------------- channels


@pytest.mark.parametrize("c", [1, 3, 16, 21, 64])
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax"])
@pytest.mark.parametrize("opset, attrs", [
    (17, {"axes": [1]}), (17, {"axes": [-3], "keepdims": 1}), (18, {"keepdims": 1}),
])
def test_over_channels(c: int, op: str, opset: int, attrs: dict[str, Any]) -> None:
    """The spatial attention of CBAM (Woo et al., 2018) begins so."""
    n = Net((1, c, 9, 10), opset=opset)
    over = [np.array([1])] if opset == 18 else []
    y = n.q(n.op(op, n.q("x", 0.04, 3), *over, **attrs), 0.04 if op == "ReduceMax" else 0.02, 3)
    layers = agree(n.model(n.q(n.conv(y, 2, 1), 0.05)))
    assert op == "ReduceMean" or layers[0].max_lsb == 0
    for arch in ("tiny", "pynq-z2"):
        same_on_the_simulator(n.model(y), arch)


def test_dimensions_that_are_put_back() -> None:
    """keepdims 0, then Unsqueeze, then a concat: torch.cat([x.mean(1).unsqueeze(1), ...])."""
    n = Net((1, 24, 9, 10))
    x = n.q("x", 0.04, 3)
    parts = [n.q(n.op("Unsqueeze", n.op(op, x, axes=[1], keepdims=0), np.array([1])), 0.04, 3)
             for op in ("ReduceMean", "ReduceMax")]
    y = n.q(n.op("Concat", *parts, axis=1), 0.04, 3)
    agree(n.model(n.q(n.conv(y, 1, 2, 7), 0.05)))


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax"])
def test_over_everything(op: str) -> None:
    model = one(op, (5, 8, 9), zeros=(3, 3), axes=[1, 2, 3])
    x = np.random.default_rng(3).integers(-128, 128, (5, 8, 9)).astype(np.int8)
    assert max(layer.max_lsb for layer in compare(model, run_node, {"x": x})) <= 1
    same_on_the_simulator(model)


def test_the_quantiser_takes_them_all() -> None:
    random = np.random.default_rng(1)
    weight = random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["a"]),
        helper.make_node("GlobalMaxPool", ["c"], ["m"]),
        helper.make_node("ReduceMean", ["c"], ["cm"], axes=[1]),
        helper.make_node("ReduceMax", ["c"], ["cx"], axes=[1]),
        helper.make_node("AveragePool", ["c"], ["p"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Concat", ["cm", "cx"], ["both"], axis=1),
    ]
    shapes = {"a": (8, 1, 1), "m": (8, 1, 1), "both": (2, 40, 36), "p": (8, 40, 36)}
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 40, 36])],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, [1, *s]) for k, s in shapes.items()],
        [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    made = quantize(model, [random.normal(0, 1, (1, 3, 40, 36)).astype(np.float32)
                            for _ in range(4)])
    x = np.random.default_rng(3).integers(-128, 128, (3, 40, 36)).astype(np.int8)
    assert max(layer.max_lsb for layer in compare(made, run_node, {"x": x})) <= 1
    same_on_the_simulator(made)


def test_golden_pieces_add_up() -> None:
    """The pieces' tensors, taken together, are the mean to a fraction of a step."""
    graph = import_onnx(one("GlobalAveragePool", (1, 64, 64), scales=(0.04, 0.004), zeros=(0, 0)))
    x = np.random.default_rng(3).integers(-128, 128, (1, 64, 64)).astype(np.int8)
    found = run_graph(*graph.to_dict(), {"x": x})
    (out,) = found.values()
    assert abs(float(out[0, 0, 0]) - min(127, max(-128, x.mean() * 10))) <= 1
