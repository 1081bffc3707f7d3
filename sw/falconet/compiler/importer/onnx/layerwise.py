"""Layer by layer against onnxruntime: the reference of docs/arithmetic.md.

Every node is given exactly the int8 inputs that onnxruntime computed (with its graph optimisation
off), so differences do not add up along the network. At most 1 LSB is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from falconet.compiler.graph import Graph
from falconet.compiler.importer.onnx.convert import import_with_sources
from falconet.compiler.importer.onnx.model import load, read
from falconet.isa import Arch, FalconetError

__all__ = ["LayerDifference", "compare", "onnxruntime_tensors"]

Int8 = NDArray[np.int8]
RunNode = Callable[[dict[str, Any], bytes, list[Int8]], Int8]


@dataclass(frozen=True)
class LayerDifference:
    """How one layer's output differs from onnxruntime's, given the same input."""

    node: str
    op: str
    tensor: str
    max_lsb: int
    different: int
    total: int

    @property
    def rate(self) -> float:
        return self.different / self.total


def compare(source: str | Path | onnx.ModelProto, run_node: RunNode, inputs: dict[str, Int8],
            *, arch: Arch | None = None) -> list[LayerDifference]:
    """Compare every layer that the ONNX file stores as integers, in order.

    Parameters
    ----------
    run_node:
        Evaluates one node of the graph section: ``falconet_sim.golden.device.run_node``.
    inputs:
        int8 [C, H, W] for each input of the graph.
    """
    graph, sources = import_with_sources(source, arch=arch)
    for name in graph.inputs:
        shape = graph.tensors[name].shape
        if name not in inputs or inputs[name].shape != shape:
            raise FalconetError(f"input '{name}': give an int8 array of shape {list(shape)}")
    expected = onnxruntime_tensors(source, graph, sources, inputs)
    description, blob = graph.to_dict()
    values = {**inputs, **expected}
    found = []
    for node in description["nodes"]:
        out = run_node(node, blob, [values[n] for n in node["inputs"]])
        name = node["output"]
        values.setdefault(name, out)
        if name in expected:
            difference = np.abs(out.astype(np.int16) - expected[name])
            found.append(LayerDifference(node["name"], node["op"], name, int(difference.max()),
                                         int(np.count_nonzero(difference)), difference.size))
    return found


def onnxruntime_tensors(source: str | Path | onnx.ModelProto, graph: Graph,
                        sources: dict[str, str], inputs: dict[str, Int8]) -> dict[str, Int8]:
    """What onnxruntime stores in each tensor of ``sources``, as int8 [C, H, W]."""
    import onnxruntime as ort

    model = read(source)
    proto = onnx.ModelProto()
    proto.CopyFrom(load(source)[0])
    present = {o.name for o in proto.graph.output} | {i.name for i in proto.graph.input}
    wanted = {t: v for t, v in sources.items() if t in graph.tensors}
    for value in sorted(set(wanted.values()) - present):
        proto.graph.output.append(
            helper.make_tensor_value_info(value, model.types[value], None))
    feeds: dict[str, NDArray[Any]] = {}
    for name, q in inputs.items():
        t = graph.tensors[name]
        kind = model.types[name]
        if kind == onnx.TensorProto.FLOAT:
            steps = q.astype(np.float32) - np.float32(t.zero_point)
            real: NDArray[Any] = steps * np.float32(t.scale)
        else:
            real = (q.astype(np.int16) + 128 * (kind == onnx.TensorProto.UINT8)).astype(
                helper.tensor_dtype_to_np_dtype(kind))
        feeds[name] = real.reshape(model.shapes[name])
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(proto.SerializeToString(), options,
                                   providers=["CPUExecutionProvider"])
    names = sorted(set(wanted.values()) - set(inputs))
    stored = {**feeds, **dict(zip(names, session.run(names, feeds)))}
    found = {}
    for tensor, value in wanted.items():
        a = stored[value]
        a = a.astype(np.int16) - 128 if a.dtype == np.uint8 else a
        if a.dtype.kind == "f":
            a = inputs[tensor]
        found[tensor] = a.astype(np.int8).reshape(graph.tensors[tensor].shape)
    return found
