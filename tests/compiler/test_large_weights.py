"""Weights that int8 [-127, 127] does not hold come in files of others: the same sums, exactly."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from devices import run_all
from onnx_nets import Net, agree

from falconet.compiler import compile_model
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.isa import preset
from falconet.isa.machine.rounding import output_stage
from falconet_sim.golden.device import run_graph

F = np.float32


def weights(n: Net, shape: tuple[int, ...], kind: str, axis: int = 0) -> tuple[str, np.ndarray]:
    """Stored weights behind a DequantizeLinear, and the integers that they mean."""
    count = shape[axis]
    if kind == "-128":
        stored = n.random.integers(-128, 128, shape).astype(np.int8)
        stored.flat[::7] = -128
        zero = np.zeros(count, np.int8)
    else:
        stored = n.random.integers(0, 256, shape).astype(np.uint8)
        stored.flat[:2] = 0, 255
        zero = n.random.integers(0, 256, count).astype(np.uint8)
        zero[:2] = 0, 255
    scale = n.random.uniform(0.5, 1, count).astype(F) / 2000
    s, z = n.constant(scale), n.constant(zero, zero.dtype)
    spread = [-1 if i == axis else 1 for i in range(len(shape))]
    real = n.op("DequantizeLinear", n.constant(stored, stored.dtype), s, z, axis=axis)
    return real, stored.astype(np.int64) - zero.astype(np.int64).reshape(spread)


def network(kind: str, groups: int, *, k: int = 3, channels: int = 40, out: int = 40,
            slope: bool = False) -> tuple[onnx.ModelProto, np.ndarray]:
    n = Net((1, channels, 6, 5), seed=groups)
    w, meant = weights(n, (out, channels // groups, k, k), kind)
    y = n.op("Conv", n.q("x", 0.03, -7), w, n.bias(out), group=groups, pads=[k // 2] * 4)
    if slope:
        y = n.op("PRelu", y, n.random.uniform(0, 1, (out, 1, 1)).astype(F))
    return n.model(n.q(y, 0.05, 11)), meant


CASES = [("-128", 1, {}), ("uint8", 1, {}), ("-128", 40, {}), ("uint8", 40, {}), ("-128", 4, {}),
         ("uint8", 4, {"slope": True}), ("-128", 1, {"k": 1, "channels": 5}),
         ("-128", 8, {"out": 80, "slope": True}), ("-128", 40, {"out": 80})]


@pytest.mark.parametrize(("kind", "groups", "options"), CASES)
def test_sums_are_those_of_the_file(kind: str, groups: int, options: dict) -> None:
    """By hand: the output stage over the whole sum with the file's weights."""
    model, meant = network(kind, groups, **options)
    agree(model)
    graph = import_onnx(model)
    x = np.random.default_rng(3).integers(-128, 128, graph.tensors["x"].shape).astype(np.int8)
    found = run_graph(*graph.to_dict(), {"x": x})[graph.outputs[0]]
    convs = [n for n in graph.nodes if n.op == "conv"]
    stage = {key: np.concatenate([n.consts[key] for n in convs])
             for key in ("bias", "mult", "mult_neg", "shift")}
    o, per_group, k, _ = meant.shape
    padded = np.pad(x.astype(np.int64), ((0, 0), *[(k // 2, k // 2)] * 2), constant_values=-7)
    random = np.random.default_rng(4)
    for _ in range(60):
        c, row, column = (int(random.integers(0, s)) for s in (o, 6, 5))
        first = c // (o // groups) * per_group
        seen = padded[first:first + per_group, row:row + k, column:column + k]
        want = output_stage(int((meant[c] * seen).sum()), zp=11, lo=-128, hi=127, **{
            key: int(value[c]) for key, value in stage.items()})
        assert found[c, row, column] == want


@pytest.mark.parametrize(("kind", "groups"), [("-128", 1), ("uint8", 40), ("-128", 4)])
def test_they_run(kind: str, groups: int) -> None:
    program = compile_model(network(kind, groups)[0], preset("tiny"))
    (first,) = program.header["inputs"]
    x = np.random.default_rng(5).integers(-128, 128, first["shape"]).astype(np.int8)
    run_all(program, {first["name"]: x})


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_of_a_matrix(op: str) -> None:
    n = Net((1, 8, 3, 3))
    w, _ = weights(n, (72, 20), "-128", axis=1)
    x = n.op("Reshape", n.q("x"), np.array([1, 72]))
    agree(n.model(n.q(n.op(op, x, w), 0.2)))


def test_channels_that_need_nothing_are_not_joined_twice() -> None:
    model, _ = network("-128", 1, channels=64)
    weight = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8
                  and len(t.dims) == 4)
    values = onnx.numpy_helper.to_array(weight).clip(-127, 127)
    values[3, 40] = -128
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    (conv,) = (n for n in import_onnx(model).nodes if n.op == "conv")
    assert conv.consts["weight"].shape[1] == 64 + 16
    agree(model)
