"""Values in another order as moves of the machine: gathers of channels, picks of pixels, concats.

What each output channel, row and column adds to the offset in the tensor says where a value comes
from. Channels that see the same pixels are one pick; where rows or columns add to the channel
(depth to space) its inputs are several gathers side by side; where channels add to rows or columns
(space to depth) several picks are one behind the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Shape
from falconet.compiler.importer.expr import Expr, View
from falconet.compiler.importer.order import flat, shape_of
from falconet.isa import FalconetError
from falconet.isa.graph.operator import Operator
from falconet.isa.graph.ops.concat import Concat
from falconet.isa.graph.ops.gather import Gather
from falconet.isa.graph.ops.pick import Pick
from falconet.isa.graph.ops.slice import Slice

__all__ = ["Maker", "arranged", "channels", "pixels"]

Array = NDArray[np.int64]
Maker = Callable[[Operator, list[Expr], Shape], Expr]
"""Of an operator without output stage, its inputs, and the shape of its output."""

_TENSORS = Pick.arity[1]
_CHANNELS = 1 << 17  # of all these tensors together


def channels(make: Maker, x: Expr, index: Iterable[int]) -> Expr:
    """Channels of ``x`` by their numbers."""
    c, h, w = x.shape
    index = [int(i) for i in index]
    if index == [*range(c)]:
        return x
    begin, end = index[0], index[-1] + 1
    attrs = Slice(begin, end) if index == [*range(begin, end)] else Gather(tuple(index))
    return make(attrs, [x], (len(index), h, w))


def pixels(make: Maker, inputs: list[Expr], rows: Iterable[int], columns: Iterable[int],
           across: int = 1, swap: bool = False) -> Expr:
    """Pixels of the inputs by row and column, see :class:`Pick`."""
    attrs = Pick(across, tuple(map(int, rows)), tuple(map(int, columns)), swap=swap)
    if attrs.idle([x.shape for x in inputs]):
        return inputs[0]
    return make(attrs, inputs, (inputs[0].shape[0], len(attrs.rows), len(attrs.columns)))


@dataclass(frozen=True)
class _Axis:
    """What a dimension of the output adds to channel, row and column of the source."""

    channel: Array
    row: Array
    column: Array


def arranged(make: Maker, view: View) -> Expr:
    """The view as a tensor of ``view.shape``.

    Raises FalconetError naming the node for an order that no few moves make.
    """
    axes = _axes(view)
    _, h, w = view.inner.shape
    cs, ys, xs = axes
    swap = bool(np.ptp(xs.row) or np.ptp(ys.column))
    if swap and (np.ptp(ys.row) or np.ptp(xs.column)):
        _refuse(view)
    if swap:
        h, w = w, h
        cs, ys, xs = (_Axis(a.channel, a.column, a.row) for a in axes)
    row, column = ys.row + xs.row[0], xs.column + ys.column[0]
    above, left = np.unique(ys.channel), np.unique(xs.channel)
    places = np.unique(np.stack([cs.row, cs.column]), axis=1).T
    tiles_of_each = len(above) * len(left)
    if len(places) * tiles_of_each > _TENSORS or len(cs.channel) * tiles_of_each > _CHANNELS:
        _refuse(view)
    parts, order = [], []
    for at_row, at_column in places:
        chosen = np.flatnonzero((cs.row == at_row) & (cs.column == at_column))
        order.append(chosen)
        tiles = [channels(make, view.inner, cs.channel[chosen] + a + b)
                 for a in above for b in left]
        parts.append(pixels(make, tiles, np.searchsorted(above, ys.channel) * h + row + at_row,
                            np.searchsorted(left, xs.channel) * w + column + at_column,
                            len(left), swap))
    if len(parts) == 1:
        return parts[0]
    total = sum(p.shape[0] for p in parts)
    joined = make(Concat(), parts, (total, *parts[0].shape[1:]))
    return channels(make, joined, np.argsort(np.concatenate(order), kind="stable"))


def _axes(view: View) -> tuple[_Axis, _Axis, _Axis]:
    """Of channels, rows and columns of the output; what the batch adds is in the channels'."""
    _, h, w = view.inner.shape
    vectors = [flat(d) for d in view.dims]
    vectors += [np.zeros(1, np.int64)] * (4 - len(vectors))
    batch, *rest = vectors
    if batch is None or len(batch) != 1 or len(rest) != 3 or any(v is None for v in rest):
        _refuse(view)
    found = []
    for v, base in zip(rest, (int(batch[0]), 0, 0)):
        assert v is not None
        found.append(_Axis((v + base) // (h * w), (v + base) % (h * w) // w, (v + base) % w))
    if sum(int(a.row.max()) for a in found) >= h or sum(int(a.column.max()) for a in found) >= w:
        _refuse(view)
    return found[0], found[1], found[2]


def _refuse(view: View) -> NoReturn:
    raise FalconetError(
        f"node '{view.node}' ({view.op}): it moves data, {list(view.inner.shape)} to "
        f"{shape_of(view.dims)[1:]}, in an order that no few copies of channels, rows and columns "
        "make; end the network before it and move the output afterwards")
