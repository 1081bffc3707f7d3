from __future__ import annotations

from onnx_nets import ARCH, Net

from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.passes.dead import eliminate_dead
from falconet.compiler.passes.verify import verify


def test_only_what_reaches_an_output_stays() -> None:
    n = Net()
    x = n.q("x")
    a = n.q(n.conv(x, 8))
    n.q(n.op("Sigmoid", n.q(n.conv(a, 8), 0.3)), 1 / 256)
    y = n.q(n.conv(a, 4), 0.1)
    graph = import_onnx(n.model(y))
    better = verify(eliminate_dead(graph), ARCH)
    assert len(graph.nodes) == 4
    assert [v.output for v in better.nodes] == [better.nodes[1].inputs[0], y]
    assert set(better.tensors) == {"x", *(v.output for v in better.nodes)}


def test_nothing_to_do() -> None:
    n = Net()
    graph = import_onnx(n.model(n.q(n.conv(n.q("x"), 8))))
    assert eliminate_dead(graph).to_dict() == graph.to_dict()


def test_an_unused_input_stays() -> None:
    n = Net()
    graph = import_onnx(n.model(n.q(n.conv(n.q("x"), 8))))
    graph.tensors["z"] = graph.tensors["x"].__class__("z", (1, 2, 3), 1.0)
    graph.inputs.append("z")
    assert eliminate_dead(graph).inputs == ["x", "z"]
