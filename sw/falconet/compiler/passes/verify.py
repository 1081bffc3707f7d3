"""Is this graph legal? Asked after the import and after every pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.findings import Findings
from falconet.compiler.graph import Graph, Node, Shape
from falconet.isa import Arch, FalconetError
from falconet.isa.graph.tensor import HI, LO

__all__ = ["accumulator_range", "verify"]

Ints = NDArray[np.int64]


def verify(graph: Graph, arch: Arch) -> Graph:
    """Return the graph, or raise :class:`FalconetError` naming the nodes that are illegal.

    Checked: names, order, all that the operators say of themselves (inputs, attributes, shapes and
    values of constants), equal quantisation where data only moves, and that no accumulator can
    overflow ``arch.acc_bits``, for any int8 input, with these very weights.
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
        for i in node.inputs:
            if i not in known:
                _refuse(node, f"reads '{i}' before it is computed; sort the nodes")
        if node.output in known:
            _refuse(node, f"writes '{node.output}' a second time; rename it")
        known[node.output] = _tensor(graph, node.output)
        with findings.collected():
            expected = _check(graph, node, [known[i] for i in node.inputs], arch)
            if known[node.output] != expected:
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


def _check(graph: Graph, node: Node, shapes: list[Shape], arch: Arch) -> Shape:
    """The shape of the output."""
    given = node.given
    for fault in node.attrs.faults(shapes, given):
        _refuse(node, fault.why)
    for c in node.attrs.constants:
        if c.name in node.consts:
            least, most = node.attrs.bounds(c)
            low, high = int(node.consts[c.name].min()), int(node.consts[c.name].max())
            if low < least or high > most:
                _refuse(node, f"a value of '{c.name}' is {low if low < least else high}, and it "
                              f"must be within [{least}, {most}]; {c.hint}")
    if node.attrs.staged:
        _output_stage(node, node.attrs.channels(shapes, given), arch)
    else:
        _moves(graph, node)
    return node.attrs.shape(shapes, given)


def _output_stage(node: Node, channels: int, arch: Arch) -> None:
    """The accumulator, its bias and the multiplier fit the machine."""
    limit = 1 << (arch.acc_bits - 1)
    for low, high, zero in _sums(node, channels):
        bias = node.consts["bias"].astype(np.int64) - zero
        for what, least, most in (("bias", bias, bias), ("accumulator", low, high),
                                  ("accumulator and bias", low + bias, high + bias)):
            bad = np.flatnonzero((least < -limit) | (most >= limit))
            if len(bad):
                i = bad[0]
                worst = max(-int(least[i]), int(most[i]))
                _refuse(node, f"{what} of channel {i} can reach {worst:,}, more than "
                              f"{arch.acc_bits} bits hold; quantise the float network with "
                              "'falconet quantize', which makes such weights smaller")
    for key in ("mult", "mult_neg"):
        if np.any(node.consts[key] >> arch.mult_bits):
            _refuse(node, f"{key} has more than {arch.mult_bits} bits; import for this machine")


def _sums(node: Node, channels: int) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Least and greatest of each kind of sum per output, and what of it is the zero point's."""
    if node.attrs.products is None:
        low, high = (np.full(channels, end) for end in node.attrs.sums())
        yield low, high, np.zeros(channels, np.int64)
        return
    name, axis = node.attrs.products
    for part in node.attrs.phases(np.moveaxis(node.consts[name], axis, 0)):
        total = part.astype(np.int64).reshape(len(part), -1).sum(1)
        yield *accumulator_range(part), node.attrs.zero * total


def _moves(graph: Graph, node: Node) -> None:
    """Data that only moves keeps its quantisation."""
    out = graph.tensors[node.output]
    for name in node.inputs:
        t = graph.tensors[name]
        if (t.scale, t.zero_point) != (out.scale, out.zero_point):
            _refuse(node, f"'{name}' and '{out.name}' have different scales; rescale between them")
