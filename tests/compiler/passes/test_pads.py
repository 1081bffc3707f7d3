from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_nets import ARCH, Net, agree

from falconet.compiler.graph import Graph
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.passes.pads import fold_pads
from falconet.compiler.passes.verify import verify
from falconet.isa.graph.ops.conv import Conv
from falconet.isa.graph.ops.maxpool import MaxPool

PADS = np.array([0, 0, 1, 2, 0, 0, 3, 0])


def padded(body: Any, *, twice: bool = False) -> tuple[Graph, Any]:
    n = Net()
    p = n.op("Pad", n.q("x", 0.04, 11), PADS)
    p = n.op("Pad", p, PADS) if twice else p
    model = n.model(*(n.q(y, 0.0371) for y in body(n, p)))
    graph = verify(fold_pads(import_onnx(model)), ARCH)
    agree(model)
    return graph, model


def test_into_a_convolution_beside_its_own() -> None:
    graph, _ = padded(lambda n, p: [n.conv(p, 8)])
    assert [n.of(Conv).pads for n in graph.nodes] == [(2, 3, 4, 1)]


def test_pad_of_a_pad() -> None:
    graph, _ = padded(lambda n, p: [n.conv(p, 8, pads=[0] * 4)], twice=True)
    assert [n.of(Conv).pads for n in graph.nodes] == [(2, 4, 6, 0)]


def test_into_a_maximum_as_zeros() -> None:
    graph, _ = padded(lambda n, p: [n.op("MaxPool", p, kernel_shape=[3, 3])])
    (pool, *_) = graph.nodes
    assert pool.attrs == MaxPool(kernel=(3, 3), pads=(1, 2, 3, 0), pad=11)


def test_into_all_readers() -> None:
    graph, _ = padded(lambda n, p: [n.conv(p, 8), n.op("AveragePool", p, kernel_shape=[2, 2])])
    assert [n.inputs for n in graph.nodes] == [["x"], ["x"]]


@pytest.mark.parametrize("body", [
    lambda n, p: [n.op("MaxPool", p, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), n.conv(p, 8)],
    lambda n, p: [n.op("Sigmoid", p)],
])
def test_other_readers_keep_the_copy(body: Any) -> None:
    graph, _ = padded(body)
    copy = graph.nodes[0].of(Conv)
    assert (copy.pads, copy.kernel) == ((1, 2, 3, 0), (1, 1))
