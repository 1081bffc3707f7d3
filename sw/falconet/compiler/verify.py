"""Is this graph legal? Asked after the import and after every pass."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.findings import Findings
from falconet.compiler.graph import OPS, Graph, Node, Shape, output_shape
from falconet.compiler.requant import COEF_MAX
from falconet.isa import Arch, FalconetError, Window

__all__ = ["accumulator_range", "verify"]

Ints = NDArray[np.int64]
LO, HI = -128, 127

_FIELDS = {f.name: f for f in Window.layout}


def verify(graph: Graph, arch: Arch) -> Graph:
    """Return the graph, or raise :class:`FalconetError` naming the nodes that are illegal.

    Checked: names, order, shapes, ranges of all attributes and constants, equal quantisation
    where data only moves, and that no accumulator can overflow ``arch.acc_bits``, for any int8
    input, with these very weights.
    """
    known: dict[str, Shape] = {}
    for name in graph.inputs:
        known[name] = _tensor(graph, name)
    names: set[str] = set()
    findings = Findings()
    for node in graph.nodes:
        if node.name in names:
            _refuse(node, "two nodes have this name; name them apart")
        names.add(node.name)
        if node.op not in OPS:
            _refuse(node, f"operation '{node.op}' is unknown; use one of {', '.join(OPS)}")
        for i in node.inputs:
            if i not in known:
                _refuse(node, f"reads '{i}' before it is computed; sort the nodes")
        if node.output in known:
            _refuse(node, f"writes '{node.output}' a second time; rename it")
        known[node.output] = _tensor(graph, node.output)
        with findings.collected():
            _check(graph, node, [known[i] for i in node.inputs], arch)
            expected = output_shape(node, [known[i] for i in node.inputs])
            if min(expected) < 1 or known[node.output] != expected:
                _refuse(node, f"'{node.output}' has shape {list(known[node.output])}, "
                              f"{list(expected)} is computed; mend the export")
    findings.check()
    for name in graph.outputs:
        if name not in known:
            raise FalconetError(f"output '{name}': nothing computes it; mend the export")
    if not graph.outputs or not graph.inputs:
        raise FalconetError(f"graph '{graph.name}': it has no input or no output; mend the export")
    if len(set(graph.outputs)) != len(graph.outputs) or set(graph.outputs) & set(graph.inputs):
        raise FalconetError(f"graph '{graph.name}': an output is named twice or is an input; "
                            "mend the export")
    return graph


def accumulator_range(weight: NDArray[Any]) -> tuple[Ints, Ints]:
    """Least and greatest sum of products per output, for stored inputs in [-128, 127]."""
    w = weight.astype(np.int64).reshape(len(weight), -1)
    positive, negative = np.maximum(w, 0).sum(1), np.minimum(w, 0).sum(1)
    return positive * LO + negative * HI, positive * HI + negative * LO


def _refuse(node: Node, why: str) -> NoReturn:
    raise FalconetError(f"node '{node.name}' ({node.op}): {why}")


def _tensor(graph: Graph, name: str) -> Shape:
    t = graph.tensors.get(name)
    if t is None or t.name != name or len(t.shape) != 3:
        raise FalconetError(f"tensor '{name}': it is not described as [C, H, W]; mend the export")
    if not (np.isfinite(t.scale) and t.scale > 0 and LO <= t.zero_point <= HI):
        raise FalconetError(f"tensor '{name}': scale {t.scale}, zero point {t.zero_point}; "
                            "quantise again")
    return t.shape


def _need(node: Node, ok: bool, what: str) -> None:
    if not ok:
        _refuse(node, what)


def _check(graph: Graph, node: Node, shapes: list[Shape], arch: Arch) -> None:
    a, c = node.attrs, shapes[0][0]
    n = len(shapes)
    _need(node, n == 1 or node.op == "concat" or (node.op == "eltwise" and n == 2),
          f"{n} inputs are too many; split it")
    if node.op in ("conv", "maxpool"):
        _window(node)
    if node.op == "conv":
        _conv(node, c, arch)
    elif node.op == "maxpool":
        _output_stage(node, c, np.full(c, LO), np.full(c, HI), arch)
    elif node.op == "eltwise":
        coef = _const(node, "coef", np.int32, (n, c)).astype(np.int64)
        _need(node, bool(np.all(np.abs(coef) <= COEF_MAX)), "a coefficient has more than 16 bits; "
              "quantise again")
        _need(node, len(set(shapes)) == 1, f"operands of shapes {shapes}; make them equal")
        low, high = accumulator_range(coef.T)
        _output_stage(node, c, low, high, arch)
    else:
        _move(graph, node, shapes)
    if node.op == "slice":
        _need(node, 0 <= a["begin"] < a["end"] <= c,
              f"channels {a['begin']} to {a['end']} of {c}; mend the range")
    if node.op == "upsample":
        _need(node, min(a["fy"], a["fx"]) >= 1, "a factor below 1; use Resize by an integer")


def _window(node: Node) -> None:
    a = node.attrs
    for key, length, fields in (
        ("kernel", 2, ("n_ky", "n_kx")), ("stride", 2, ("stride_y", "stride_x")),
        ("dilation", 2, ("dil_y", "dil_x")), ("pads", 4, ()),
    ):
        _need(node, len(a[key]) == length, f"{key} {a[key]} must have {length} entries; mend it")
        _need(node, min(a[key]) >= (key != "pads"), f"{key} {a[key]} is too small; mend it")
        for value, field in zip(a[key], fields):
            _need(node, value <= _FIELDS[field].hi,
                  f"{key} {value} exceeds {_FIELDS[field].hi}; use a smaller one")
    _need(node, LO <= a["pad"] <= HI, f"pad {a['pad']} is no int8; mend it")


def _conv(node: Node, c: int, arch: Arch) -> None:
    groups, kernel = node.attrs["groups"], tuple(node.attrs["kernel"])
    out = len(node.consts["weight"])
    _need(node, groups >= 1 and c % groups == 0 and out % groups == 0,
          f"{groups} groups of {c} and {out} channels; use a divisor of both")
    weight = _const(node, "weight", np.int8, (out, c // groups, *kernel))
    _need(node, weight.min() > LO, "a weight is -128; quantise with narrow range")
    _need(node, not node.attrs.get("pool") or bool(np.all(weight == 1)),
          "a pool whose weights are not 1; drop the attribute")
    _output_stage(node, out, *accumulator_range(weight), arch)


def _output_stage(node: Node, c: int, low: Ints, high: Ints, arch: Arch) -> None:
    a = node.attrs
    bias = _const(node, "bias", np.int32, (c,)).astype(np.int64)
    limit = 1 << (arch.acc_bits - 1)
    for what, least, most in (("bias", bias, bias), ("accumulator", low, high),
                              ("accumulator and bias", low + bias, high + bias)):
        bad = np.flatnonzero((least < -limit) | (most >= limit))
        if len(bad):
            i = bad[0]
            worst = max(-int(least[i]), int(most[i]))
            _refuse(node, f"{what} of channel {i} can reach {worst:,}, more than {arch.acc_bits} "
                          "bits hold; make the weights smaller, or split the layer's inputs in two "
                          "and add")
    for key in ("mult", "mult_neg"):
        mult = _const(node, key, np.uint32, (c,))
        _need(node, not np.any(mult >> arch.mult_bits),
              f"{key} has more than {arch.mult_bits} bits; import for this machine")
    shift = _const(node, "shift", np.uint8, (c,))
    _need(node, not np.any(shift > arch.SHIFT_MAX), "a shift is too large; quantise again")
    _need(node, LO <= a["lo"] <= a["hi"] <= HI and LO <= a["zp"] <= HI,
          f"zp {a['zp']}, lo {a['lo']}, hi {a['hi']} are no range of int8; quantise again")
    if "table" in node.consts:
        _const(node, "table", np.int8, (256,))


def _const(node: Node, key: str, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    value = node.consts.get(key)
    if value is None or value.dtype != dtype or value.shape != shape:
        got = "nothing" if value is None else f"{value.dtype} {list(value.shape)}"
        _refuse(node, f"constant '{key}' must be {np.dtype(dtype)} {list(shape)}, not {got}; "
                      "mend the export")
    return value


def _move(graph: Graph, node: Node, shapes: list[Shape]) -> None:
    """Data that only moves keeps its quantisation."""
    out = graph.tensors[node.output]
    for name, shape in zip(node.inputs, shapes):
        t = graph.tensors[name]
        _need(node, (t.scale, t.zero_point) == (out.scale, out.zero_point),
              f"'{name}' and '{out.name}' have different scales; rescale between them")
        _need(node, node.op != "concat" or shape[1:] == shapes[0][1:],
              f"operands of shapes {shapes}; only channels may differ")
