"""What occurs in a network: operators, shapes, extremes of parameters, what the compiler did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from netcase import Case, Ran

from falconet.compiler.graph import Graph, Node
from falconet.isa import Arch, Dst, Load, LoadImage, Segment
from falconet.isa.graph.ops import OPERATORS
from falconet.isa.graph.ops.gather import Gather
from falconet.isa.graph.ops.pick import Pick
from falconet.isa.graph.windowed import Windowed


def features(case: Case, ran: Ran) -> set[str]:
    """Names of all that occurs in a case, each of :data:`EXPECTED` or ``ONNX <operator>``."""
    graph, arch = ran.graph, case.arch
    found = {"optimised" if case.passes else "not optimised"}
    for node in graph.nodes:
        found.add(f"operator {node.op}")
        found.update(_operator(graph, node, arch))
        if "mult" in node.consts:
            found.update(_stage(node, arch))
    found.update(_shape(graph, arch))
    found.update(_program(ran))
    if case.model is not None:
        found.add("from ONNX")
        found.update(f"ONNX {node.op_type}" for node in case.proto().graph.node)
    return found


def _operator(graph: Graph, node: Node, arch: Arch) -> Iterator[str]:
    a = node.attrs.to_dict()
    if node.op == "conv":
        yield from _window(node)
        whole = tuple(a["kernel"]) == graph.tensors[node.inputs[0]].shape[1:]
        if a.get("pool"):
            yield "global average pooling" if whole else "average pooling"
        elif node.depthwise:
            yield "depthwise"
        elif a["groups"] > 1:
            yield "grouped"
            if node.consts["weight"].shape[1] == 1:
                yield "depthwise with a multiplier"
        elif whole and a["kernel"] != [1, 1]:
            yield "linear"
        else:
            yield "pointwise" if a["kernel"] == [1, 1] else "dense"
    elif node.op == "maxpool":
        yield from _window(node)
        yield "maximum pooling"
    elif node.op == "eltwise":
        yield "sum of two" if len(node.inputs) == 2 else "rescale or table"
        if len(set(node.inputs)) < len(node.inputs):
            yield "sum of a tensor and itself"
        if np.any(node.consts["coef"] != node.consts["coef"][:, :1]):
            yield "per-channel coefficients"
        if np.any(np.abs(node.consts["coef"]) == 65535):
            yield "coefficient at its end"
        if np.any(node.consts["coef"] < 0):
            yield "negative coefficient"
    if node.op in ("eltwise", "product"):
        shapes = {graph.tensors[i].shape for i in node.inputs}
        for name, axis in (("one channel for all", 0), ("one row for all", 1),
                           ("one column for all", 2)):
            if len({s[axis] for s in shapes}) > 1:
                yield name
    if node.op == "product" and {-128, 127} & set(a["zeros"]):
        yield "zero point of a factor at an end"
    elif node.op == "slice" and a["begin"] % arch.lanes:
        yield "slice within a block"
    elif node.op == "gather":
        yield "channels in another order" if node.of(Gather).exact else "channels again, or filled"
    elif node.op == "pick":
        yield from _picked(node.of(Pick))


def _picked(a: Pick) -> Iterator[str]:
    steps = {q - p for index in (a.rows, a.columns) for p, q in pairwise(index)}
    for name, ok in (
        ("several pictures", max(a.across, 1) > 1), ("rows for columns", a.swap),
        ("pixels filled", a.filled), ("pixels backwards", -1 in steps or -2 in steps),
        ("pixels left out", 2 in steps or 3 in steps), ("pixels again", 0 in steps),
    ):
        if ok:
            yield name


def _window(node: Node) -> Iterator[str]:
    a = node.of(Windowed)
    kernel, stride, dilation, pads = a.kernel, a.stride, a.dilation, a.pads
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    for name, ok in (
        ("stride", max(stride) > 1), ("stride of 8 or more", max(stride) >= 8),
        ("two strides", stride[0] != stride[1]), ("dilation", max(dilation) > 1),
        ("dilation of 16 or more", max(dilation) >= 16), ("kernel of two sizes",
                                                          kernel[0] != kernel[1]),
        ("even kernel", any(k % 2 == 0 for k in kernel)), ("kernel above 7", max(kernel) > 7),
        ("pads of four sizes", len(set(pads)) > 2),
        ("pads beyond the window", any(p >= r for p, r in zip(pads, reach * 2))),
    ):
        if ok:
            yield name


def _stage(node: Node, arch: Arch) -> Iterator[str]:
    k, a = node.consts, node.attrs.to_dict()
    top = (1 << arch.mult_bits) - 1
    limit = 1 << (arch.acc_bits - 1)
    plus, minus = k["mult"].astype(np.int64), k["mult_neg"].astype(np.int64)
    for name, ok in (
        ("table", "table" in k), ("leaky", np.any((minus < plus) & (minus > 0))),
        ("negatives grow", np.any(minus > plus)), ("negatives gone", np.any(minus < (plus > 0))),
        ("multiplier 0", np.any(plus == 0)), ("multiplier 1", np.any(plus == 1)),
        ("greatest multiplier", np.any(plus == top)), ("shift 0", np.any(k["shift"] == 0)),
        ("greatest shift", np.any(k["shift"] == arch.SHIFT_MAX)),
        ("bias of 23 bits or more", np.any(np.abs(k["bias"].astype(np.int64)) >= limit // 4)),
        ("zero point at an end", a["zp"] in (-128, 127)),
        ("clamp", (a["lo"], a["hi"]) != (-128, 127)), ("clamp to a constant", a["lo"] == a["hi"]),
        ("pad at an end", node.op == "conv" and a["pad"] in (-128, 127)),
    ):
        if ok:
            yield name


def _shape(graph: Graph, arch: Arch) -> Iterator[str]:
    tensors = list(graph.tensors.values())
    for name, ok in (
        ("channels that fill no block", any(t.shape[0] % arch.lanes for t in tensors)),
        ("channels in several blocks", any(t.shape[0] > arch.lanes for t in tensors)),
        ("1x1", any(t.shape[1:] == (1, 1) for t in tensors)),
        ("1xN or Nx1", any(min(t.shape[1:]) == 1 < max(t.shape[1:]) for t in tensors)),
        ("odd height or width", any(v % 2 for t in tensors for v in t.shape[1:])),
        ("branches", any(len(graph.consumers(t.name)) > 1 for t in tensors)),
        ("several outputs", len(graph.outputs) > 1), ("two inputs", len(graph.inputs) > 1),
        ("output that is read", any(graph.consumers(t) for t in graph.outputs)),
        ("unread input", any(not graph.consumers(t) for t in graph.inputs)),
    ):
        if ok:
            yield name


def _program(ran: Ran) -> Iterator[str]:
    instructions = list(ran.program.instructions())
    if any(isinstance(i, LoadImage) for i in instructions):
        yield "image input"
    if any(t["format"] == "blocks" for t in ran.program.header["inputs"]):
        yield "input in blocks"
    if any(isinstance(i, Load) and i.segment == Segment.WORK for i in instructions):
        yield "tensor through DDR"
    weights = Counter(i.offset for i in instructions if isinstance(i, Load)
                      and i.segment == Segment.CODE and i.dst in (Dst.WEIGHTS, Dst.VECTOR))
    if max(weights.values(), default=0) > 1:
        yield "weights loaded again"
    if any(getattr(i, "in_ring", 0) or getattr(i, "a_ring", 0) for i in instructions):
        yield "row stripes in a ring"


EXPECTED = (
    *(f"operator {op}" for op in OPERATORS),
    "dense", "pointwise", "depthwise", "grouped", "depthwise with a multiplier", "linear",
    "average pooling", "global average pooling", "maximum pooling", "sum of two",
    "sum of a tensor and itself", "rescale or table", "per-channel coefficients",
    "coefficient at its end", "negative coefficient", "one channel for all", "one row for all",
    "one column for all", "zero point of a factor at an end", "slice within a block",
    "channels in another order", "channels again, or filled", "several pictures",
    "rows for columns", "pixels filled", "pixels backwards", "pixels left out", "pixels again",
    "kernel of two sizes", "even kernel", "kernel above 7", "stride", "two strides",
    "stride of 8 or more", "dilation", "dilation of 16 or more", "pads of four sizes",
    "pads beyond the window", "pad at an end", "table", "leaky", "negatives grow",
    "negatives gone", "multiplier 0", "multiplier 1", "greatest multiplier", "shift 0",
    "greatest shift", "bias of 23 bits or more", "zero point at an end", "clamp",
    "clamp to a constant", "channels that fill no block", "channels in several blocks", "1x1",
    "1xN or Nx1", "odd height or width", "branches", "several outputs", "output that is read",
    "two inputs", "unread input", "image input", "input in blocks", "tensor through DDR",
    "row stripes in a ring", "weights loaded again", "optimised", "not optimised", "from ONNX",
)
"""What a run of 200 networks has to draw, each at least once."""

ONNX = ("Conv", "BatchNormalization", "Gemm", "MatMul", "MaxPool", "AveragePool",
        "GlobalAveragePool", "ReduceMean", "Add", "Sub", "Mul", "Concat", "Split", "Slice",
        "Resize", "Pad", "Gather", "Transpose", "Reshape", "DepthToSpace", "SpaceToDepth", "Tile",
        "Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "Sigmoid", "Tanh")
"""ONNX operators that are drawn."""
