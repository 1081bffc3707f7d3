"""Random ONNX networks with a fault each: taken, or refused for a reason that is so."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import truth
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).parent))

from netcase import Case, Ran, Refused
from nethunt import hunt

from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.isa import FalconetError

COUNT = 24
Fault = Callable[[onnx.GraphProto, onnx.NodeProto], None]


def _replace(op: str, **attrs: object) -> Fault:
    def fault(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
        del graph.value_info[:]  # shapes of what it was
        node.CopyFrom(helper.make_node(op, node.input[:1], node.output[:1], node.name, **attrs))
    return fault


def _drop(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Its readers read its input."""
    for other in graph.node:
        other.input[:] = [node.input[0] if i == node.output[0] else i for i in other.input]


def _output_shape(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    graph.output[0].type.tensor_type.shape.dim[1].dim_value += 1


def _domain(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    node.domain = "org.example"


def _no_input(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    node.input[0] = "nobody"


def _kind(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


FAULTS: dict[str, Fault] = {
    "softmax": _replace("Softmax", axis=1), "transpose": _replace("Transpose", perm=[0, 2, 3, 1]),
    "no such operator": _replace("Sofmax"), "no such attribute": _replace("Relu", alpha=0.5),
    "dropped": _drop, "output's shape": _output_shape, "domain": _domain, "no input": _no_input,
    "double": _kind, "top": _replace("GlobalMaxPool"), "log": _replace("Log"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[onnx.ModelProto]:
    found: list[onnx.ModelProto] = []

    def look(case: Case) -> Ran:
        if case.model is not None:
            found.append(case.proto())
        raise Refused("not run")

    hunt(COUNT * 6, 17, tmp_path_factory.mktemp("hunt"), run=look)
    return found[:COUNT]


@pytest.mark.parametrize("name", FAULTS)
def test_refusals_are_true(models: list[onnx.ModelProto], name: str) -> None:
    random = np.random.default_rng(3)
    seen: Counter[str] = Counter()
    for original in models:
        model = onnx.ModelProto.FromString(original.SerializeToString())
        nodes = [n for n in model.graph.node if n.op_type not in ("Constant", "DequantizeLinear")]
        FAULTS[name](model.graph, nodes[random.integers(len(nodes))])
        try:
            import_onnx(model)
            seen["taken"] += 1
        except FalconetError as e:
            seen["refused"] += 1
            seen.update(truth.check(str(e), model))
    print(dict(seen))
    assert seen["refused"] >= COUNT // 3
