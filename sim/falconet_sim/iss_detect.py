"""SCAN, SUPPRESS and MARK on the simulator's machine: rows of the detect table, views, records.

Integers throughout, as in docs/arithmetic.md, section Detection. What the instructions' docstrings
demand of a program is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, Dst, FalconetError, Instruction, Src, Suppression
from falconet.runtime.detections import RECORD, Records
from falconet.runtime.device import Int8
from falconet_sim.machine import Found, Machine
from falconet_sim.views import cells

__all__ = ["mark", "scan", "suppress"]

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

_ENTRY = np.dtype([("score", "<u2"), ("objectness", "<u2"), ("centre", "<i2"), ("size", "<u2")])
_ANCHOR = np.dtype([
    ("width", "<u2"), ("height", "<u2"), ("cx", "<i2"), ("cy", "<i2"), ("box", "<u2"),
    ("objectness", "<u2"), ("mark", "<u2"), ("lane", "<u2"),
])
_OPTIONS = np.dtype([
    ("score_min", "<u2"), ("q_min", "<i2"), ("threshold", "<u4"), ("maximum", "<u2"),
    ("zero", "u1", 6),
])
_AXES = (("width", "cx", "stride_x", "x"), ("height", "cy", "stride_y", "y"))


@dataclass(frozen=True)
class _Options:
    score_min: int
    q_min: int
    threshold: int
    maximum: int


def _options(machine: Machine) -> _Options:
    row = machine.rows(Dst.DETECT, Arch.TABLE_OPTIONS, 1).view(_OPTIONS)[0, 0]
    found = _Options(*(int(row[name]) for name in ("score_min", "q_min", "threshold", "maximum")))
    if not -128 <= found.q_min <= 128 or found.threshold > 1 << 16 or row["zero"].any():
        raise FalconetError(
            f"row {Arch.TABLE_OPTIONS} of DETECT: q_min={found.q_min}, "
            f"threshold={found.threshold}; load the options of the run into it"
        )
    return found


def _column(machine: Machine, name: str) -> Ints:
    """A column of the detect table's 256 entries."""
    rows = machine.rows(Dst.DETECT, 0, Arch.TABLE_ANCHORS)
    return np.asarray(rows.view(_ENTRY).reshape(-1)[name], np.int64)


def _entry(stored: Int8) -> Ints:
    """The entries of stored values."""
    return stored.astype(np.int64) + 128


def _anchors(machine: Machine, count: int) -> dict[str, Ints]:
    rows = machine.rows(Dst.DETECT, Arch.TABLE_ANCHORS, count).view(_ANCHOR).reshape(-1)
    return {name: rows[name].astype(np.int64) for name in _ANCHOR.names or ()}


def _saturate(value: Ints, bits: int) -> Ints:
    return np.clip(value, -1 << (bits - 1), (1 << (bits - 1)) - 1)


def _scaled(value: Ints, by: Ints | int, shift: int) -> Ints:
    return (value * by + (1 << (shift - 1))) >> shift


def _middle(ins: Instruction, anchors: dict[str, Ints], axis: int, a: Ints, at: Ints) -> Ints:
    """Centres of anchors ``a`` in cells ``at`` along an axis."""
    _, centre, stride, name = _AXES[axis]
    m = anchors[centre][a] + at * int(getattr(ins, stride))
    if m.size and m.max() >= 1 << 17:
        raise FalconetError(f"a centre of {name} = {m.max()} does not fit 18 bits")
    return m


def _offset(ins: Instruction, anchors: dict[str, Ints], axis: int, a: Ints, centre: Ints) -> Ints:
    size, _, stride, _ = _AXES[axis]
    unit = np.int64(getattr(ins, stride)) if ins.grid else anchors[size][a]
    return _saturate(_scaled(centre, unit, ins.centre_shift), 18)


def _best_first(records: Records) -> Ints:
    """Positions of records, the best first."""
    r, mark = records, records["anchor"].astype(np.int64)
    keys = r["label"], mark & 15, r["x"], r["y"], mark >> 4, -r["score"].astype(np.int64)
    return np.lexsort(keys)


