"""Resize: nearest and bilinear, every way to place the pixels, against onnxruntime."""

from __future__ import annotations

from typing import Any

import networks
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import Net, agree

from falconet.compiler import compile_graph
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.isa import FalconetError, preset
from falconet_models.ptq.quantize import quantize
from falconet_sim.golden.device import GoldenDevice, run_graph
from falconet_sim.iss.simulator import IssDevice

SIZE = 6, 9


def network(sizes: tuple[int, int] | None = None, scales: tuple[float, float] | None = None, *,
            out: float = 0.04, **attrs: Any) -> onnx.ModelProto:
    n = Net((1, 5, *SIZE))
    x = n.q("x", 0.04, 7)
    if sizes is not None:
        y = n.op("Resize", x, None, None, np.array([1, 5, *sizes]), **attrs)
    else:
        assert scales is not None
        y = n.op("Resize", x, None, np.array([1, 1, *scales], np.float32), **attrs)
    return n.model(n.q(y, out, 7))


def same_on_the_simulator(model: onnx.ModelProto) -> None:
    graph = import_onnx(model)
    inputs = {"x": np.random.default_rng(1).integers(-128, 128, (5, *SIZE)).astype(np.int8)}
    for name in ("tiny", "pynq-z2"):
        program = compile_graph(graph, preset(name))
        expected, found = (d(program).run(inputs).outputs for d in (GoldenDevice, IssDevice))
        for output, value in expected.items():
            np.testing.assert_array_equal(found[output], value)


