"""A float network with every operator that changed its form, in every opset from 7 to 23."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx_nets import Net, agree

from falconet.compiler import compile_model
from falconet.isa import preset
from falconet_models.ptq.prepare import session
from falconet_models.ptq.quantize import quantize

F = np.float32


def _weights(n: Net, *shape: int) -> np.ndarray:
    return n.random.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(F)


def _formed(n: Net, op: str, x: str, since: int, **given: Any) -> Any:
    """``given`` as inputs in their order from opset ``since`` on, before as attributes."""
    attrs = {k: given.pop(k) for k in ("outputs", "axis", "keepdims", "mode") if k in given}
    if n.opset < since:
        plain = {k: v.tolist() if v.ndim else float(v) for k, v in given.items()}
        return n.op(op, x, **plain, **attrs)
    return n.op(op, x, *given.values(), **attrs)


def _repeated(n: Net, x: str) -> str:
    scales = np.array([1, 1, 2, 2], F)
    if n.opset < 9:
        return str(n.op("Upsample", x, scales=scales.tolist(), mode="nearest"))
    if n.opset < 11:
        return str(n.op("Upsample" if n.opset < 10 else "Resize", x, scales, mode="nearest"))
    attrs = {"mode": "nearest", "nearest_mode": "floor",
             "coordinate_transformation_mode": "asymmetric"}
    if n.opset < 18:
        return str(n.op("Resize", x, np.zeros(0, F), scales, **attrs))
    return str(n.op("Resize", x, None, scales[2:], axes=[2, 3], **attrs))


def _halves(n: Net, x: str) -> list[str]:
    if n.opset >= 18:
        return list(n.op("Split", x, outputs=2, axis=1, num_outputs=2))
    return list(_formed(n, "Split", x, 13, split=np.array([8, 8]), outputs=2, axis=1))


def network(opset: int) -> onnx.ModelProto:
    n = Net((1, 3, 16, 16), opset=opset)
    x = n.op("Conv", "x", _weights(n, 16, 3, 3, 3), _weights(n, 16))
    bn = [n.random.uniform(0.5, 1.5, 16).astype(F) for _ in range(4)]
    x = n.op("BatchNormalization", n.op("Relu", x), *bn)
    x = _formed(n, "Pad", x, 11, pads=np.array([0, 0, 0, 1, 0, 0, 1, 0]), value=np.array(0, F))
    x = n.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    x = _repeated(n, n.op("AveragePool", x, kernel_shape=[2, 2]))
    a, b = _halves(n, n.op("Dropout", x))
    a = _formed(n, "Clip", n.op("Conv", a, _weights(n, 8, 8, 1, 1)), 11,
                min=np.array(0, F), max=np.array(6, F))
    x = n.op("Concat", n.op("Sigmoid", b), n.op("LeakyRelu", a, alpha=0.1), axis=1)
    x = _formed(n, "Slice", x, 10, starts=np.array([2]), ends=np.array([14]), axes=np.array([1]))
    x = n.op("Add", n.op("PRelu", x, _weights(n, 12, 1, 1)), x)
    x = _formed(n, "ReduceMean", x, 18, axes=np.array([2, 3]), keepdims=1)
    x = _formed(n, "Squeeze", x, 13, axes=np.array([2, 3]))
    x = _formed(n, "Unsqueeze", x, 13, axes=np.array([2, 3]))
    x = n.op("Flatten", x)
    return n.model(n.op("Gemm", x, _weights(n, 10, 12), _weights(n, 10), transB=1))


@pytest.mark.parametrize("opset", range(7, 24))
def test_every_opset_is_read_quantised_and_compiled(opset: int) -> None:
    model = network(opset)
    samples = [np.random.default_rng(i).normal(0, 1, (1, 3, 16, 16)).astype(F) for i in range(4)]
    (want,) = session(model).run(None, {"x": samples[0]})
    quantised = quantize(model, samples)
    agree(quantised, rate=0.03)
    (got,) = session(quantised, optimise=False).run(None, {"x": samples[0]})
    assert 20 * np.log10(np.linalg.norm(want) / np.linalg.norm(got - want)) > 20
    assert compile_model(quantised, preset("pynq-z2")).n_instructions
