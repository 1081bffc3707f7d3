"""The golden model of a detection head: docs/arithmetic.md, section Detection, in numpy.

Heads are int8 [C, H, W]; ``detect`` is :attr:`falconet.isa.Program.detect`. Nothing here knows
instructions, memories, or the order in which a machine finds candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, FalconetError
from falconet.isa.program.forms import Detect, DetectLevel
from falconet.runtime.detections import RECORD, Detections, Limits, Options, Records, limits
from falconet.runtime.device import Int8
from falconet.runtime.suppression import suppress

__all__ = ["candidates", "detect_all", "landmarks"]

Ints = NDArray[np.int64]


def _entries(table: Sequence[int], stored: Int8) -> Ints:
    """A table's entries for stored values."""
    found: Ints = np.asarray(table, np.int64)[stored.astype(np.int64) + 128]
    return found


def _head(tensors: Mapping[str, Int8], level: DetectLevel, name: str, per_anchor: int) -> Int8:
    """A head [anchors, per_anchor, H, W]."""
    shape = len(level.anchors) * per_anchor, level.height, level.width
    if name not in tensors or tensors[name].shape != shape:
        raise FalconetError(
            f"tensor '{name}': the detection head needs it with shape {list(shape)}; recompile"
        )
    return tensors[name].reshape(-1, per_anchor, *shape[1:])


def _clamp(values: Ints, bits: int) -> Ints:
    return values.clip(-(1 << bits - 1), (1 << bits - 1) - 1)


def _middle(level: DetectLevel, axis: int, anchor: Ints, cell: Ints) -> Ints:
    """Centres of anchors in 1/16 pixel; axis 0 is x."""
    first: Ints = np.asarray(level.anchors, np.int64)[anchor, 2 + axis]
    return first + cell * level.stride[axis]


def _extent(level: DetectLevel, axis: int, anchor: Ints) -> Ints:
    """Widths (axis 0) or heights of anchors in 1/16 pixel."""
    size: Ints = np.asarray(level.anchors, np.int64)[anchor, axis]
    return size


def _offset(level: DetectLevel, axis: int, anchor: Ints, entry: Ints, shift: int) -> Ints:
    """How far a centre moves: table entry times the anchor's size, or the stride."""
    unit = level.stride[axis] if level.grid else _extent(level, axis, anchor)
    return _clamp((entry * unit + (1 << shift - 1)) >> shift, Arch.CENTRE_BITS)


def _exponentials(table: Sequence[int], stored: Ints) -> Ints:
    """Those of the groups along axis 1."""
    below = stored.max(axis=1, keepdims=True) - stored
    found: Ints = np.asarray(table, np.int64)[255 - below]
    return found


