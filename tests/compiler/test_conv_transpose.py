"""Transposed convolution: its integers, the importer and the quantiser, against onnxruntime."""

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
from falconet.compiler.passes.verify import verify
from falconet.isa import FalconetError, preset
from falconet_models.ptq.quantize import quantize
from falconet_sim.golden.device import GoldenDevice, run_graph
from falconet_sim.iss.simulator import IssDevice

CASES: dict[str, dict[str, Any]] = {
    "2x2 by 2": {"k": (2, 2), "strides": [2, 2]},
    "4x4 by 2": {"k": (4, 4), "strides": [2, 2], "pads": [1, 1, 1, 1]},
    "3x3 by 2, one more": {"k": (3, 3), "strides": [2, 2], "pads": [1, 1, 1, 1],
                           "output_padding": [1, 1]},
    "strides 1 and 4": {"k": (3, 2), "strides": [1, 4]},
    "uneven pads": {"k": (4, 5), "strides": [2, 3], "pads": [0, 2, 3, 1]},
    "two groups": {"k": (3, 3), "strides": [2, 2], "group": 2},
    "depthwise": {"k": (3, 3), "strides": [2, 2], "group": 8, "o": 8},
    "depthwise, scales along C": {"k": (4, 4), "strides": [2, 2], "group": 8, "o": 8, "axis": 0},
    "depthwise with a multiplier": {"k": (2, 3), "strides": [2, 2], "group": 8, "o": 24},
    "same upper": {"k": (3, 5), "strides": [3, 2], "auto_pad": "SAME_UPPER"},
    "same lower": {"k": (3, 5), "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    "valid": {"k": (3, 3), "strides": [2, 2], "auto_pad": "VALID"},
    "output_shape": {"k": (5, 5), "strides": [2, 3], "output_shape": [15, 27]},
    "kernel below the stride": {"k": (1, 2), "strides": [3, 3]},
    "dilation": {"k": (3, 3), "strides": [2, 2], "dilations": [2, 3]},
    "stride 1": {"k": (3, 3), "strides": [1, 1], "pads": [1, 1, 1, 1]},
}


def network(case: dict[str, Any], *, unsigned: bool = False) -> onnx.ModelProto:
    case = {"o": 6, "group": 1, "axis": 1, **case}
    n = Net((1, 8, 7, 9), unsigned=unsigned)
    (ky, kx), o, axis = case.pop("k"), case.pop("o"), case.pop("axis")
    x = n.q("x", 0.04, 5)
    weight = n.weight(8, o // case["group"], ky, kx, axis=axis)
    y = n.op("ConvTranspose", x, weight, n.bias(o), **case)
    return n.model(n.q(n.op("Relu", y) if unsigned else y, 0.05, -3))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("unsigned", [False, True])
def test_a_layer_is_within_1_of_onnxruntime(name: str, unsigned: bool) -> None:
    (layer,) = agree(network(CASES[name], unsigned=unsigned))
    assert layer.op == "conv_transpose"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("preset_name", ["tiny", "pynq-z2"])
def test_the_simulator_computes_what_the_golden_model_does(name: str, preset_name: str) -> None:
    program = compile_graph(import_onnx(network(CASES[name])), preset(preset_name))
    inputs = {"x": np.random.default_rng(1).integers(-128, 128, (8, 7, 9)).astype(np.int8)}
    expected, found = (d(program).run(inputs).outputs for d in (GoldenDevice, IssDevice))
    for output, value in expected.items():
        np.testing.assert_array_equal(found[output], value)


def test_golden_is_a_convolution_of_the_zero_stuffed_image() -> None:
    """Dumoulin and Visin, 2016: zeros between the pixels, the kernel turned by 180 degrees."""
    b = networks.Builder((3, 4, 5), 3)
    y = b.transposed("x", 4, 3, 2, 1)
    graph = b.done(y)
    (node,) = graph.nodes
    x = np.random.default_rng(0).integers(-128, 128, (3, 4, 5))
    stuffed = np.zeros((3, 7, 9), int)
    stuffed[:, ::2, ::2] = x - 3
    stuffed = np.pad(stuffed, ((0, 0), (1, 1), (1, 1)))
    weight = node.consts["weight"].astype(int)[:, :, ::-1, ::-1]
    acc = np.array([[[np.sum(stuffed[:, i:i + 3, j:j + 3] * w) for j in range(9)]
                     for i in range(7)] for w in weight])
    k = {name: node.consts[name].astype(np.int64)[:, None, None] for name in node.consts}
    exact = np.rint((acc + k["bias"]) * k["mult"] / 2.0 ** k["shift"]) + node.attrs.to_dict()["zp"]
    found = run_graph(*graph.to_dict(), {"x": x.astype(np.int8)})[y]
    np.testing.assert_array_equal(found, np.clip(exact, -120, 125))


def test_a_large_one_works_in_row_stripes() -> None:
    """The output alone is twice what the scratchpad holds."""
    arch = preset("tiny")
    b = networks.Builder((8, 64, 64), 1)
    graph = b.done(b.conv(b.transposed(b.conv("x", 8, 3), 8), 3, 3))
    assert 8 * 128 * 128 > arch.scratchpad_words * arch.lanes
    program = compile_graph(graph, arch)
    inputs = {"x": np.random.default_rng(1).integers(-128, 128, (8, 64, 64)).astype(np.int8)}
    expected, found = (d(program).run(inputs).outputs for d in (GoldenDevice, IssDevice))
    np.testing.assert_array_equal(*(next(iter(o.values())) for o in (expected, found)))


def test_only_what_is_added_counts_against_the_accumulator() -> None:
    """Each pixel sums a quarter of the taps: what all of them could reach is no reason."""
    b = networks.Builder((320, 3, 3), 1)
    graph = b.done(b.transposed("x", 2, 4, 2, 1))
    graph.nodes[0].consts["weight"][:] = 80
    with pytest.raises(FalconetError, match=r"conv_transpose.*accumulator.*bits hold"):
        graph.nodes[0].consts["weight"][:] = 127
        verify(graph, preset("pynq-z2"))
    graph.nodes[0].consts["weight"][:] = 80
    assert 320 * 16 * 80 * 128 >= 1 << 24 > 320 * 4 * 80 * 128
    verify(graph, preset("pynq-z2"))


def test_weights_that_no_memory_holds_are_refused_by_name() -> None:
    b = networks.Builder((64, 3, 3), 1)
    with pytest.raises(FalconetError, match=r"'conv_transpose0'.*4 parts.*memory of 'tiny' holds"):
        compile_graph(b.done(b.transposed("x", 8, 6, 2, 2)), preset("tiny"))


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_the_quantiser_takes_it(groups: int) -> None:
    random = np.random.default_rng(groups)
    shapes = {"w": (8, 3, 3, 3), "v": (8, 8 // groups, 4, 4), "b": (8,)}
    arrays = {k: random.normal(0, 0.2, s).astype(np.float32) for k, s in shapes.items()}
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4),
             helper.make_node("ConvTranspose", ["y", "v", "b"], ["z"], strides=[2, 2],
                              pads=[1] * 4, group=groups),
             helper.make_node("Relu", ["z"], ["out"])]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 8, 16, 16])],
        [numpy_helper.from_array(a, k) for k, a in arrays.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    pictures = [random.normal(0, 1, (1, 3, 8, 8)).astype(np.float32) for _ in range(4)]
    made = quantize(model, pictures)
    assert [n.op for n in import_onnx(made).nodes] == ["conv", "conv_transpose"]
    agree(made)