def _check_scan(machine: Machine, ins: Instruction) -> int:
    """How many anchors there are."""
    lanes = machine.arch.lanes
    for ok, what in (
        (ins.n_channels <= Arch.ANCHORS * ins.n_class,
         f"n_channels={ins.n_channels} is more than {Arch.ANCHORS} * n_class={ins.n_class}"),
        (ins.n_b == -(-ins.n_channels // lanes),
         f"n_b={ins.n_b}, but n_channels={ins.n_channels} are in {-(-ins.n_channels // lanes)}"),
        (ins.x_lo <= ins.x_hi, f"x_lo={ins.x_lo} is more than x_hi={ins.x_hi}"),
        (ins.y_lo <= ins.y_hi, f"y_lo={ins.y_lo} is more than y_hi={ins.y_hi}"),
        (bool(ins.first) or machine.found is not None, "the first SCAN needs first=1"),
        (bool(ins.first) or machine.found is None or not machine.found.limit,
         "after SUPPRESS a SCAN needs first=1"),
    ):
        if not ok:
            raise FalconetError(what)
    return -(-ins.n_channels // ins.n_class)


def scan(machine: Machine, ins: Instruction) -> None:
    """All hits of a level at once; then the best of them and of the records there are."""
    arch, lanes = machine.arch, machine.arch.lanes
    n_anchors = _check_scan(machine, ins)
    found = machine.found = Found() if ins.first or machine.found is None else machine.found
    n_y, n_x = ins.n_y, ins.n_x
    options, anchors = _options(machine), _anchors(machine, n_anchors)
    number = np.arange(n_anchors)
    for axis, last in ((0, n_x - 1), (1, n_y - 1)):
        _middle(ins, anchors, axis, number, np.full(n_anchors, last))

    address = cells(ins.score_base, ins.score_y_step, np.arange(ins.n_b) * ins.score_b_step,
                    n_y, n_x)
    stored = machine.read(Dst.SCRATCHPAD, address).transpose(0, 3, 1, 2).reshape(-1, n_y, n_x)
    channel, y, x = np.nonzero(stored[: ins.n_channels] >= options.q_min)
    a, label = channel // ins.n_class, channel % ins.n_class
    score = _column(machine, "score")[_entry(stored[channel, y, x])]
    if ins.objectness:
        address = cells(ins.obj_base, ins.obj_y_step, anchors["objectness"], n_y, n_x)
        o = machine.read(Dst.SCRATCHPAD, address)[a, y, x, a % lanes]
        score = _scaled(score, _column(machine, "objectness")[_entry(o)], 16)
    address = cells(ins.box_base, ins.box_y_step, anchors["box"], n_y, n_x)
    words = machine.read(Dst.SCRATCHPAD, address)
    enough = score >= options.score_min
    a, label, y, x, score = (v[enough] for v in (a, label, y, x, score))
    first_lane = 4 * a % lanes
    box = [_entry(words[a, y, x, first_lane + i]) for i in range(4)]

    new = np.zeros(len(a), RECORD)
    for axis, (at, q0, q2) in enumerate(((x, box[0], box[2]), (y, box[1], box[3]))):
        name = "xy"[axis]
        low, high = _edges(machine, ins, anchors, axis, a, at, q0, q2)
        lo, hi = getattr(ins, f"{name}_lo"), getattr(ins, f"{name}_hi")
        new[f"{name}1"], new[f"{name}2"] = np.clip(low, lo, hi), np.clip(high, lo, hi)
    new["score"], new["label"], new["anchor"] = score, label, a + 16 * ins.level
    new["x"], new["y"] = x, y

    found.seen += len(new)
    known = found.levels.get(ins.level, (0, 0, 0))
    largest = zip(known, (n_anchors, n_y, n_x))
    found.levels[ins.level] = tuple(max(pair) for pair in largest)  # type: ignore[assignment]
    rows = _all_rows(machine)
    records = np.concatenate([rows[: found.held].view(RECORD).reshape(-1), new])
    records = records[_best_first(records)[: arch.candidates]]
    found.held = len(records)
    rows[: found.held] = _bytes(records)
    machine.write_rows(0, rows)


def _edges(
    machine: Machine, ins: Instruction, anchors: dict[str, Ints], axis: int, a: Ints, at: Ints,
    q0: Ints, q2: Ints,
) -> tuple[Ints, Ints]:
    """Lower and upper edge along an axis before the clamp, in 1/16 pixel."""
    middle, length = _middle(ins, anchors, axis, a, at), anchors[_AXES[axis][0]][a]
    size = _column(machine, "size")

    def extent(q: Ints) -> Ints:
        return np.minimum(_scaled(size[q], length, ins.size_shift), 65535)

    if ins.form:
        return middle - extent(q0), middle + extent(q2)
    low = middle + _offset(ins, anchors, axis, a, _column(machine, "centre")[q0])
    low = low - (extent(q2) >> 1)
    return low, low + extent(q2)


def _all_rows(machine: Machine) -> NDArray[np.uint8]:
    """A copy of the records and their row of counts, uint8 [candidates + 1, 16]."""
    rows: NDArray[np.uint8] = machine.records.copy().view(np.uint8).reshape(-1, Arch.ROW_BYTES)
    return rows


def _bytes(records: Records) -> NDArray[np.uint8]:
    return np.frombuffer(records.tobytes(), np.uint8).reshape(-1, Arch.ROW_BYTES)


def suppress(machine: Machine, ins: Instruction) -> None:
    """Take the best record left, treat the others, until there is none or no room."""
    arch, found = machine.arch, machine.found
    if found is None or found.limit:
        raise FalconetError("there are no records; a SCAN with first=1 must come before")
    if ins.limit > arch.candidates:
        raise FalconetError(f"limit={ins.limit} is more than the {arch.candidates} candidates")
    options, mode = _options(machine), Suppression(ins.mode)
    weights = None
    if mode is Suppression.SOFT_GAUSSIAN:
        weights = _column(machine, "score"), _column(machine, "objectness")
    rows = machine.rows(Src.RECORDS, 0, arch.candidates + 1)
    left = rows[: found.held].view(RECORD).reshape(-1)
    stay: list[Any] = []
    while len(left) and len(stay) < min(ins.limit, options.maximum):
        order = _best_first(left)
        best, left = left[order[0]], left[order[1:]]
        stay.append(best)
        other = np.ones(len(left), np.bool_) if ins.agnostic else left["label"] == best["label"]
        gone, score = _treated(mode, options, weights, best, left)
        left["score"] = np.where(other, score, left["score"])
        left = left[~(gone & other)]
    found.held, found.limit = len(stay), ins.limit
    rows[: len(stay)] = _bytes(np.array(stay, RECORD))
    counts = np.array([len(stay), found.seen, 0, 0], "<u4")
    rows[arch.candidates] = counts.view(np.uint8)
    machine.write_rows(0, rows)


def _treated(
    mode: Suppression, options: _Options, weights: tuple[Ints, Ints] | None, best: Any,
    left: Records,
) -> tuple[Mask, Ints]:
    """Which records a better one removes, and the scores of the others."""
    sides = [(left[n].astype(np.int64), int(best[n])) for n in ("x1", "y1", "x2", "y2")]
    (x1, bx1), (y1, by1), (x2, bx2), (y2, by2) = sides
    inter = (
        np.maximum(np.minimum(x2, bx2) - np.maximum(x1, bx1), 0)
        * np.maximum(np.minimum(y2, by2) - np.maximum(y1, by1), 0)
    )
    areas = (x2 - x1) * (y2 - y1) + (bx2 - bx1) * (by2 - by1)
    over = inter * ((1 << 16) + options.threshold) > options.threshold * areas
    score = left["score"].astype(np.int64)
    if mode is Suppression.GREEDY:
        return over, score
    iou = (inter << 16) // np.maximum(areas - inter, 1)
    if mode is Suppression.DIOU:
        distance = (x1 + x2 - bx1 - bx2) ** 2 + (y1 + y2 - by1 - by2) ** 2
        width = np.maximum(x2, bx2) - np.minimum(x1, bx1)
        height = np.maximum(y2, by2) - np.minimum(y1, by1)
        diagonal = np.maximum(4 * (width**2 + height**2), 1)
        return over & (iou - (distance << 16) // diagonal > options.threshold), score
    if mode is Suppression.SOFT_LINEAR:
        treated, weight = over, (1 << 16) - iou
    else:
        assert weights is not None
        treated, (entry, fall) = inter > 0, weights
        iou = np.minimum(iou, 65535)
        weight = entry[iou >> 8] - _scaled(fall[iou >> 8], iou & 255, 8)
    score = np.where(treated, _scaled(score, weight, 16), score)
    return treated & (score < options.score_min), score


def mark(machine: Machine, ins: Instruction) -> None:
    """One record after the other."""
    arch, lanes, found = machine.arch, machine.arch.lanes, machine.found
    per = -(-ins.n_values // 8)
    if found is None or ins.limit != found.limit:
        raise FalconetError(f"limit={ins.limit}, but SUPPRESS had {found.limit if found else 0}")
    if ins.limit * (1 + per) > arch.candidates:
        raise FalconetError(
            f"limit={ins.limit} boxes with {per} rows of landmarks each are more than "
            f"{arch.candidates} records"
        )
    records = machine.rows(Src.RECORDS, 0, ins.limit)[: found.held].view(RECORD).reshape(-1)
    marks = _all_rows(machine)[ins.limit : ins.limit * (1 + per)]
    n_anchors, n_y, n_x = found.levels.get(ins.level, (0, 0, 0))
    anchors, centre = _anchors(machine, n_anchors), _column(machine, "centre")
    if (anchors["lane"] >= lanes).any():
        raise FalconetError(f"an anchor's lane of landmarks is not below {lanes}")
    k = np.arange(ins.n_values)
    channel = anchors["lane"][:, None] + k
    words = anchors["mark"][:, None] + channel // lanes * ins.b_step
    address = cells(ins.base, ins.y_step, words.reshape(-1), n_y, n_x)
    stored = machine.read(Dst.SCRATCHPAD, address).reshape(n_anchors, ins.n_values, n_y, n_x, lanes)
    for r in np.flatnonzero(records["anchor"] >> 4 == ins.level):
        record = records[r]
        a, y, x = int(record["anchor"]) & 15, int(record["y"]), int(record["x"])
        q = _entry(stored[a, k, y, x, channel[a] % lanes])
        values = np.zeros(8 * per, "<i2")
        for axis, at in enumerate((x, y)):
            of = np.full(len(q[axis::2]), a)
            place = _middle(ins, anchors, axis, of, np.full(len(of), at))
            place = place + _offset(ins, anchors, axis, of, centre[q[axis::2]])
            values[axis : ins.n_values : 2] = _saturate(place, 16)
        marks[per * r : per * (r + 1)] = values.view(np.uint8).reshape(per, -1)
    machine.write_rows(ins.limit, marks)
