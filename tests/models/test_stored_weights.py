"""No sum of what the quantiser writes leaves the accumulator; no weight is coarser for nothing."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_nets import Net, agree

from falconet.compiler import compile_model
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.importer.onnx.roles import AXES
from falconet.compiler.passes.verify import accumulator_range
from falconet.isa import preset
from falconet_models.ptq.quantize import quantize
from falconet_models.ptq.stored_weights import quantise_weights

F = np.float32
LIMIT = 1 << 24


def conv(weight: np.ndarray, bias: np.ndarray | None = None, **attrs: int
         ) -> tuple[onnx.NodeProto, dict[str, np.ndarray]]:
    op = "ConvTranspose" if attrs.pop("transposed", 0) else "Conv"
    names = ["x", "w"] + (["b"] if bias is not None else [])
    arrays = {"w": weight.astype(F)} | ({} if bias is None else {"b": bias.astype(F)})
    return helper.make_node(op, names, ["y"], **attrs), arrays


@pytest.mark.parametrize("zero_point", [-128, 0, 90, 127])
@pytest.mark.parametrize("count", [500, 1040, 4608, 18432])
@pytest.mark.parametrize("lean", [0.0, 0.5, 1.0])
def test_no_sum_is_too_large(zero_point: int, count: int, lean: float) -> None:
    random = np.random.default_rng(count)
    weight = random.uniform(-1, 1, (6, count, 1, 1)) + lean
    weight[0] = 1  # the worst: all of one sign
    bias = random.normal(0, 3, 6)
    node, arrays = conv(weight, bias)
    found = quantise_weights(node, arrays, F(0.05), zero_point)
    low, high = accumulator_range(found.weight)
    stored = np.rint(bias / (found.scale.astype(np.float64) * F(0.05)))
    offset = stored - zero_point * found.weight.astype(np.int64).reshape(6, -1).sum(1)
    for least, most in ((low, high), (offset, offset), (low + offset, high + offset)):
        assert least.min() >= -LIMIT and most.max() < LIMIT
    finest = np.abs(weight).reshape(6, -1).max(1) / 127
    coarse = found.scale > finest * 1.0001
    reach = np.maximum(-(low + offset), high + offset)[coarse]
    other = np.maximum.reduce([np.abs(offset), -low, high])[coarse]
    assert np.all(np.maximum(reach, other) > 0.7 * LIMIT)  # no more than it must be


def test_groups_of_a_transposed_convolution_share_their_scales(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AXES, "ConvTranspose", 1)
    random = np.random.default_rng(0)
    weight = random.normal(0, 1, (8, 3, 2, 2))  # 2 groups of 4 inputs, 3 outputs each
    weight[4:, 1] *= 5
    bias = random.normal(0, 1, 6)
    node, arrays = conv(weight, bias, transposed=1, group=2, strides=[2, 2])
    found = quantise_weights(node, arrays, F(0.1), 0)
    assert found.axis == 1 and found.scale.shape == (3,) and found.bias.shape == (6,)
    np.testing.assert_allclose(found.scale, np.abs(weight).max((0, 2, 3)) / 127, rtol=1e-6)
    real = found.weight * found.scale[:, None, None]
    assert np.abs(real - weight).max() <= found.scale.max() / 2 + 1e-6


def test_a_large_layer_is_quantised_and_compiled() -> None:
    """Weights of 64 on average over 3 x 3 x 640 reach 4.7e7; 25 bits hold 1.7e7."""
    n = Net((1, 640, 3, 3))
    w = n.random.uniform(-1, 1, (16, 640, 3, 3)).astype(F)
    model = n.model(n.op("Relu", n.op("Conv", "x", w, n.random.normal(0, 1, 16).astype(F))))
    samples = [n.random.uniform(0, 1, (1, 640, 3, 3)).astype(F) for _ in range(2)]
    quantised = quantize(model, samples)
    agree(quantised)
    graph = import_onnx(quantised)
    (node,) = (x for x in graph.nodes if x.op == "conv")
    assert 1 < np.abs(node.consts["weight"].astype(np.int16)).max() < 127
    assert compile_model(quantised, preset("pynq-z2")).n_instructions
