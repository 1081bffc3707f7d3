"""Small files that ask for gigabytes or hours are refused at once, by the limits in the docs."""

from __future__ import annotations

import functools
import itertools
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_nets import Net

from falconet.compiler.importer.onnx import limits
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.importer.onnx.limits import Budget, check_nodes
from falconet.compiler.importer.onnx.shapes import check_constants
from falconet.isa import FalconetError
from falconet_models.ptq.prepare import load_float

F = np.float32
MANY = np.array([1 << 20, 800])
Make = Callable[[Net], str]


def _if(n: Net) -> str:
    def branch(name: str) -> onnx.GraphProto:
        shape = helper.make_tensor(f"{name}s", TensorProto.INT64, [2], MANY)
        return helper.make_graph(
            [helper.make_node("ConstantOfShape", [f"{name}s"], [name], name=f"make {name}")], name,
            [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)], [shape])

    return str(n.op("If", np.array(True), then_branch=branch("a"), else_branch=branch("b")))


BOMBS: dict[str, Make] = {
    "ConstantOfShape": lambda n: n.op("ConstantOfShape", MANY),
    "Expand": lambda n: n.op("Expand", np.ones(1, F), MANY),
    "Tile": lambda n: n.op("Tile", np.ones(2, F), np.array([1 << 30])),
    "Range": lambda n: n.op("Range", np.array(0, F), np.array(1e11, F), np.array(1, F)),
    "Range of integers": lambda n: n.op("Cast", n.op("Range", np.array(0), np.array(1 << 33),
                                                     np.array(1)), to=1),
    "OneHot": lambda n: n.op("OneHot", np.array([1]), np.array(1 << 30), np.array([0, 1], F)),
    "Pad": lambda n: n.op("Pad", np.ones((2, 2), F), np.array([0, 0, 1 << 15, 1 << 15])),
    "Resize": lambda n: n.op("Resize", np.ones((1, 1, 2, 2), F), None, np.array([1, 1, 1e4, 1e4],
                                                                                F)),
    "MatMul": lambda n: n.op("MatMul", np.ones((1 << 14, 1), F), np.ones((1, 1 << 14), F)),
    "computed shape": lambda n: n.op("ConstantOfShape", n.op("Reshape", n.op(
        "ReduceProd", MANY, axes=[0]), np.array([1]))),
    "step by step": lambda n: n.op("Cos", n.op("Sin", n.op("Cos", n.op("ConstantOfShape",
                                                                         MANY[:1] * 20)))),
    "random": lambda n: n.op("RandomNormal", shape=[1 << 15, 1 << 15]),
    "window": lambda n: n.op("HannWindow", np.array(1 << 30)),
    "If": _if,
    # onnx follows the numbers of a list, one by one, where a Cast or Concat takes them in
    "followed window": lambda n: n.op("Cast", n.op("BlackmanWindow", np.array(1 << 30)), to=1),
    "followed random": lambda n: n.op("Cast", n.op("RandomNormal", shape=[1 << 30]), to=1),
    "followed doubling": lambda n: n.op("Cast", functools.reduce(
        lambda a, _: n.op("Concat", a, a, axis=0), range(32), n.constant([1, 2], np.int64)), to=1),
    "followed computed": lambda n: n.op("Cast", n.op("ConstantOfShape", n.op(
        "Mul", MANY[:1], MANY[1:])), to=1),
}


def _net(make: Make) -> onnx.ModelProto:
    """A float network that multiplies by the largest of the constants."""
    n = Net((1, 3, 8, 8))
    h = n.op("Conv", "x", np.ones((8, 3, 3, 3), F))
    most = n.op("ReduceMax", make(n), keepdims=0)
    graph = helper.make_graph(
        n.nodes, "bomb", n.inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 6, 6])], n.initialisers)
    graph.node.append(helper.make_node("Mul", [h, most], ["y"], name="last"))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _used() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.timeout(30)
@pytest.mark.parametrize("take", [import_onnx, load_float])
@pytest.mark.parametrize("name", BOMBS)
def test_constants(name: str, take: Callable[[onnx.ModelProto], Any]) -> None:
    model = _net(BOMBS[name])
    assert model.ByteSize() < 200_000
    before, began = _used(), time.monotonic()
    with pytest.raises(FalconetError, match=r"(the constants that|value .* and the limits)"):
        take(model)
    assert time.monotonic() - began < 10
    assert _used() - before < 600


