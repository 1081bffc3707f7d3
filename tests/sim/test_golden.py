"""The golden model against plain loops and the scalar output stage."""

from __future__ import annotations

import time
from typing import Any

import networks
import numpy as np
import pytest

from falconet.compiler.graph import Graph, Node
from falconet.isa import FalconetError, Program, output_stage, preset
from falconet_sim.golden import GoldenDevice, run_graph, run_node


def program_of(graph: Graph) -> Program:
    description, blob = graph.to_dict()
    header = {"instructions": 1, "graph": description, "graph_offset": 64}
    return Program(preset("tiny"), bytes(64) + blob, header)


def pixel(node: Node, xs: list[Any], o: int, y: int, x: int) -> int:
    """One output, by the contract's words."""
    a, k = node.attrs, node.consts

    def at(c: int, row: int, column: int) -> int:
        _, h, w = xs[0].shape
        inside = 0 <= row < h and 0 <= column < w
        return int(xs[0][c, row, column]) if inside else int(a["pad"])

    if node.op == "eltwise":
        acc = sum(int(v[o, y, x]) * int(c[o]) for v, c in zip(xs, k["coef"]))
    else:
        taps = [(i, j, y * a["stride"][0] + i * a["dilation"][0] - a["pads"][0],
                 x * a["stride"][1] + j * a["dilation"][1] - a["pads"][1])
                for i in range(a["kernel"][0]) for j in range(a["kernel"][1])]
        if node.op == "maxpool":
            acc = max(at(o, r, c) for _, _, r, c in taps)
        else:
            w = k["weight"]
            first = o // (len(w) // a["groups"]) * w.shape[1]
            acc = sum(at(first + n, r, c) * int(w[o, n, i, j])
                      for n in range(w.shape[1]) for i, j, r, c in taps)
    return output_stage(
        acc, bias=int(k["bias"][o]), mult=int(k["mult"][o]), mult_neg=int(k["mult_neg"][o]),
        shift=int(k["shift"][o]), zp=a["zp"], lo=a["lo"], hi=a["hi"],
        table=[int(v) for v in k["table"]] if "table" in k else None)


def test_every_operation() -> None:
    """All nodes of the zoo at random pixels; moves against numpy indexing."""
    graph = networks.zoo_of_operators(seed=3)
    random = np.random.default_rng(0)
    x = random.integers(-128, 128, graph.tensors["x"].shape).astype(np.int8)
    values = run_graph(*graph.to_dict(), {"x": x}, keep=True)
    assert set(values) == set(graph.tensors)
    seen = set()
    for node in graph.nodes:
        xs, out = [values[i] for i in node.inputs], values[node.output]
        assert out.dtype == np.int8 and out.shape == graph.tensors[node.output].shape
        seen.add(node.op)
        for _ in range(25):
            o, r, c = (int(random.integers(n)) for n in out.shape)
            if node.op == "concat":
                expected = np.concatenate(xs)[o, r, c]
            elif node.op == "slice":
                expected = xs[0][o + node.attrs["begin"], r, c]
            elif node.op == "upsample":
                expected = xs[0][o, r // node.attrs["fy"], c // node.attrs["fx"]]
            else:
                expected = pixel(node, xs, o, r, c)
            assert out[o, r, c] == expected, (node.name, o, r, c)
    assert seen >= {"conv", "maxpool", "eltwise", "concat", "upsample"}


@pytest.mark.parametrize("weight", [127, -127, 13])
def test_exact_beyond_float32(weight: int) -> None:
    """A matrix product whose accumulators do not fit a float32."""
    random = np.random.default_rng(0)
    c = 4096
    x = random.integers(-128, 128, (c, 1, 1)).astype(np.int8)
    w = np.full((2, c, 1, 1), weight, np.int8)
    w[1] = random.integers(-127, 128, (c, 1, 1))
    acc = (w[:, :, 0, 0].astype(object) @ x[:, 0, 0].astype(object)).astype(np.int64)
    attrs = {"kernel": [1, 1], "stride": [1, 1], "pads": [0] * 4, "dilation": [1, 1], "groups": 1,
             "pad": 0, "zp": 0, "lo": -128, "hi": 127}
    one = np.full(2, 1, np.uint32)
    consts = {"weight": w, "bias": (7 - acc).astype(np.int32), "mult": one, "mult_neg": one,
              "shift": np.zeros(2, np.uint8)}
    description, blob = Graph("g", nodes=[Node("conv", "c", ["x"], "y", attrs, consts)]).to_dict()
    assert run_node(description["nodes"][0], blob, [x]).ravel().tolist() == [7, 7]


def test_device() -> None:
    graph = networks.zoo_of_operators()
    device = GoldenDevice(keep=True)
    with pytest.raises(FalconetError, match="no program is loaded"):
        device.run({})
    device.load(program_of(graph))
    x = np.random.default_rng(1).integers(-128, 128, graph.tensors["x"].shape).astype(np.int8)
    result = device.run({"x": x})
    expected = run_graph(*graph.to_dict(), {"x": x})
    assert result.cycles is None and list(result.outputs) == graph.outputs == list(expected)
    for name, value in expected.items():
        assert np.array_equal(result.outputs[name], value)
        assert np.array_equal(device.tensor(name), value)
    assert np.array_equal(device.tensor("x"), x)
    assert (device.name, device.arch) == ("golden", preset("tiny"))


def test_refusals() -> None:
    graph = networks.zoo_of_operators()
    device = GoldenDevice(program_of(graph))
    with pytest.raises(FalconetError, match="input 'x': got nothing"):
        device.run({})
    with pytest.raises(FalconetError, match="input 'x': got float64"):
        device.run({"x": np.zeros(graph.tensors["x"].shape)})
    device.run({"x": np.zeros(graph.tensors["x"].shape, np.int8)})
    with pytest.raises(FalconetError, match=r"'x' was not kept; .*keep=True"):
        device.tensor("x")
    with pytest.raises(FalconetError, match="no 'graph'; recompile"):
        GoldenDevice(Program(preset("tiny"), b"", {}))


def test_mobilenet_is_quick() -> None:
    graph = networks.mobilenet_v2()
    device = GoldenDevice(program_of(graph))
    x = np.random.default_rng(0).integers(-128, 128, graph.tensors["x"].shape).astype(np.int8)
    start = time.process_time()
    device.run({"x": x})
    assert time.process_time() - start < 5
