"""SCAN and MARK on the simulator's machine: rows of the detect table, views, records.

Integers throughout, as in docs/arithmetic.md, section Detection. What the instructions' docstrings
demand of a program is checked.
"""

from __future__ import annotations

import numpy as np

from falconet.isa import Arch, Dst, FalconetError, Instruction, Scan, Src
from falconet.runtime.detections import RECORD
from falconet.runtime.device import Int8
from falconet_sim.iss.machine import Found, Machine
from falconet_sim.iss.rows import (
    Ints,
    all_rows,
    anchor_rows,
    best_first,
    column,
    run_options,
    scaled,
    to_rows,
)
from falconet_sim.iss.views import cells
from falconet_sim.iss.weighing import distances, shares

__all__ = ["mark", "scan"]

_ROWS = Scan.field("y0").hi + 1  # of a level
_AXES = (("width", "cx", "stride_x", "x"), ("height", "cy", "stride_y", "y"))


def _entry(stored: Int8) -> Ints:
    """The entries of stored values."""
    return stored.astype(np.int64) + 128


def _saturate(value: Ints, bits: int) -> Ints:
    return np.clip(value, -1 << (bits - 1), (1 << (bits - 1)) - 1)


def _middle(ins: Instruction, anchors: dict[str, Ints], axis: int, a: Ints, at: Ints) -> Ints:
    """Centres of anchors ``a`` in cells ``at`` along an axis."""
    _, centre, stride, name = _AXES[axis]
    m = anchors[centre][a] + at * int(getattr(ins, stride))
    if m.size and m.max() >= 1 << (Arch.CENTRE_BITS - 1):
        raise FalconetError(f"a centre of {name} = {m.max()} does not fit {Arch.CENTRE_BITS} bits")
    return m


def _offset(ins: Instruction, anchors: dict[str, Ints], axis: int, a: Ints, centre: Ints) -> Ints:
    size, _, stride, _ = _AXES[axis]
    unit = np.int64(getattr(ins, stride)) if ins.grid else anchors[size][a]
    return _saturate(scaled(centre, unit, ins.centre_shift), Arch.CENTRE_BITS)


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
        (not ins.bins or bool(ins.form), f"bins={ins.bins} need form=1"),
        (ins.y0 + ins.n_y <= _ROWS, f"y0={ins.y0} and n_y={ins.n_y} are more than {_ROWS} rows"),
        (bool(ins.first) or machine.found is not None, "the first SCAN needs first=1"),
        (bool(ins.first) or machine.found is None or not machine.found.limit,
         "after SUPPRESS a SCAN needs first=1"),
    ):
        if not ok:
            raise FalconetError(what)
    return -(-ins.n_channels // ins.n_class)


def scan(machine: Machine, ins: Instruction) -> None:
    """All hits of a stripe at once; then the best of them and of the records there are."""
    arch, lanes = machine.arch, machine.arch.lanes
    n_anchors = _check_scan(machine, ins)
    found = machine.found = Found() if ins.first or machine.found is None else machine.found
    n_y, n_x = ins.n_y, ins.n_x
    options, anchors = run_options(machine), anchor_rows(machine, n_anchors)
    number = np.arange(n_anchors)
    for axis, last in ((0, n_x - 1), (1, ins.y0 + n_y - 1)):
        _middle(ins, anchors, axis, number, np.full(n_anchors, last))

    address = cells(ins.score_base, ins.score_y_step, np.arange(ins.n_b) * ins.score_b_step,
                    n_y, n_x)
    stored = machine.read(Dst.SCRATCHPAD, address).transpose(0, 3, 1, 2).reshape(-1, n_y, n_x)
    channel, y, x = np.nonzero(stored[: ins.n_channels] >= options.q_min)
    a, label = channel // ins.n_class, channel % ins.n_class
    if ins.softmax:
        score = shares(machine, ins, anchors, a, y, x, label)
    else:
        score = column(machine, "score")[_entry(stored[channel, y, x])]
    if ins.objectness:
        address = cells(ins.obj_base, ins.obj_y_step, anchors["objectness"], n_y, n_x)
        o = machine.read(Dst.SCRATCHPAD, address)[a, y, x, a % lanes]
        score = scaled(score, column(machine, "objectness")[_entry(o)], 16)
    address = cells(ins.box_base, ins.box_y_step, anchors["box"], n_y, n_x)
    words = machine.read(Dst.SCRATCHPAD, address)
    first_lane = 4 * a % lanes
    box = np.stack([_entry(words[a, y, x, first_lane + i]) for i in range(4)])
    if ins.bins:
        sizes = distances(machine, ins, anchors, a, y, x)
    else:
        sizes = column(machine, "size")[box]
    enough = score >= options.score_min
    a, label, y, x, score = (v[enough] for v in (a, label, y, x, score))
    box, sizes = box[:, enough], sizes[:, enough]
    y = y + ins.y0

    new = np.zeros(len(a), RECORD)
    for axis, at in enumerate((x, y)):
        name = "xy"[axis]
        low, high = _edges(machine, ins, anchors, axis, a, at, box, sizes)
        lo, hi = getattr(ins, f"{name}_lo"), getattr(ins, f"{name}_hi")
        new[f"{name}1"], new[f"{name}2"] = np.clip(low, lo, hi), np.clip(high, lo, hi)
    new["score"], new["label"], new["anchor"] = score, label, a + 16 * ins.level
    new["x"], new["y"] = x, y

    found.seen += len(new)
    known = found.levels.get(ins.level, (0, 0, 0))
    largest = zip(known, (n_anchors, ins.y0 + n_y, n_x))
    found.levels[ins.level] = tuple(max(pair) for pair in largest)  # type: ignore[assignment]
    rows = all_rows(machine)
    records = np.concatenate([rows[: found.held].view(RECORD).reshape(-1), new])
    records = records[best_first(records)[: arch.candidates]]
    found.held = len(records)
    rows[: found.held] = to_rows(records)
    machine.write_rows(0, rows)


def _edges(
    machine: Machine, ins: Instruction, anchors: dict[str, Ints], axis: int, a: Ints, at: Ints,
    box: Ints, sizes: Ints,
) -> tuple[Ints, Ints]:
    """Lower and upper edge along an axis before the clamp, in 1/16 pixel; ``box`` entries of the
    four channels, ``sizes`` what they say as sizes."""
    middle, length = _middle(ins, anchors, axis, a, at), anchors[_AXES[axis][0]][a]
    first, second = (np.minimum(scaled(sizes[i], length, ins.size_shift), 65535)
                     for i in (axis, axis + 2))
    if ins.form:
        return middle - first, middle + second
    low = middle + _offset(ins, anchors, axis, a, column(machine, "centre")[box[axis]])
    low = low - (second >> 1)
    return low, low + second


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
    marks = all_rows(machine)[ins.limit : ins.limit * (1 + per)]
    n_anchors, n_y, n_x = found.levels.get(ins.level, (0, 0, 0))
    anchors, centre = anchor_rows(machine, n_anchors), column(machine, "centre")
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
