"""The golden model against plain loops and the scalar output stage."""

from __future__ import annotations

import time

import networks
import numpy as np
import pytest
import scalar

from falconet.compiler.graph import Graph, Node
from falconet.isa import FalconetError, Program, preset
from falconet.isa.graph.ops import OPERATORS
from falconet.isa.graph.ops.conv import Conv
from falconet_sim.golden.device import GoldenDevice, run_graph, run_node


def program_of(graph: Graph) -> Program:
    description, blob = graph.to_dict()
    header = {"instructions": 1, "graph": description, "graph_offset": 64}
    return Program(preset("tiny"), bytes(64) + blob, header)


def test_every_operation() -> None:
    """All nodes of the zoo at random pixels; each against its formula for one pixel."""
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
            assert out[o, r, c] == scalar.pixel(node, xs, o, r, c), (node.name, o, r, c)
    assert seen == set(OPERATORS) == {*scalar.MOVED, *scalar.SUMS}


@pytest.mark.parametrize("weight", [127, -127, 13])
def test_exact_beyond_float32(weight: int) -> None:
    """A matrix product whose accumulators do not fit a float32."""
    random = np.random.default_rng(0)
    c = 4096
    x = random.integers(-128, 128, (c, 1, 1)).astype(np.int8)
    w = np.full((2, c, 1, 1), weight, np.int8)
    w[1] = random.integers(-127, 128, (c, 1, 1))
    acc = (w[:, :, 0, 0].astype(object) @ x[:, 0, 0].astype(object)).astype(np.int64)
    one = np.full(2, 1, np.uint32)
    consts = {"weight": w, "bias": (7 - acc).astype(np.int32), "mult": one, "mult_neg": one,
              "shift": np.zeros(2, np.uint8)}
    node = Node(Conv(kernel=(1, 1)), "c", ["x"], "y", consts)
    description, blob = Graph("g", nodes=[node]).to_dict()
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
