from __future__ import annotations

import numpy as np
import pytest
from onnx_nets import ARCH, Net, agree

from falconet.compiler.graph import Graph, Node, Tensor
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.importer.requant import identity
from falconet.compiler.passes.identity import remove_identities
from falconet.compiler.passes.verify import verify
from falconet.isa.graph.ops.concat import Concat
from falconet.isa.graph.ops.eltwise import Eltwise
from falconet.isa.graph.ops.maxpool import MaxPool
from falconet.isa.graph.ops.slice import Slice
from falconet.isa.graph.ops.upsample import Upsample
from falconet_sim.golden.device import run_graph

X, Y = Tensor("x", (4, 3, 3), 0.1, 2), Tensor("y", (4, 3, 3), 0.1, 2)


def copy(source: str, output: str, name: str, lo: int = -128) -> Node:
    consts = {"coef": np.ones((1, 4), np.int32), "bias": np.zeros(4, np.int32),
              **identity(4).consts()}
    return Node(Eltwise(lo=lo), name, [source], output, consts)


def chain(*nodes: Node, outputs: list[str]) -> Graph:
    tensors = {n: Tensor(n, X.shape, X.scale, X.zero_point)
               for n in ("x", *(v.output for v in nodes))}
    return verify(Graph("g", tensors, list(nodes), ["x"], outputs), ARCH)


def test_copies_in_a_row() -> None:
    graph = chain(copy("x", "a", "1", -100), copy("a", "b", "2", -110), copy("b", "y", "3"),
                  outputs=["y"])
    better = verify(remove_identities(graph), ARCH)
    assert [(n.name, n.inputs, n.output) for n in better.nodes] == [("1", ["x"], "y")]
    assert set(better.tensors) == {"x", "y"}


def test_a_clamp_that_cuts_stays() -> None:
    graph = chain(copy("x", "a", "1", -100), copy("a", "y", "2", -90), outputs=["y"])
    assert len(remove_identities(graph).nodes) == 2


@pytest.mark.parametrize("outputs", [["a"], ["a", "b"]])
def test_roles_stay_apart(outputs: list[str]) -> None:
    """No output becomes an input or another output."""
    graph = chain(copy("x", "a", "1"), copy("a", "b", "2"), outputs=outputs)
    better = verify(remove_identities(graph), ARCH)
    assert better.outputs == outputs
    assert len(better.nodes) == len(outputs)


def test_other_scale_stays() -> None:
    graph = chain(copy("x", "a", "1"), copy("a", "y", "2"), outputs=["y"])
    graph.tensors["a"] = Tensor("a", X.shape, 0.2, 2)
    assert len(remove_identities(graph).nodes) == 2


def test_readers_are_rewired() -> None:
    graph = chain(copy("x", "a", "1", -5), copy("a", "b", "2"), copy("a", "c", "3", 0),
                  copy("b", "d", "4", 1), outputs=["b", "c", "d"])
    better = verify(remove_identities(graph), ARCH)
    assert [(n.inputs, n.output) for n in better.nodes] == [
        (["x"], "b"), (["b"], "c"), (["b"], "d")]


def test_moves_of_nothing() -> None:
    nodes = [copy("x", "a", "0", -7), Node(Slice(0, 4), "1", ["a"], "b"),
             Node(Concat(), "2", ["b"], "c"), Node(Upsample(), "3", ["c"], "y")]
    better = verify(remove_identities(chain(*nodes, outputs=["y"])), ARCH)
    assert [(n.name, n.output) for n in better.nodes] == [("0", "y")]


def test_relu_of_a_relu() -> None:
    n = Net()
    a = n.q(n.op("Relu", n.conv(n.q("x"), 8)), 0.04, -128)
    model = n.model(n.q(n.conv(n.q(n.op("Relu", a), 0.04, -128), 8)))
    assert [v.op for v in remove_identities(import_onnx(model)).nodes] == ["conv", "conv"]
    agree(model)


def test_a_table_of_a_maximum_counts() -> None:
    """What the table makes of the maximum is cut by the node behind it."""
    pool = copy("x", "a", "1", -100)
    pool = pool.with_(attrs=MaxPool(kernel=(1, 1), lo=-100, hi=10), consts={
        **{k: v for k, v in pool.consts.items() if k != "coef"},
        "table": np.full(256, -120, np.int8)})
    graph = chain(pool, copy("a", "y", "2", -110), outputs=["y"])
    inputs = {"x": np.zeros(X.shape, np.int8)}
    assert np.all(run_graph(*graph.to_dict(), inputs)["y"] == -110)
    assert np.all(run_graph(*remove_identities(graph).to_dict(), inputs)["y"] == -110)
