"""The integer graph and its form in a program file."""

from __future__ import annotations

import json
from typing import Any

import networks
import numpy as np
import pytest

from falconet.compiler.graph import Graph, Node, output_shape
from falconet.isa import FalconetError
from falconet.isa.graph.ops.concat import Concat
from falconet.isa.graph.ops.conv import Conv


def test_survives_json() -> None:
    graph = networks.zoo_of_operators()
    graph.meta = {"labels": ["a", "b"]}
    description, blob = graph.to_dict()
    again = Graph.from_dict(json.loads(json.dumps(description)), blob)
    assert again.tensors == graph.tensors
    assert (again.name, again.inputs, again.outputs, again.meta) == (
        graph.name, graph.inputs, graph.outputs, graph.meta)
    for a, b in zip(again.nodes, graph.nodes, strict=True):
        assert (a.op, a.name, a.inputs, a.output) == (b.op, b.name, b.inputs, b.output)
        assert a.attrs == b.attrs
        assert a.consts.keys() == b.consts.keys()
        for k, v in b.consts.items():
            assert a.consts[k].dtype == v.dtype and np.array_equal(a.consts[k], v)
            assert a.consts[k].flags.writeable


def test_constants_are_aligned() -> None:
    description, _ = networks.zoo_of_operators().to_dict()
    offsets = [c["offset"] for n in description["nodes"] for c in n["consts"].values()]
    assert offsets and all(o % 16 == 0 for o in offsets)


def test_float_constants_are_a_bug() -> None:
    graph = Graph("g", nodes=[Node(Conv(kernel=(1, 1)), "c", ["x"], "y", {"weight": np.zeros(3)})])
    with pytest.raises(TypeError, match="float64"):
        graph.to_dict()


def test_damaged_section() -> None:
    description, blob = networks.zoo_of_operators().to_dict()
    with pytest.raises(FalconetError, match="graph section"):
        Graph.from_dict(description, blob[: len(blob) // 2])
    description["nodes"][0]["op"] = "softmax"
    with pytest.raises(FalconetError, match="'softmax' is unknown"):
        Graph.from_dict(description, blob)
    del description["nodes"]
    with pytest.raises(FalconetError, match="graph section"):
        Graph.from_dict(description, blob)


def test_copy_is_independent() -> None:
    graph = networks.zoo_of_operators()
    before = json.dumps(graph.to_dict()[0], default=list)
    other = graph.copy()
    for node in other.nodes:
        node.inputs[0] = "elsewhere"
        node.attrs = Concat()
        node.consts["bias"] = np.zeros(1, np.int32)
    other.nodes.clear()
    other.outputs.append("more")
    assert json.dumps(graph.to_dict()[0], default=list) == before


@pytest.mark.parametrize(("attrs", "shape"), [
    ({"stride": (2, 1), "pads": (1, 0, 2, 3)}, (4, 5, 11)),
    ({"dilation": (2, 3)}, (4, 5, 4)),
])
def test_output_shape_of_conv(attrs: dict[str, Any], shape: tuple[int, int, int]) -> None:
    node = Node(Conv(kernel=(3, 3), **attrs), "c", ["x"], "y",
                {"weight": np.zeros((4, 8, 3, 3), np.int8)})
    assert output_shape(node, [(8, 9, 10)]) == shape