def test_constants_of_an_ordinary_size_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _net(lambda n: n.op("ConstantOfShape", np.array([1000, 1000]),
                                value=helper.make_tensor("v", 1, [1], [2.0])))
    load_float(model)
    check_constants(model)
    monkeypatch.setattr(limits, "CONSTANT_BYTES", 4_000_000)  # its largest takes four more
    with pytest.raises(FalconetError, match=r"node 'reducemax\d' \(ReduceMax\): the constants"):
        check_constants(model)


def test_a_file_may_compute_twice_what_it_holds() -> None:
    held = 1 << 28
    assert Budget(held, 17).left == 2 * held and Budget(1, 17).left == limits.CONSTANT_BYTES


def test_loops() -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"])], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("d", TensorProto.BOOL, [])])
    model = _net(lambda n: n.op("Cast", n.op("Loop", np.array(1 << 40), np.array(True), body=body),
                                to=1))
    with pytest.raises(FalconetError, match=r"\(Loop\): loops are not supported"):
        check_constants(model)


@pytest.mark.parametrize("take", [import_onnx, load_float])
@pytest.mark.parametrize("shape", [(1, 3, 100_002, 100_002), (1, 3, 4096, 16),
                                   (1, 1 << 20, 64, 64)])
def test_images(shape: tuple[int, ...], take: Callable[[onnx.ModelProto], Any]) -> None:
    n = Net(shape)
    model = n.model(n.op("Conv", "x", np.ones((1, shape[1], 1, 1), F)))
    with pytest.raises(FalconetError, match=r"input 'x': it has the shape .*4095 pixels"):
        take(model)


@pytest.mark.parametrize("take", [import_onnx, load_float])
def test_images_within(take: Callable[[onnx.ModelProto], Any]) -> None:
    n = Net((1, 16, 64, 64))
    x = n.op("Conv", n.q("x") if take is import_onnx else "x", np.ones((1, 16, 1, 1), F))
    model = n.model(n.op("Resize", x, None, np.array([1, 1, 1e3, 1e3], F), mode="nearest"))
    with pytest.raises(FalconetError, match=r"value 'v\d+_0': it has the shape \[1, 1, 64000"):
        take(model)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("take", [import_onnx, load_float])
def test_nodes(take: Callable[[onnx.ModelProto], Any]) -> None:
    def chain(count: int) -> onnx.ModelProto:
        names = ["x", *(f"v{i}" for i in range(count))]
        nodes = [helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)]
        image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
        out = helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, [1, 3, 8, 8])
        return helper.make_model(helper.make_graph(nodes, "chain", [image], [out]),
                                 opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    began = time.monotonic()
    with pytest.raises(FalconetError, match="has 20,000 nodes and the limit is 10,000"):
        take(chain(20_000))
    assert time.monotonic() - began < 5
    check_nodes(chain(10_000), "it")


@pytest.mark.parametrize("take", [import_onnx, load_float])
def test_what_ends_onnx_itself(take: Callable[[onnx.ModelProto], Any]) -> None:
    """A dilation beyond the picture makes an extent of -1994, by which GatherND reads; functions
    that call others twice, 40 deep."""
    n = Net((1, 8, 6, 6))
    wide = n.op("Conv", "x", np.ones((8, 8, 1, 3), F), dilations=[2, 1000])
    with pytest.raises(FalconetError, match=r"node 'gathernd\d' \(GatherND\): it is not supported"):
        take(_bare(n, n.op("GatherND", wide, wide)))
    n = Net((1, 8, 6, 6))
    model = _bare(n, n.op("Relu", "x"))
    for i in range(40):
        model.functions.append(helper.make_function(
            "own", f"f{i}", ["a"], ["c"], [
                helper.make_node(*call, domain="own") for call in (
                    (f"f{i - 1}", ["a"], ["b"]), (f"f{i - 1}", ["b"], ["c"]))] if i else [
                helper.make_node("Relu", ["a"], ["c"])],
            [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]))
    model.graph.node[0].op_type, model.graph.node[0].domain = "f39", "own"
    model.opset_import.append(helper.make_opsetid("own", 1))
    with pytest.raises(FalconetError, match=r"functions of its own \('f0'\); put their nodes"):
        take(model)


def _bare(n: Net, output: str) -> onnx.ModelProto:
    """Without shapes inferred."""
    graph = helper.make_graph(n.nodes, "net", n.inputs, [helper.make_tensor_value_info(
        output, TensorProto.FLOAT, [None] * 4)], n.initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_the_documentation_states_them() -> None:
    text = Path("docs/security.md").read_text(encoding="utf-8")
    for number in (f"{limits.NODES:,}", str(limits.SIDE), f"{limits.NUMBERS:,}",
                   f"{limits.CONSTANT_BYTES >> 20} MiB"):
        assert number in text
