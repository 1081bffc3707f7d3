from __future__ import annotations

from typing import Any

import numpy as np
from onnx_nets import ARCH, Net, agree

from falconet.compiler.graph import Graph
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.passes import optimise
from falconet.compiler.passes.tables import fuse_tables
from falconet.compiler.passes.verify import verify
from falconet.isa.graph.ops.conv import Conv

F = np.float32


def fused(body: Any) -> Graph:
    """The network conv -> Q/DQ -> body, with the pass checked against golden and onnxruntime."""
    n = Net()
    y = n.q(n.conv(n.q("x"), 8), 0.04, 3)
    out = body(n, y)
    model = n.model(*(out if isinstance(out, list) else [n.q(out, 0.03, -5)]))
    agree(model)
    optimise(import_onnx(model), ARCH)
    return verify(fuse_tables(import_onnx(model)), ARCH)


def test_activation_joins_the_convolution() -> None:
    (conv,) = fused(lambda n, y: n.op("Sigmoid", y)).nodes
    assert conv.op == "conv" and conv.consts["table"].shape == (256,)
    assert (conv.of(Conv).lo, conv.of(Conv).hi, conv.of(Conv).zp) == (-128, 127, 3)


def test_tables_compose() -> None:
    (conv,) = fused(lambda n, y: n.op("Tanh", n.q(n.op("Sigmoid", y), 1 / 256, -128))).nodes
    x = (np.arange(-128, 128) - 3) * F(0.04)
    sigmoid = np.clip(np.rint(256 / (1 + np.exp(-x))), 0, 255) / 256
    expected = np.clip(np.rint(np.tanh(sigmoid) / F(0.03)) - 5, -128, 127)
    assert np.abs(conv.consts["table"] - expected).max() <= 1


def test_relu_of_the_same_scale_is_a_clamp() -> None:
    (conv,) = fused(lambda n, y: [n.q(n.op("Relu", y), 0.04, 3)]).nodes
    assert (conv.of(Conv).lo, conv.of(Conv).hi) == (3, 127)
    assert "table" not in conv.consts


def test_rescale_joins_a_sum() -> None:
    n = Net()
    x = n.q("x")
    total = n.q(n.op("Add", n.q(n.conv(x, 8)), n.q(n.conv(x, 8))), 0.05)
    model = n.model(n.q(n.op("LeakyRelu", total, alpha=0.1), 0.0213, -60))
    agree(model)
    assert [v.op for v in fuse_tables(import_onnx(model)).nodes] == ["conv", "conv", "eltwise"]


def test_a_second_reader_keeps_the_tensor() -> None:
    graph = fused(lambda n, y: n.op("Add", n.q(n.op("Relu", y), 0.07), n.q(n.op(
        "LeakyRelu", y), 0.02)))
    assert [n.op for n in graph.nodes] == ["conv", "eltwise", "eltwise", "eltwise"]


def test_an_output_keeps_its_tensor() -> None:
    graph = fused(lambda n, y: [y, n.q(n.op("Relu", y), 0.07)])
    assert [n.op for n in graph.nodes] == ["conv", "eltwise"]


def test_channels_of_their_own_stay() -> None:
    slopes = np.linspace(0, 1, 8, dtype=F).reshape(8, 1, 1)
    graph = fused(lambda n, y: n.op("PRelu", y, slopes))
    assert [n.op for n in graph.nodes] == ["conv", "eltwise"]


def test_silu_with_its_sigmoid_stored_between() -> None:
    n = Net()
    y = n.q(n.conv(n.q("x"), 8), 0.04, 3)
    silu = n.op("Mul", y, n.q(n.op("Sigmoid", y), 1 / 256, -128))
    model = n.model(n.q(silu, 0.03, -100))
    agree(model)
    assert [v.op for v in optimise(import_onnx(model), ARCH).nodes] == ["conv"]