def _shares(table: Sequence[int], scores: Int8, background: int) -> Ints:
    """The softmax over axis 1, the classes, and the background, in units of 2**-16."""
    classes = scores.astype(np.int64)
    group = np.concatenate([classes, np.full_like(classes[:, :1], background)], axis=1)
    e = _exponentials(table, group)
    share: Ints = ((e << 16) // e.sum(axis=1, keepdims=True)).clip(max=65535)
    return share[:, :-1]


def _expectations(table: Sequence[int], sides: Int8) -> Ints:
    """[n, 4] distances in strides / 2**11 from [n, 4, bins]."""
    e = _exponentials(table, sides.reshape(-1, sides.shape[2]).astype(np.int64))
    size: Ints = (e @ np.arange(sides.shape[2]) << 11) // e.sum(axis=1)
    return size.reshape(-1, 4)


def _edges(level: DetectLevel, axis: int, anchor: Ints, cell: Ints, box: Int8
           ) -> tuple[Ints, Ints]:
    """x1 and x2 (axis 0), or y1 and y2, from the channels of boxes [n, 4 or 4 * bins]."""
    middle, shift = _middle(level, axis, anchor, cell), level.size_shift
    if level.bins:
        sizes = _expectations(level.size, box.reshape(-1, 4, level.bins))
    else:
        sizes = _entries(level.size, box)

    def extent(side: int) -> Ints:
        product = sizes[:, side] * _extent(level, axis, anchor)
        return ((product + (1 << shift - 1)) >> shift).clip(max=65535)

    low, high = axis, axis + 2
    if level.form:
        first, second = middle - extent(low), middle + extent(high)
    else:
        moved = _offset(level, axis, anchor, _entries(level.centre, box[:, low]),
                        level.centre_shift)
        size = extent(high)
        first = middle + moved - (size >> 1)
        second = first + size
    lo, hi = level.clip[2 * axis : 2 * axis + 2]
    return first.clip(lo, hi), second.clip(lo, hi)


def _scan(tensors: Mapping[str, Int8], level: DetectLevel, number: int, score_min: int) -> Records:
    """All candidates of one level."""
    scores = _head(tensors, level, level.scores, level.n_class)
    score = _entries(level.score, scores)
    likely = score >= score_min
    if level.softmax:
        assert level.background is not None
        score = _shares(level.softmax, scores, level.background)
    if level.objectness:
        objectness = _head(tensors, level, level.objectness, 1)
        score = (score * _entries(level.objectness_table, objectness) + (1 << 15)) >> 16
    anchor, label, y, x = np.nonzero(likely & (score >= score_min))
    box = _head(tensors, level, level.boxes, 4 * (level.bins or 1))[anchor, :, y, x]
    found = np.zeros(len(anchor), RECORD)
    found["score"] = score[anchor, label, y, x]
    found["label"], found["anchor"] = label, anchor + 16 * number
    found["x"], found["y"] = x, y
    found["x1"], found["x2"] = _edges(level, 0, anchor, x, box)
    found["y1"], found["y2"] = _edges(level, 1, anchor, y, box)
    return found


def candidates(
    tensors: Mapping[str, Int8], detect: Detect, lim: Limits, arch: Arch
) -> tuple[Records, int]:
    """The best ``arch.candidates`` boxes, RECORD, best first, and how many there were."""
    found = np.concatenate([
        _scan(tensors, level, i, lim.score_min) for i, level in enumerate(detect.levels)
    ])
    order = np.lexsort((
        found["label"], found["anchor"] & 15, found["x"], found["y"], found["anchor"] >> 4,
        -found["score"].astype(np.int64),
    ))
    return found[order[: arch.candidates]], len(found)


def landmarks(
    tensors: Mapping[str, Int8], detect: Detect, records: Records
) -> NDArray[np.int16]:
    """int16 [n, points, 2] of records: x, y in 1/16 pixel."""
    points = detect.points
    marks = np.zeros((len(records), points, 2), np.int16)
    if not points:
        return marks
    for number, level in enumerate(detect.levels):
        mine = np.nonzero(records["anchor"] >> 4 == number)[0]
        anchor, x, y = ((records[k][mine] & mask).astype(np.int64)
                        for k, mask in (("anchor", 15), ("x", 65535), ("y", 65535)))
        stored = _head(tensors, level, level.landmarks, 2 * points)[anchor, :, y, x]
        for axis, cell in enumerate((x, y)):
            entry = _entries(level.mark, stored[:, axis::2])
            moved = _offset(level, axis, anchor[:, None], entry, level.mark_shift)
            middle = _middle(level, axis, anchor, cell)
            marks[mine, :, axis] = _clamp(middle[:, None] + moved, 16)
    return marks


def detect_all(
    tensors: Mapping[str, Int8], detect: Detect, options: Options | None, arch: Arch
) -> Detections:
    """What the machine finds in its heads, to the last bit."""
    lim = limits(detect, options)
    found, seen = candidates(tensors, detect, lim, arch)
    kept = suppress(found, lim, mode=detect.mode, agnostic=detect.agnostic)
    return Detections(kept, landmarks(tensors, detect, kept), seen)
