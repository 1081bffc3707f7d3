"""Which head, cell and channel each value of a tail's outputs depends on: asked by changing them.

Nothing is read from the tail's nodes. A value is known by what moves it: tensors are changed one by
one, cells by the bits of their rows and columns (each bit set, then each bit clear, so that a value
of several cells is noticed), channels cell by cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.tails.tail_graph import NotATail, Tail

__all__ = ["Level", "Prober", "Rows", "levels_of", "rows_of"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_NUMBERS, _TURNS = 1 << 24, 2048  # of all outputs; runs of the tail for one head


@dataclass(frozen=True)
class Rows:
    """Outputs as one table: ``outputs`` (number, axis of the columns, or None for one column).

    ``mask`` [R] are the heads of a row, a bit each, ``cell`` [R] is y * width + x.
    """

    outputs: tuple[tuple[int, int | None], ...]
    mask: Ints
    cell: Ints

    def width_of(self, tail: Tail, number: int) -> int:
        """Columns of output ``number``."""
        axis = dict(self.outputs)[number]
        value = tail.run({h: np.zeros(s, np.float32) for h, s in tail.shapes.items()})[number]
        return int(_columns(value, axis).shape[1])

    def table(self, values: list[Floats]) -> Floats:
        """[R, K] of what the tail computed."""
        return np.hstack([_columns(values[i], axis) for i, axis in self.outputs])


@dataclass(frozen=True)
class Level:
    """Rows of one level: ``row`` [anchors, H * W]; ``depends`` [anchors, K, all channels].

    Channels are those of ``tensors``, one behind the other; all have ``size`` (H, W).
    """

    tensors: tuple[str, ...]
    size: tuple[int, int]
    row: Ints
    depends: Bools


def _columns(value: NDArray[Any], axis: int | None) -> NDArray[Any]:
    value = value.reshape(value.shape[1:]) if value.shape[:1] == (1,) else value
    if axis is None:
        return value.reshape(-1, 1)
    return np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis])


class Prober:
    """A tail, and heads with which it is asked: near zero, below it and above it."""

    def __init__(self, tail: Tail, seed: int = 0) -> None:
        self.tail = tail
        random = np.random.default_rng(seed)
        self.bases = []
        for low, high in ((-1.0, 1.0), (-3.0, -1.5), (0.2, 1.2)):
            self.bases.append({h: random.uniform(low, high, tail.shapes[h]).astype(np.float32)
                               for h in tail.heads})
        # not the same everywhere: a softmax does not see what all its logits gain
        self.step = {h: random.uniform(0.2, 1.0, tail.shapes[h]).astype(np.float32)
                     for h in tail.heads}
        self.before = [tail.run(b) for b in self.bases]
        if sum(v.size for v in self.before[0]) > _NUMBERS:
            raise NotATail(f"its outputs have more than {_NUMBERS:,} numbers")
        self.least = [[1e-6 + 1e-6 * np.abs(v) for v in values] for values in self.before]

    def changed(self, base: int, where: dict[str, Bools]) -> list[Bools]:
        """Which values of the outputs move if the heads do, where they are told to."""
        values = {h: v + self.step[h] * where[h] if h in where else v
                  for h, v in self.bases[base].items()}
        return [np.abs(a - b) > least for a, b, least in zip(
            self.tail.run(values), self.before[base], self.least[base])]

    def tensors(self) -> list[Ints]:
        """For each value of each output its heads, a bit each."""
        found = [np.zeros(v.shape, np.int64) for v in self.before[0]]
        for bit, head in enumerate(self.tail.heads):
            whole = {head: np.ones(self.tail.shapes[head], np.bool_)}
            for base in range(len(self.bases)):
                for f, moved in zip(found, self.changed(base, whole)):
                    f[moved] |= 1 << bit
        return found

    def cells(self) -> tuple[list[Ints], list[Ints]]:
        """Rows and columns of the cells that move a value: bits seen set, and bits seen clear.

        A row's bits are the low ones, a column's begin at 16.
        """
        shapes = self.tail.shapes
        one = [np.zeros(v.shape, np.int64) for v in self.before[0]]
        nought = [np.zeros(v.shape, np.int64) for v in self.before[0]]
        for axis, wide in ((1, max(s[1] for s in shapes.values())),
                           (2, max(s[2] for s in shapes.values()))):
            for bit, base in product(range((wide - 1).bit_length()), range(len(self.bases))):
                for value, into in ((1, one), (0, nought)):
                    where = {}
                    for h, shape in shapes.items():
                        line = (np.arange(shape[axis]) >> bit & 1) == value
                        view = line[:, None] if axis == 1 else line
                        where[h] = np.broadcast_to(view, shape)
                    for f, moved in zip(into, self.changed(base, where)):
                        f[moved] |= 1 << bit + 16 * (axis - 1)
        return one, nought

    def channels(self, tensor: int, groups: list[tuple[str, ...]]) -> list[tuple[int, list[Bools],
                                                                               list[Ints]]]:
        """Head ``tensor`` of each group, a channel of each cell changed at a time.

        Returns (base, what moved, for each group the channel of each cell), a turn each.
        """
        names = [g[tensor] for g in groups]
        shapes = [self.tail.shapes[n] for n in names]
        turns = max(-(-c // (h * w)) for c, h, w in shapes)
        if turns > _TURNS:
            raise NotATail(f"'{names[0]}' has more than {_TURNS} channels for each of its cells")
        found = []
        for turn, base in product(range(turns), range(len(self.bases))):
            where, told = {}, []
            for name, (c, h, w) in zip(names, shapes):
                channel = (np.arange(h * w) + turn * h * w) % c
                told.append(channel)
                where[name] = (np.arange(c)[:, None] == channel).reshape(c, h, w)
            found.append((base, self.changed(base, where), told))
        return found


def rows_of(prober: Prober) -> list[Rows]:
    """The outputs as tables of rows, those with the same rows side by side.

    Raises
    ------
    NotATail
        If a value depends on several cells.
    """
    masks = prober.tensors()
    one, nought = prober.cells()
    found: dict[bytes, Rows] = {}
    for i, name in enumerate(prober.tail.outputs):
        if not masks[i].any():
            continue
        rows = _rows(prober, i, name, masks[i], one[i], nought[i])
        key = rows.mask.tobytes() + rows.cell.tobytes()
        old = found.get(key)
        found[key] = rows if old is None else Rows(
            (*old.outputs, *rows.outputs), old.mask | rows.mask, old.cell)
    return _side_by_side(list(found.values()))


def _side_by_side(tables: list[Rows]) -> list[Rows]:
    """Tables whose rows are of the same cells, and whose heads may differ, are one."""
    found: list[Rows] = []
    for t in tables:
        for i, other in enumerate(found):
            if np.array_equal(other.cell, t.cell) and _same_parts(other.mask, t.mask):
                found[i] = Rows((*other.outputs, *t.outputs), other.mask | t.mask, t.cell)
                break
        else:
            found.append(t)
    return found


def _same_parts(a: Ints, b: Ints) -> bool:
    """Whether two arrays change their value at the same places."""
    return np.array_equal(np.diff(a) != 0, np.diff(b) != 0)


def _rows(prober: Prober, number: int, name: str, mask: Ints, one: Ints, nought: Ints) -> Rows:
    """One output; its columns are the last axis along which neither heads nor cell change."""
    if np.any(one & nought):
        raise NotATail(f"output '{name}': a value depends on several cells of a head")
    shape = mask.shape[1:] if mask.shape[:1] == (1,) else mask.shape
    candidates: list[int | None] = [a for a in reversed(range(len(shape))) if shape[a] > 1]
    for axis in [*candidates, None]:
        o, n, m = (_columns(v, axis).astype(np.int64) for v in (one, nought, mask))
        together = np.bitwise_or.reduce(o, axis=1), np.bitwise_or.reduce(n, axis=1)
        heads = np.bitwise_or.reduce(m, axis=1)
        if np.any(together[0] & together[1]) or not _one_level(prober, heads):
            continue
        height, width = _sizes(prober, heads)
        y, x = together[0] & 0xFFFF, together[0] >> 16
        return Rows(((number, axis),), heads, np.where(y < height, y, 0) * width
                    + np.where(x < width, x, 0))
    raise NotATail(f"output '{name}' of shape {list(mask.shape)} has no axis along which all "
                   "values are of one cell of one level")


def _one_level(prober: Prober, heads: Ints) -> bool:
    """Whether the heads of each row are there, and of one size."""
    return bool(np.all(heads)) and all(
        len({prober.tail.shapes[h][1:] for h in _names(prober, m)}) == 1
        for m in np.unique(heads))


def _names(prober: Prober, mask: int) -> tuple[str, ...]:
    return tuple(h for b, h in enumerate(prober.tail.heads) if int(mask) >> b & 1)


def _sizes(prober: Prober, heads: Ints) -> tuple[Ints, Ints]:
    size = {int(m): prober.tail.shapes[_names(prober, m)[0]][1:] for m in np.unique(heads)}
    return (np.array([size[int(m)][0] for m in heads]),
            np.array([size[int(m)][1] for m in heads]))


def levels_of(prober: Prober, rows: Rows) -> list[Level]:
    """The levels of a table, in the order of its rows, with what each column depends on."""
    masks = list(dict.fromkeys(rows.mask.tolist()))
    groups = [_names(prober, m) for m in masks]
    if len({t for g in groups for t in g}) < sum(map(len, groups)):
        raise NotATail("levels of the head share a convolution")
    if len({len(g) for g in groups}) > 1:
        raise NotATail("levels of the head have different numbers of convolutions")
    placed = [_placed(prober, rows, m, g) for m, g in zip(masks, groups)]
    shapes = prober.tail.shapes
    columns = rows.table(prober.before[0]).shape[1]
    depends = [np.zeros((len(p), columns, sum(shapes[t][0] for t in g)), np.bool_)
               for p, g in zip(placed, groups)]
    alike: dict[tuple[int, ...], list[int]] = {}  # levels of one layout: the largest is asked
    for i, (g, p) in enumerate(zip(groups, placed)):
        alike.setdefault((len(p), *(shapes[t][0] for t in g)), []).append(i)
    asked = [max(same, key=lambda i: placed[i].shape[1]) for same in alike.values()]
    for tensor in range(len(groups[0])):
        for _, moved, told in prober.channels(tensor, [groups[i] for i in asked]):
            table = rows.table([m.astype(np.float32) for m in moved]) > 0
            for i, channel in zip(asked, told):
                first = sum(shapes[t][0] for t in groups[i][:tensor])
                for a, row in enumerate(placed[i]):
                    cell, column = np.nonzero(table[row])
                    depends[i][a, column, first + channel[cell]] = True
    for i, same in zip(asked, alike.values()):
        for other in same:
            depends[other] = depends[i]
    return [Level(g, (shapes[g[0]][1], shapes[g[0]][2]), p, d)
            for g, p, d in zip(groups, placed, depends)]


def _placed(prober: Prober, rows: Rows, mask: int, group: tuple[str, ...]) -> Ints:
    """[anchors, cells]: the rows of a level."""
    _, height, width = prober.tail.shapes[group[0]]
    mine = np.flatnonzero(rows.mask == mask)
    anchors, rest = divmod(len(mine), height * width)
    order = mine[np.argsort(rows.cell[mine], kind="stable")]
    if rest or not np.array_equal(np.sort(rows.cell[mine]),
                                  np.repeat(np.arange(height * width), anchors)):
        raise NotATail(f"the rows of the level of '{group[0]}' are not as many for each cell")
    placed: Ints = order.reshape(height * width, anchors).T
    return placed
