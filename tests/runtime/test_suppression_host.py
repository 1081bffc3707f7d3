"""Softer-NMS and Adaptive-NMS against the papers' pseudo-code in plain Python."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from boxes import UNIT, box, box_iou, nms, random_set, rank

from falconet.runtime.detections import RECORD, Limits, Records
from falconet.runtime.suppression import VOTE_SIGMA, suppress

pytestmark = pytest.mark.timeout(120)


def test_softer_against_the_paper() -> None:
    """He et al., algorithm 1, lines 8 to 9, on the boxes that greedy keeps; within half a unit."""
    rng = np.random.default_rng(5)
    moved = 0
    for turn in range(400):
        records, limits, agnostic = random_set(rng)
        variance = rng.uniform(0.1, 10, (len(records), 4)) if turn % 2 else None
        got = suppress(records, limits, mode="softer", agnostic=agnostic, variance=variance)
        t = [Fraction(limits.threshold, UNIT)] * len(records)
        stay = nms(records, t, agnostic)[: limits.maximum]
        assert got["score"].tolist() == records["score"][stay].tolist()
        for i, found in zip(stay, got):
            top, bottom = [0.0] * 4, [0.0] * 4
            for j, other in enumerate(records):
                iou = box_iou(box(records[i]), box(other))
                if iou and (agnostic or other["label"] == records[i]["label"]):
                    p = math.exp(-float(1 - iou) ** 2 / VOTE_SIGMA)
                    for c, edge in enumerate(box(other)):
                        weight = p / (1 if variance is None else variance[j, c])
                        top[c], bottom[c] = top[c] + weight * edge, bottom[c] + weight
            mean = [a / b for a, b in zip(top, bottom)] if bottom[0] else box(records[i])
            mean[2:] = max(mean[0], mean[2]), max(mean[1], mean[3])
            assert np.abs(np.subtract(mean, box(found))).max() <= 0.5 + 1e-6
            moved += box(found) != box(records[i])
    assert moved > 100


def crowd(records: Records, agnostic: bool) -> list[Fraction]:
    """The estimate of the density in the words of the docstring."""
    def near(a: np.void, b: np.void) -> bool:
        return all(abs(int(a[k]) - int(b[k])) <= 1 for k in ("x", "y"))

    def alike(a: np.void, b: np.void) -> bool:
        return a["anchor"] // 16 == b["anchor"] // 16 and (agnostic or a["label"] == b["label"])

    peaks = [r for r in records
             if not any(alike(r, o) and near(r, o) and rank(o) < rank(r) for o in records)]
    return [max((box_iou(box(r), box(p)) or Fraction(0) for p in peaks
                 if alike(r, p) and not near(r, p)), default=Fraction(0)) for r in records]


@pytest.mark.parametrize("estimated", [False, True])
def test_adaptive(estimated: bool) -> None:
    """Liu et al.: the threshold is max(N_t, density of the box that stays)."""
    rng = np.random.default_rng(6)
    saved = 0
    for _ in range(600):
        records, limits, agnostic = random_set(rng)
        density = None
        if estimated:
            fine = [Fraction(math.ceil(d * UNIT), UNIT) for d in crowd(records, agnostic)]
        else:
            fine = [Fraction(int(v), UNIT) for v in rng.integers(0, UNIT + 1, len(records))]
            density = np.array([float(d) for d in fine])
        base = Fraction(limits.threshold, UNIT)
        stay = nms(records, [max(base, d) for d in fine], agnostic)
        got = suppress(records, limits, mode="adaptive", agnostic=agnostic, density=density)
        assert np.array_equal(got, records[stay[: limits.maximum]])
        saved += len(stay) - len(nms(records, [base] * len(records), agnostic))
    assert saved > 50


def test_adaptive_keeps_a_crowd_and_drops_duplicates() -> None:
    """Two people with IoU 0.6, four cells apart, each seen from three cells."""
    people = [(100 + 400 * i + 8 * k, 20 + 4 * i + k, 60000 - 5000 * i - 9000 * abs(k))
              for i in (0, 1) for k in (-1, 0, 1)]
    records = np.zeros(6, RECORD)
    for record, (x, cell, score) in zip(records, people):
        record["x1"], record["x2"], record["y2"] = x, x + 1600, 3000
        record["x"], record["score"] = cell, score
    limits = Limits(1000, round(0.45 * UNIT), 10)
    assert suppress(records, limits, mode="greedy")["x"].tolist() == [20]
    assert suppress(records, limits, mode="adaptive")["x"].tolist() == [20, 24]
