"""``falconet quantize`` of float networks with gates, masks and sums that broadcast."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from devices import run_all
from onnx_nets import Net, agree
from programs import random_inputs

from falconet.compiler import compile_model
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.isa import preset
from falconet_models.onnx_session import snr_db
from falconet_models.ptq.prepare import session
from falconet_models.ptq.quantize import quantize

F = np.float32
TINY = preset("tiny")
Body = Callable[[Net, str], str]


def conv(n: Net, x: str, out: int, channels: int, k: int = 1) -> str:
    weight = n.random.normal(0, (channels * k * k) ** -0.5, (out, channels, k, k)).astype(F)
    return str(n.op("Conv", x, weight, n.random.normal(0, 0.2, out).astype(F), pads=[k // 2] * 4))


def squeeze_and_excite(n: Net, x: str, gate: str = "Sigmoid") -> str:
    small = n.op("Relu", conv(n, n.op("GlobalAveragePool", x), 4, 16))
    return str(n.op("Mul", x, n.op(gate, conv(n, small, 16, 4))))


def hard_gate(n: Net, x: str) -> str:
    """As MobileNetV3 is exported at opset 17."""
    return squeeze_and_excite(n, n.op("HardSwish", x), "HardSigmoid")


def swish(n: Net, x: str) -> str:
    return str(n.op("Mul", x, n.op("Sigmoid", x)))


def efficient(n: Net, x: str) -> str:
    return squeeze_and_excite(n, swish(n, x))


def spatial(n: Net, x: str) -> str:
    """CBAM's second half: a map of one channel from all channels."""
    return str(n.op("Mul", x, n.op("Sigmoid", conv(n, x, 1, 16, 7))))


def both(n: Net, x: str) -> str:
    return spatial(n, squeeze_and_excite(n, x))


def added(n: Net, x: str) -> str:
    """A map of one channel and a value per channel added to all."""
    y = n.op("Add", x, conv(n, x, 1, 16))
    return str(n.op("Relu", n.op("Sub", y, conv(n, n.op("GlobalAveragePool", x), 16, 16))))


def limited(n: Net, x: str) -> str:
    return str(n.op("Clip", n.op("Mul", conv(n, x, 16, 16), x), np.array(-1, F), np.array(2, F)))


BODIES: dict[str, Body] = {"squeeze and excitation": squeeze_and_excite, "hard": hard_gate,
                           "EfficientNet": efficient, "mask": spatial, "CBAM": both,
                           "sums": added, "limited": limited}


def network(body: Body) -> onnx.ModelProto:
    n = Net((1, 3, 12, 10), seed=3)
    return n.model(conv(n, body(n, conv(n, "x", 16, 3, 3)), 6, 16))


@pytest.mark.parametrize("name", BODIES)
def test_it_is_quantised_and_runs_on_every_device(name: str) -> None:
    model, random = network(BODIES[name]), np.random.default_rng(1)
    samples = [random.normal(0, 1, (1, 3, 12, 10)).astype(F) for _ in range(6)]
    quantised = quantize(model, samples)
    agree(quantised, rate=0.03)
    program = compile_model(quantised, TINY)
    run_all(program, random_inputs(program))
    exact, stored = (session(m, optimise=False).run(None, {"x": samples[0]})[0]
                     for m in (model, quantised))  # integer kernels of some processors saturate
    assert snr_db(exact, stored) > 20


@pytest.mark.parametrize(("name", "products"), [("EfficientNet", 1), ("CBAM", 2), ("sums", 0)])
def test_a_gate_is_a_product_and_a_swish_a_table(name: str, products: int) -> None:
    samples = [np.random.default_rng(i).normal(0, 1, (1, 3, 12, 10)).astype(F) for i in range(2)]
    nodes = import_onnx(quantize(network(BODIES[name]), samples)).nodes
    assert [node.op for node in nodes].count("product") == products
