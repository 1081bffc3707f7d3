"""Layers that are lowered in parts: where along an axis each part is, and what it reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context
from falconet.compiler.machine.lattice import (
    Axis,
    Lattice,
    MacLattice,
    Stepped,
    VecLattice,
    banks_of,
)
from falconet.compiler.machine.mac import MacOp
from falconet.compiler.machine.spatial import STRIDE_MAX
from falconet.compiler.machine.window import WindowOp
from falconet.isa import FalconetError
from falconet.isa.graph.windowed import Windowed

__all__ = ["NO_RUNS", "Run", "far_apart", "lattice", "require_fit", "shifted"]


@dataclass(frozen=True)
class Run:
    """``count`` rows (or columns) of the output, ``step`` apart from ``first`` on.

    The first one's window begins at row ``start`` of the input, the next ones ``stride`` further.
    ``taps``: which of the layer's kernel rows the window has, in its order, or their weights; none:
    it has one row, of zeros. ``dilation``: from one to the next. ``kind``: of two runs alike,
    weights and multipliers are the same.
    """

    first: int
    step: int
    count: int
    start: int
    stride: int
    taps: tuple[int, ...]
    dilation: int = 1
    kind: int = 0


NO_RUNS = (Run(0, 1, 1, 0, 1, ()),) * 2
"""For a layer that is one part, whatever its runs."""

Make = Callable[[Run, Run, dict[str, Any]], MacOp | WindowOp]


def lattice(context: Context, node: Node, layer: int, runs: tuple[Sequence[Run], Sequence[Run]],
            make: Make, *, pad: int) -> Lattice:
    """The operation that computes ``node`` by one part for each pair of runs.

    ``make`` gets two runs and the arguments of a :class:`SpatialOp` but for its output stage.
    """
    out, (source,) = context.output(node), context.sources(node)
    parts, keys = [], []
    for y in runs[0]:
        for x in runs[1]:
            window: dict[str, Any] = {
                "name": node.name, "layer": layer, "inputs": (source,), "height": y.count,
                "output": Stepped.of(out, Axis(y.first, y.step), Axis(x.first, x.step)),
                "arch": context.arch, "width": x.count, "stride": (y.stride, x.stride),
                "kernel": (max(1, len(y.taps)), max(1, len(x.taps))),
                "dilation": (y.dilation, x.dilation), "pads": (-y.start, -x.start, 0, 0),
                "pad": pad,
            }
            parts.append(make(y, x, window))
            keys.append((parts[-1].block_words(0), parts[-1].weights(0, out.blocks)))
    kind = MacLattice if isinstance(parts[0], MacOp) else VecLattice
    _, height, _ = context.graph.tensors[node.output].shape
    op = kind(node.name, layer, (source,), out, height, parts=tuple(parts), banks=banks_of(keys),
              grain=max(y.step for y in runs[0]))
    require_fit(context, op)
    return op


def far_apart(context: Context, node: Node) -> tuple[list[Run], list[Run]] | None:
    """Runs for strides greater than the machine's field: windows that lie inside the image, and
    each of those that do not; None where the field holds both strides."""
    a = node.of(Windowed)
    if max(a.stride) <= STRIDE_MAX:
        return None
    _, *size = context.graph.tensors[node.inputs[0]].shape
    _, *out = context.graph.tensors[node.output].shape
    return _far(a, 0, size[0], out[0]), _far(a, 1, size[1], out[1])


def _far(a: Windowed, i: int, size: int, out: int) -> list[Run]:
    k, s, d, pad = a.kernel[i], a.stride[i], a.dilation[i], a.pads[i]
    taps = tuple(range(k))
    if s <= STRIDE_MAX:
        return [Run(0, 1, out, -pad, s, taps, d)]
    inside = [o for o in range(out) if 0 <= o * s - pad <= size - d * (k - 1) - 1]
    found = [Run(o, 1, 1, o * s - pad, 1, taps, d) for o in range(out) if o not in inside]
    if inside:
        found.append(Run(inside[0], 1, len(inside), inside[0] * s - pad, s, taps, d))
    return sorted(found, key=lambda run: run.first)


def require_fit(context: Context, op: Lattice) -> None:
    """Raises FalconetError where a block's weights exceed the memory that they lie in."""
    arch = context.arch
    most = max(op.block_words(b) for b in range(op.blocks))
    mac = isinstance(op, MacLattice)
    depth = arch.weight_words if mac else arch.vector_words
    if most > depth:
        raise FalconetError(
            f"one block of {arch.lanes} output channels needs {most} weight words for all of its "
            f"{len(op.parts)} parts, and the {'weight' if mac else 'vector weight'} memory of "
            f"'{arch.name}' holds {depth}; split the layer or choose a larger preset")


def shifted(stage: Any, bias: Any) -> Any:
    """An output stage whose bias is ``bias`` more."""
    return dataclasses.replace(stage, bias=stage.bias + bias)
