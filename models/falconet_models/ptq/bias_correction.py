"""Bias correction: take the mean error of each convolution's output out of its bias.

Rounding of weights and activations does not only add noise, it shifts means, and shifts add up
through the depth. The quantised network is therefore walked layer by layer on calibration data:
where a convolution's output, channel by channel, has another mean than in the float network, the
difference goes into the bias before the walk goes on with the corrected output. What may be
chance, since photographs differ, is left out: few pixels and few photographs say little of a mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from falconet_models.ptq.prepare import session
from falconet_models.ptq.qdq import insert, scale_and_zero_point
from falconet_models.ptq.stored_tensors import Plan
from falconet_models.ptq.stored_weights import quantise_weights

__all__ = ["correct_biases"]

Array = NDArray[Any]


def _segments(
    model: onnx.ModelProto, ends: set[str]
) -> list[tuple[onnx.ModelProto, list[str], list[str]]]:
    """The graph cut behind each node that makes one of ``ends``: model, inputs, outputs."""
    constants = {i.name: i for i in model.graph.initializer}
    parts: list[list[onnx.NodeProto]] = [[]]
    for node in model.graph.node:
        parts[-1].append(node)
        if ends & set(node.output):
            parts.append([])
    segments = []
    for i, nodes in enumerate(parts[:-1]):
        made = {o for n in nodes for o in n.output}
        later = {x for part in parts[i + 1 :] for n in part for x in n.input}
        reads = list(dict.fromkeys(x for n in nodes for x in n.input if x))
        inputs = [x for x in reads if x not in made and x not in constants]
        outputs = [x for n in nodes for x in n.output if x in later or x in ends]
        graph = helper.make_graph(
            nodes, f"part{i}", [onnx.ValueInfoProto(name=x) for x in inputs],
            [onnx.ValueInfoProto(name=x) for x in outputs],
            [constants[x] for x in reads if x in constants],
        )
        types = {v.name: v for v in (
            *model.graph.value_info, *model.graph.input, *model.graph.output)}
        for j, x in enumerate(inputs):
            graph.input[j].CopyFrom(types[x])
        segments.append((
            helper.make_model(graph, opset_imports=list(model.opset_import),
                              ir_version=model.ir_version), inputs, outputs))
    return segments


def _certain(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of ``found`` [samples, C], shrunk by what chance explains (James and Stein, 1961).

    A mean is multiplied by ``1 - variance of the mean / mean**2``, or by 0 if that is negative.
    """
    mean: NDArray[np.float64] = found.mean(axis=0)
    if len(found) < 2:
        return mean
    chance = found.var(axis=0, ddof=1) / len(found)
    square = np.maximum(mean**2, np.finfo(np.float64).tiny)
    kept: NDArray[np.float64] = mean * np.maximum(0.0, 1.0 - chance / square)
    return kept


def correct_biases(
    model: onnx.ModelProto,
    plan: Plan,
    ranges: Mapping[str, tuple[float, float]],
    means: Mapping[str, NDArray[np.float64]],
    samples: Sequence[NDArray[np.float32]],
    progress: Callable[[str, float], None],
) -> dict[str, NDArray[np.float64]]:
    """Real biases, by the output of each Conv and Gemm.

    Parameters
    ----------
    means:
        Mean of each channel of these outputs in the float network, on each of ``samples``.
    """
    arrays = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    stored = {first: scale_and_zero_point(*r) for first, r in ranges.items()}
    nodes = {n.output[0]: n for n in plan.weighted if n.op_type != "MatMul"}
    quantised = insert(model, plan, ranges)
    ends = {f"{t}.float" if t in {o.name for o in model.graph.output} else t: t for t in nodes}
    segments = _segments(quantised, set(ends))
    biases: dict[str, NDArray[np.float64]] = {}
    (entry,) = (i.name for i in model.graph.input)
    live: list[dict[str, Array]] = [{entry: x} for x in samples]
    for i, (part, inputs, outputs) in enumerate(segments):
        progress("bias correction", i / len(segments))
        run: ort.InferenceSession = session(part, optimise=False)
        for values in live:
            values.update(zip(outputs, run.run(outputs, {x: values[x] for x in inputs})))
        (end,) = (x for x in outputs if x in ends)
        tensor = ends[end]
        axes = (0, *range(2, live[0][end].ndim))
        shift = _certain(means[tensor] - [v[end].mean(axes, dtype=np.float64) for v in live])
        node = nodes[tensor]
        old = quantise_weights(node, arrays, *stored[plan.group[node.input[0]]]).bias
        biases[tensor] = old + shift
        column = shift.astype(np.float32).reshape(1, -1, *[1] * (len(axes) - 1))
        needed = {x for _, names, _ in segments[i + 1 :] for x in names}
        for j, values in enumerate(live):
            values[end] = values[end] + column
            live[j] = {k: v for k, v in values.items() if k in needed}
    return biases
