"""What the machine makes of every stored value of a head: docs/arithmetic.md, Detection.

The importer proves with it that a description and a file's own tail say the same. Nothing is
selected or suppressed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch
from falconet.isa.program.forms import DetectLevel

__all__ = ["Decoded", "decode"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Decoded:
    """``scores`` [A, classes, H, W] / 2**16; ``boxes`` [A, 4, H, W], ``marks`` [A, 2P, H, W] / 16.

    Boxes are left, top, right, bottom.
    """

    scores: Ints
    boxes: Ints
    marks: Ints


def _look_up(table: Sequence[int], stored: Ints) -> Ints:
    found: Ints = np.asarray(table, np.int64)[stored + 128]
    return found


def _rounded(value: Ints, shift: int) -> Ints:
    found: Ints = (value + (1 << shift - 1)) >> shift
    return found


def _saturated(value: Ints, bits: int) -> Ints:
    return value.clip(-(1 << bits - 1), (1 << bits - 1) - 1)


def decode(level: DetectLevel, stored: Mapping[str, Ints]) -> Decoded:
    """Everything of one level, from stored values [C, H, W] by the tensors' names."""
    a, (h, w) = len(level.anchors), (level.height, level.width)
    anchors = np.asarray(level.anchors, np.int64)

    def head(name: str) -> Ints:
        return stored[name].astype(np.int64).reshape(a, -1, h, w)

    score = _scores(level, head(level.scores))
    if level.objectness:
        other = _look_up(level.objectness_table, head(level.objectness))
        score = _rounded(score * other, 16)
    cells = np.arange(w)[None, None, :] * level.stride[0], np.arange(h)[None, :, None] * (
        level.stride[1])
    middles = [anchors[:, 2 + i, None, None] + cells[i] for i in (0, 1)]
    sides = [anchors[:, i, None, None] for i in (0, 1)]
    units = [np.full_like(sides[i], level.stride[i]) if level.grid else sides[i] for i in (0, 1)]
    box, edges = head(level.boxes), [np.zeros((0,), np.int64)] * 4
    for i in (0, 1):
        first, second = _axis(level, box, i, middles[i], units[i], sides[i])
        low, high = level.clip[2 * i:2 * i + 2]
        edges[i], edges[i + 2] = first.clip(low, high), second.clip(low, high)
    marks = np.zeros((a, 0, h, w), np.int64)
    if level.landmarks:
        entry = _look_up(level.mark, head(level.landmarks))
        marks = np.stack([
            _saturated(middles[k % 2] + _saturated(_rounded(
                entry[:, k] * units[k % 2], level.mark_shift), Arch.CENTRE_BITS), 16)
            for k in range(entry.shape[1])], axis=1)
    return Decoded(score, np.stack(edges, axis=1), marks)


def _exponentials(table: Sequence[int], stored: Ints, axis: int) -> Ints:
    """Of groups along an axis: entry 255 for the largest."""
    return _look_up(table, 127 - (stored.max(axis=axis, keepdims=True) - stored))


def _scores(level: DetectLevel, stored: Ints) -> Ints:
    if level.softmax is None:
        return _look_up(level.score, stored)
    assert level.background is not None
    whole = np.concatenate([stored, np.full_like(stored[:, :1], level.background)], axis=1)
    e = _exponentials(level.softmax, whole, 1)
    share: Ints = np.minimum((e << 16) // e.sum(axis=1, keepdims=True), (1 << 16) - 1)
    return share[:, :-1]


def _axis(level: DetectLevel, box: Ints, axis: int, middle: Ints, unit: Ints, side: Ints
          ) -> tuple[Ints, Ints]:
    sizes = _sizes(level, box)

    def extent(k: int) -> Ints:
        return _rounded(sizes[:, k] * side, level.size_shift).clip(max=65535)

    if level.form:
        return middle - extent(axis), middle + extent(axis + 2)
    moved = _saturated(_rounded(_look_up(level.centre, box[:, axis]) * unit, level.centre_shift),
                       Arch.CENTRE_BITS)
    size = extent(axis + 2)
    first = middle + moved - (size >> 1)
    return first, first + size


def _sizes(level: DetectLevel, box: Ints) -> Ints:
    """[A, 4, H, W] entries of the size table; of a centred box the last two are sizes."""
    if level.bins is None:
        return _look_up(level.size, box)
    sides = box.reshape(len(box), 4, level.bins, *box.shape[2:])
    e = _exponentials(level.size, sides, 2)
    bins = np.arange(level.bins)[:, None, None]
    size: Ints = ((e * bins).sum(axis=2) << 11) // e.sum(axis=2)
    return size