MODES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
FACTORS: dict[str, dict[str, Any]] = {
    "2": {"scales": (2, 2)}, "4 and 8": {"scales": (4, 8)}, "1.5 and 3": {"scales": (1.5, 3)},
    "rows alone": {"scales": (2, 1)}, "columns alone": {"scales": (1, 4)},
    "to 13 x 17": {"sizes": (13, 17)}, "smaller": {"sizes": (4, 5)}, "to 1 x 1": {"sizes": (1, 1)},
    "one larger, one smaller": {"sizes": (11, 3)}, "2.6": {"scales": (2.6, 2.6)},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("factor", FACTORS)
def test_bilinear_is_within_1_of_onnxruntime(mode: str, factor: str) -> None:
    model = network(**FACTORS[factor], mode="linear", coordinate_transformation_mode=mode)
    # What is between two steps is rounded too: half of the pixels may be off by one.
    layers = agree(model, rate=0.5)
    assert {layer.op for layer in layers} <= {"interpolate", "bilinear"}
    same_on_the_simulator(model)


@pytest.mark.parametrize("mode, scales", [
    ("half_pixel", (2, 2)), ("half_pixel", (4, 4)), ("half_pixel", (3, 2)), ("asymmetric", (4, 2)),
    ("half_pixel", (2, 4)),
])
def test_small_factors_are_exact_sums(mode: str, scales: tuple[int, int]) -> None:
    """Of four pixels at once: nothing but ties differ, of which sixteenths have many."""
    model = network(scales=scales, mode="linear", coordinate_transformation_mode=mode)
    (layer,) = agree(model, rate=0.1)
    assert layer.op == "bilinear"
    same_on_the_simulator(model)


@pytest.mark.parametrize("out", [0.0203, 0.03, 0.06, 0.5])
def test_a_scale_of_its_own(out: float) -> None:
    agree(network(scales=(16, 2), out=out, mode="linear"), rate=0.6)


def test_a_scale_that_is_too_fine_is_refused() -> None:
    with pytest.raises(FalconetError, match=r"'resize\d+'.*quantise both with one scale"):
        import_onnx(network(scales=(16, 16), out=0.01, mode="linear"))
    agree(network(scales=(2, 2), out=0.01, mode="linear"), rate=0.1)  # both axes at once
    agree(network(scales=(2, 1), out=0.01, mode="linear"))  # one axis has nothing between


NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("nearest", NEAREST)
@pytest.mark.parametrize("factor", [f for f in FACTORS if f != "2.6"])
def test_nearest_moves_what_onnxruntime_does(mode: str, nearest: str, factor: str) -> None:
    model = network(**FACTORS[factor], mode="nearest", nearest_mode=nearest,
                    coordinate_transformation_mode=mode)
    assert max(layer.max_lsb for layer in agree(model)) == 0
    same_on_the_simulator(model)


def test_ties_that_only_rounding_decides_are_refused() -> None:
    """Every fifth output of 13 / 5 lies on a pixel, or in onnxruntime's floats beside it."""
    with pytest.raises(FalconetError, match=r"'resize\d+'.*a factor of 2.6 places pixels between"):
        import_onnx(network(**FACTORS["2.6"], mode="nearest", nearest_mode="ceil"))


def test_a_factor_of_two_repeats_pixels() -> None:
    graph = import_onnx(network(scales=(2, 2), mode="nearest", nearest_mode="floor",
                                coordinate_transformation_mode="asymmetric"))
    assert [n.op for n in graph.nodes] == ["upsample"]


@pytest.mark.parametrize("axes", [[2, 3], [3, 2], [3]])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_factors_of_some_axes(axes: list[int], mode: str) -> None:
    n = Net((1, 5, *SIZE), opset=18)
    factors = np.array([2.0 + (a == 3) for a in axes], np.float32)
    y = n.op("Resize", n.q("x"), None, factors, axes=axes, mode=mode)
    agree(n.model(n.q(y)), rate=0.5)


def test_golden_is_what_the_formula_says() -> None:
    b = networks.Builder((3, 4, 5), 3)
    y = b.interpolate("x", 11, 3, -2, 7)
    graph = b.done(y)
    x = np.random.default_rng(0).integers(-128, 128, (3, 4, 5))
    (node,) = graph.nodes
    found = run_graph(*graph.to_dict(), {"x": x.astype(np.int8)})[y]
    for c, o, z in np.ndindex(found.shape):
        at = min(max(3 * o - 2, 0), 21)
        n, f = at // 7, at % 7
        acc = (7 - f) * int(x[c, n, z]) + (f * int(x[c, n + 1, z]) if f else 0)
        v = acc + int(node.consts["bias"][c])
        q = round(v * int(node.consts["mult"][c]) / 2 ** int(node.consts["shift"][c]))
        assert found[c, o, z] == min(125, max(-120, q + node.attrs.to_dict()["zp"]))


def test_a_large_one_works_in_row_stripes() -> None:
    arch = preset("tiny")
    b = networks.Builder((8, 64, 64), 1)
    y = b.interpolate(b.conv("x", 8, 3), 128, 2, -1, 4, columns=True)
    graph = b.done(b.conv(b.interpolate(y, 128, 2, -1, 4), 3, 3))
    assert 8 * 128 * 128 > arch.scratchpad_words * arch.lanes
    program = compile_graph(graph, arch)
    inputs = {"x": np.random.default_rng(1).integers(-128, 128, (8, 64, 64)).astype(np.int8)}
    expected, found = (d(program).run(inputs).outputs for d in (GoldenDevice, IssDevice))
    np.testing.assert_array_equal(*(next(iter(o.values())) for o in (expected, found)))


def test_more_phases_than_the_memory_holds_are_refused_by_name() -> None:
    n = Net((1, 3, 4, 101))
    y = n.op("Resize", n.q("x"), None, None, np.array([1, 3, 4, 301]), mode="linear",
             coordinate_transformation_mode="align_corners")
    compile_graph(import_onnx(n.model(n.q(y))), preset("tiny"))  # a third of a pixel each
    n = Net((1, 3, 4, 101))
    y = n.op("Resize", n.q("x"), None, None, np.array([1, 3, 4, 158]), mode="linear",
             coordinate_transformation_mode="align_corners")
    with pytest.raises(FalconetError, match=r"'resize\d+'.*parts.*vector weight memory of 'tiny'"):
        compile_graph(import_onnx(n.model(n.q(y))), preset("tiny"))


@pytest.mark.parametrize("attrs, why", [
    ({"mode": "cubic"}, "mode 'cubic'; use 'nearest' or 'linear'"),
    ({"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"},
     "coordinate_transformation_mode 'tf_crop_and_resize'"),
])
def test_what_is_not_done_is_refused(attrs: dict[str, Any], why: str) -> None:
    with pytest.raises(FalconetError, match=why):
        import_onnx(network(scales=(2, 2), **attrs))


def test_the_quantiser_takes_it() -> None:
    random = np.random.default_rng(1)
    arrays = {"w": random.normal(0, 0.2, (8, 3, 3, 3)).astype(np.float32),
              "s": np.array([1, 1, 2, 2], np.float32)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4),
             helper.make_node("Resize", ["y", "", "s"], ["out"], mode="linear")]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 8, 16, 16])],
        [numpy_helper.from_array(a, k) for k, a in arrays.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    made = quantize(model, [random.normal(0, 1, (1, 3, 8, 8)).astype(np.float32)
                            for _ in range(4)])
    assert [n.op for n in import_onnx(made).nodes] == ["conv", "bilinear"]
    agree(made, rate=0.1)
