"""Small float networks of the mobile kind, and pictures for them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx_nets import Net

__all__ = ["network", "pictures"]

F = np.float32
SIZE = 32


def _conv(n: Net, x: str, channels: int, out: int, k: int = 1, **attrs: int) -> str:
    """Weights that keep the variance, and channels of unlike size."""
    per_group = channels // attrs.get("group", 1)
    w = n.random.normal(0, (2 / (per_group * k * k)) ** 0.5, (out, per_group, k, k))
    w *= np.exp(n.random.normal(0, 0.4, (out, 1, 1, 1)))
    stride = attrs.pop("stride", 1)
    return str(n.op("Conv", x, w.astype(F), n.random.normal(0, 0.3, out).astype(F),
                    pads=[k // 2] * 4, strides=[stride] * 2, **attrs))


def _activation(n: Net, x: str, kind: str) -> str:
    if kind == "silu":
        return str(n.op("Mul", x, n.op("Sigmoid", x)))
    if kind == "hard-swish":
        return str(n.op("Mul", x, n.op("HardSigmoid", x, alpha=1 / 6)))
    return str(n.op("Clip", x, np.array(0, F), np.array(6, F)))


def _gated(n: Net, x: str, channels: int) -> str:
    """Squeeze and excitation."""
    y = n.op("Relu", _conv(n, n.op("GlobalAveragePool", x), channels, channels // 4))
    return str(n.op("Mul", x, n.op("Sigmoid", _conv(n, y, channels // 4, channels))))


def network(kind: str, seed: int) -> onnx.ModelProto:
    """Inverted residuals, as in MobileNetV2, with an activation of ``kind``, or ReLU6 and gates."""
    n = Net((1, 3, SIZE, SIZE), seed=seed)
    x = _activation(n, _conv(n, "x", 3, 16, 3, stride=2), kind)
    for _ in range(4):
        y = _activation(n, _conv(n, x, 16, 64), kind)
        y = _activation(n, _conv(n, y, 64, 64, 3, group=64), kind)
        y = _gated(n, y, 64) if kind == "gated" else y
        x = n.op("Add", x, _conv(n, y, 64, 16))
    x = n.op("Flatten", n.op("GlobalAveragePool", x))
    return n.model(n.op("Gemm", x, n.random.normal(0, 0.1, (16, 20)).astype(F)))


def pictures(count: int, seed: int) -> list[np.ndarray]:
    """Patches of one colour with some noise."""
    random = np.random.default_rng(seed)
    patches = random.normal(0, 1, (count, 1, 3, SIZE // 8, SIZE // 8))
    large = np.kron(patches, np.ones((1, 1, 1, 8, 8)))
    large *= random.uniform(0.5, 1.5, (count, 1, 1, 1, 1))
    return [*(large + random.normal(0, 0.3, large.shape)).astype(F)]
