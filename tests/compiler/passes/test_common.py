from __future__ import annotations

import numpy as np
from onnx_nets import ARCH, Net, agree

from falconet.compiler.graph import Graph
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.passes.common import eliminate_common
from falconet.compiler.passes.dead import eliminate_dead
from falconet.compiler.passes.verify import verify


def twins(*, outputs: bool) -> Net:
    """Two equal convolutions (as RetinaFace's SSH writes them), their ReLUs, and a third layer."""
    n = Net()
    x = n.q("x")
    weight, bias = n.weight(8, 8, 3, 3), n.bias(8)
    a, b = (n.q(n.op("Conv", x, weight, bias, pads=[1, 1, 1, 1]), 0.04) for _ in range(2))
    c = n.q(n.op("Conv", x, weight, bias, pads=[1, 1, 1, 1]), 0.05)
    n.result = (a, b) if outputs else (n.q(n.op("Concat", n.op("Relu", a), n.op(  # type: ignore
        "Relu", b), c, axis=1), 0.0613),)
    return n


def _ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


def test_twins_become_one() -> None:
    model = (n := twins(outputs=False)).model(*n.result)  # type: ignore[attr-defined]
    graph = import_onnx(model)
    before = graph.to_dict()
    better = verify(eliminate_common(graph), ARCH)
    assert graph.to_dict() == before, "a pass leaves its input alone"
    assert _ops(graph).count("conv") == 3
    assert _ops(better).count("conv") == 2, "the third has another scale"
    assert _ops(better).count("eltwise") == _ops(graph).count("eltwise") - 1
    agree(model)


def test_equal_outputs_stay() -> None:
    model = (n := twins(outputs=True)).model(*n.result)  # type: ignore[attr-defined]
    better = verify(eliminate_dead(eliminate_common(import_onnx(model))), ARCH)
    assert _ops(better) == ["conv", "conv"]
    agree(model)


def test_other_constants_are_other_nodes() -> None:
    n = Net()
    x = n.q("x")
    a, b = (n.q(n.op("Mul", x, np.array([v] * 7 + [2], np.float32).reshape(8, 1, 1)), 0.05)
            for v in (1, 3))
    graph = import_onnx(n.model(n.q(n.op("Sub", a, b), 0.1)))
    assert len(eliminate_common(graph).nodes) == len(graph.nodes) == 3
