"""The golden model of a detection head: docs/arithmetic.md, section Detection, in numpy.

Heads are int8 [C, H, W]; ``detect`` is a program's ``header["detect"]`` (falconet.isa.container).
Nothing here knows instructions, memories, or the order in which a machine finds candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, FalconetError
from falconet.runtime.detections import RECORD, Detections, Limits, Options, Records, limits
from falconet.runtime.device import Int8
from falconet.runtime.suppression import suppress

__all__ = ["candidates", "detect_all", "landmarks"]

Ints = NDArray[np.int64]
Level = Mapping[str, Any]


def _entries(level: Level, column: str, stored: Int8) -> Ints:
    """A table's entries for stored values."""
    found: Ints = np.asarray(level[column], np.int64)[stored.astype(np.int64) + 128]
    return found


def _head(tensors: Mapping[str, Int8], level: Level, which: str, per_anchor: int) -> Int8:
    """A head [anchors, per_anchor, H, W]."""
    name, shape = level[which], (len(level["anchors"]) * per_anchor, level["height"],
                                 level["width"])
    if name not in tensors or tensors[name].shape != shape:
        raise FalconetError(
            f"tensor '{name}': the detection head needs it with shape {list(shape)}; recompile"
        )
    return tensors[name].reshape(-1, per_anchor, *shape[1:])


def _clamp(values: Ints, bits: int) -> Ints:
    return values.clip(-(1 << bits - 1), (1 << bits - 1) - 1)


def _middle(level: Level, axis: int, anchor: Ints, cell: Ints) -> Ints:
    """Centres of anchors in 1/16 pixel; axis 0 is x."""
    first: Ints = np.asarray(level["anchors"], np.int64)[anchor, 2 + axis]
    return first + cell * int(level["stride"][axis])


def _extent(level: Level, axis: int, anchor: Ints) -> Ints:
    """Widths (axis 0) or heights of anchors in 1/16 pixel."""
    size: Ints = np.asarray(level["anchors"], np.int64)[anchor, axis]
    return size


def _offset(level: Level, axis: int, anchor: Ints, entry: Ints, shift: int) -> Ints:
    """How far a centre moves: table entry times the anchor's size, or the stride."""
    unit = int(level["stride"][axis]) if level["grid"] else _extent(level, axis, anchor)
    return _clamp((entry * unit + (1 << shift - 1)) >> shift, Arch.CENTRE_BITS)


def _edges(level: Level, axis: int, anchor: Ints, cell: Ints, low: Int8, high: Int8
           ) -> tuple[Ints, Ints]:
    """x1 and x2 (axis 0), or y1 and y2, from the two box channels of the axis."""
    middle, shift = _middle(level, axis, anchor, cell), int(level["size_shift"])

    def extent(stored: Int8) -> Ints:
        product = _entries(level, "size", stored) * _extent(level, axis, anchor)
        return ((product + (1 << shift - 1)) >> shift).clip(max=65535)

    if level["form"]:
        first, second = middle - extent(low), middle + extent(high)
    else:
        moved = _offset(level, axis, anchor, _entries(level, "centre", low),
                        int(level["centre_shift"]))
        size = extent(high)
        first = middle + moved - (size >> 1)
        second = first + size
    lo, hi = level["clip"][2 * axis : 2 * axis + 2]
    return first.clip(lo, hi), second.clip(lo, hi)


def _scan(tensors: Mapping[str, Int8], level: Level, number: int, score_min: int) -> Records:
    """All candidates of one level."""
    scores = _head(tensors, level, "scores", int(level["n_class"]))
    score = _entries(level, "score", scores)
    if level["objectness"]:
        objectness = _head(tensors, level, "objectness", 1)
        score = (score * _entries(level, "objectness_table", objectness) + (1 << 15)) >> 16
    anchor, label, y, x = np.nonzero(score >= score_min)
    box = _head(tensors, level, "boxes", 4)[anchor, :, y, x]
    found = np.zeros(len(anchor), RECORD)
    found["score"] = score[anchor, label, y, x]
    found["label"], found["anchor"] = label, anchor + 16 * number
    found["x"], found["y"] = x, y
    found["x1"], found["x2"] = _edges(level, 0, anchor, x, box[:, 0], box[:, 2])
    found["y1"], found["y2"] = _edges(level, 1, anchor, y, box[:, 1], box[:, 3])
    return found


def candidates(
    tensors: Mapping[str, Int8], detect: Mapping[str, Any], lim: Limits, arch: Arch
) -> tuple[Records, int]:
    """The best ``arch.candidates`` boxes, RECORD, best first, and how many there were."""
    found = np.concatenate([
        _scan(tensors, level, i, lim.score_min) for i, level in enumerate(detect["levels"])
    ])
    order = np.lexsort((
        found["label"], found["anchor"] & 15, found["x"], found["y"], found["anchor"] >> 4,
        -found["score"].astype(np.int64),
    ))
    return found[order[: arch.candidates]], len(found)


def landmarks(
    tensors: Mapping[str, Int8], detect: Mapping[str, Any], records: Records
) -> NDArray[np.int16]:
    """int16 [n, points, 2] of records: x, y in 1/16 pixel."""
    points = int(detect["points"])
    marks = np.zeros((len(records), points, 2), np.int16)
    if not points:
        return marks
    for number, level in enumerate(detect["levels"]):
        mine = np.nonzero(records["anchor"] >> 4 == number)[0]
        anchor, x, y = ((records[k][mine] & mask).astype(np.int64)
                        for k, mask in (("anchor", 15), ("x", 65535), ("y", 65535)))
        stored = _head(tensors, level, "landmarks", 2 * points)[anchor, :, y, x]
        for axis, cell in enumerate((x, y)):
            entry = _entries(level, "mark", stored[:, axis::2])
            moved = _offset(level, axis, anchor[:, None], entry, int(level["mark_shift"]))
            middle = _middle(level, axis, anchor, cell)
            marks[mine, :, axis] = _clamp(middle[:, None] + moved, 16)
    return marks


def detect_all(
    tensors: Mapping[str, Int8], detect: Mapping[str, Any], options: Options | None, arch: Arch
) -> Detections:
    """What the machine finds in its heads, to the last bit."""
    lim = limits(detect, options)
    found, seen = candidates(tensors, detect, lim, arch)
    kept = suppress(found, lim, mode=detect["mode"], agnostic=bool(detect["agnostic"]))
    return Detections(kept, landmarks(tensors, detect, kept), seen)
