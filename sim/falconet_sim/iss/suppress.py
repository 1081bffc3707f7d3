"""SUPPRESS on the simulator's machine: docs/arithmetic.md, sections Overlap and Suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError, Instruction, Src, Suppression
from falconet.isa.machine.rows import COUNTS
from falconet.runtime.detections import RECORD, Records
from falconet_sim.iss.machine import Machine
from falconet_sim.iss.rows import (
    Ints,
    RunOptions,
    best_first,
    column,
    run_options,
    scaled,
    to_rows,
)

__all__ = ["suppress"]

Mask = NDArray[np.bool_]


def suppress(machine: Machine, ins: Instruction) -> None:
    """Take the best record left, treat the others, until there is none or no room."""
    arch, found = machine.arch, machine.found
    if found is None or found.limit:
        raise FalconetError("there are no records; a SCAN with first=1 must come before")
    if ins.limit > arch.candidates:
        raise FalconetError(f"limit={ins.limit} is more than the {arch.candidates} candidates")
    options, mode = run_options(machine), Suppression(ins.mode)
    weights = None
    if mode is Suppression.SOFT_GAUSSIAN:
        weights = column(machine, "score"), column(machine, "objectness")
    rows = machine.rows(Src.RECORDS, 0, arch.candidates + 1)
    left = rows[: found.held].view(RECORD).reshape(-1)
    stay: list[Any] = []
    while len(left) and len(stay) < min(ins.limit, options.maximum):
        order = best_first(left)
        best, left = left[order[0]], left[order[1:]]
        stay.append(best)
        other = np.ones(len(left), np.bool_) if ins.agnostic else left["label"] == best["label"]
        gone, score = _treated(mode, options, weights, best, left)
        left["score"] = np.where(other, score, left["score"])
        left = left[~(gone & other)]
    found.held, found.limit = len(stay), ins.limit
    rows[: len(stay)] = to_rows(np.array(stay, RECORD))
    counts = np.zeros(1, np.dtype(COUNTS.dtype))
    counts["stay"], counts["candidates"] = len(stay), found.seen
    rows[arch.candidates] = counts.view(np.uint8)
    machine.write_rows(0, rows)


def _treated(
    mode: Suppression, options: RunOptions, weights: tuple[Ints, Ints] | None, best: Any,
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
        weight = entry[iou >> 8] - scaled(fall[iou >> 8], iou & 255, 8)
    score = np.where(treated, scaled(score, weight, 16), score)
    return treated & (score < options.score_min), score
