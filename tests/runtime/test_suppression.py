"""Suppression against the papers' pseudo-code in plain Python, with exact fractions.

Greedy: decisions are equal to exact rational arithmetic. The other modes round, so the float
algorithm follows the integers' decisions one by one, and each must be right within bounds, in units
of 2**-16:

* DIoU: the two quotients are rounded down, so a box whose ``IoU - R`` exceeds the threshold by less
  than 1 may stay;
* Soft-NMS: every decay adds at most ``ROUNDING`` to the error of a score; a choice may be wrong
  only between scores closer than their errors, a removal only that close to the least score.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from boxes import UNIT, above, box, box_iou, nms, place, random_set

from falconet.isa import FalconetError
from falconet.runtime.detections import RECORD, Limits, Records, gaussian_weights
from falconet.runtime.suppression import MODES, suppress

pytestmark = pytest.mark.timeout(120)

SETS = {"greedy": 4000, "diou": 2500, "soft_linear": 2500, "soft_gaussian": 2500}
SIGMAS = (0.1, 0.5, 1.0)


def test_greedy_is_exact() -> None:
    rng = np.random.default_rng(1)
    suppressed = 0
    for _ in range(SETS["greedy"]):
        records, limits, agnostic = random_set(rng)
        t = [Fraction(limits.threshold, UNIT)] * len(records)
        stay = nms(records, t, agnostic)
        suppressed += len(records) - len(stay)
        got = suppress(records, limits, mode="greedy", agnostic=agnostic)
        assert np.array_equal(got, records[stay[: limits.maximum]]), (records, limits, agnostic)
    assert suppressed > SETS["greedy"]


# A treatment gives, for a better box and a worse one: the factor of the score, and whether the
# worse one is gone ("no", "maybe", "yes").
Treatment = Callable[[list[int], list[int], Fraction], tuple[float, str]]


def diou(a: list[int], b: list[int], t: Fraction) -> tuple[float, str]:
    """Zheng et al., 2020: gone if IoU - R > t, R = squared centre distance / squared diagonal."""
    iou = box_iou(a, b)
    if iou is None:
        return 1.0, "no"
    d2 = (a[0] + a[2] - b[0] - b[2]) ** 2 + (a[1] + a[3] - b[1] - b[3]) ** 2
    c2 = sum((max(a[i + 2], b[i + 2]) - min(a[i], b[i])) ** 2 for i in (0, 1))
    margin = iou - Fraction(d2, 4 * c2) - t
    return 1.0, "no" if margin <= 0 else "maybe" if margin <= Fraction(1, UNIT) else "yes"


def linear(a: list[int], b: list[int], t: Fraction) -> tuple[float, str]:
    """Bodla et al., 2017: s * (1 - IoU) if IoU >= N_t (here: if IoU > N_t)."""
    iou = box_iou(a, b)
    return (float(1 - iou), "decayed") if above(iou, t) and iou is not None else (1.0, "no")


def gaussian(sigma: float) -> Treatment:
    """Bodla et al., 2017: s * exp(-IoU**2 / sigma)."""
    def treat(a: list[int], b: list[int], t: Fraction) -> tuple[float, str]:
        iou = box_iou(a, b)
        return (math.exp(-float(iou) ** 2 / sigma), "decayed") if iou else (1.0, "no")
    return treat


def gaussian_rounding(sigma: float) -> float:
    """Score 0.5; table 1 and its interpolation 0.5; curvature between entries 2 / (8 sigma);
    an IoU that is up to 1 too low, times the steepest slope."""
    return 2 + 0.25 / sigma + math.sqrt(2 / (math.e * sigma))


LINEAR_ROUNDING = 1.5  # score 0.5, IoU 1


def follow(records: Records, kept: Records, limits: Limits, agnostic: bool, treat: Treatment,
           rounding: float) -> int:
    """Check every decision; how many boxes went."""
    n, t = len(records), Fraction(limits.threshold, UNIT)
    index = {place(r): i for i, r in enumerate(records)}
    score = [float(r["score"]) for r in records]
    error, maybe, left, went = [0.0] * n, [False] * n, set(range(n)), 0
    assert len(kept) <= limits.maximum and (np.diff(kept["score"].astype(int)) <= 0).all()
    for record in kept:
        k = index[place(record)]
        assert k in left and box(record) == box(records[k])
        assert abs(int(record["score"]) - score[k]) <= error[k] + 1e-6
        left.remove(k)
        for i in left:
            if not maybe[i]:
                assert score[k] + error[k] >= score[i] - error[i] - 1e-6
                if score[k] == score[i] and error[k] == error[i] == 0:
                    assert place(record) < place(records[i])
        for i in sorted(left):
            if not agnostic and records[i]["label"] != record["label"]:
                continue
            factor, fate = treat(box(record), box(records[i]), t)
            if fate == "decayed":
                score[i], error[i] = score[i] * factor, error[i] + rounding
                fate = ("yes" if score[i] + error[i] < limits.score_min - 1e-6 else
                        "maybe" if score[i] - error[i] < limits.score_min + 1e-6 else "no")
            maybe[i] |= fate == "maybe"
            if fate == "yes":
                left.remove(i)
                went += 1
    if len(kept) < limits.maximum:
        assert all(maybe[i] for i in left)
    return went


@pytest.mark.parametrize("mode", ["diou", "soft_linear", "soft_gaussian"])
def test_modes_that_round(mode: str) -> None:
    rng = np.random.default_rng(len(mode))
    went = kept = 0
    for _ in range(SETS[mode]):
        records, limits, agnostic = random_set(rng)
        sigma = float(rng.choice(SIGMAS))
        treat, rounding = {
            "diou": (diou, 0.0), "soft_linear": (linear, LINEAR_ROUNDING),
            "soft_gaussian": (gaussian(sigma), gaussian_rounding(sigma)),
        }[mode]
        limits = Limits(limits.score_min, limits.threshold, limits.maximum,
                        gaussian_weights(sigma) if mode == "soft_gaussian" else None)
        got = suppress(records, limits, mode=mode, agnostic=agnostic)
        went += follow(records, got, limits, agnostic, treat, rounding)
        kept += len(got)
    assert went > SETS[mode] / 2 and kept > 2 * SETS[mode]


def to_the_bit(records: Records, limits: Limits, mode: str, agnostic: bool) -> list[list[int]]:
    """docs/arithmetic.md in scalars: [score, x] of the records that stay."""
    left, stay = [[int(r["score"]), r] for r in records], []
    while left and len(stay) < limits.maximum:
        best = min(left, key=lambda e: (-e[0], place(e[1])))
        left = [e for e in left if e is not best]
        stay.append([best[0], int(best[1]["x"])])
        for e in list(left):
            a, b, s = box(best[1]), box(e[1]), e[0]
            exact = box_iou(a, b)
            if exact is None or (not agnostic and best[1]["label"] != e[1]["label"]):
                continue
            iou, over = math.floor(exact * UNIT), exact > Fraction(limits.threshold, UNIT)
            gone = False
            if mode == "soft_linear" and over:
                e[0] = (s * (UNIT - iou) + 2**15) >> 16
                gone = e[0] < limits.score_min
            elif mode == "soft_gaussian" and exact > 0 and limits.weights is not None:
                i, f = divmod(min(iou, 65535), 256)
                g, d = (int(v) for v in limits.weights[i])
                e[0] = (s * (g - ((d * f + 128) >> 8)) + 2**15) >> 16
                gone = e[0] < limits.score_min
            elif mode == "diou" and over:
                d2 = sum((a[i] + a[i + 2] - b[i] - b[i + 2]) ** 2 for i in (0, 1))
                c2 = 4 * sum((max(a[i + 2], b[i + 2]) - min(a[i], b[i])) ** 2 for i in (0, 1))
                gone = iou - UNIT * d2 // c2 > limits.threshold
            if gone:
                left = [other for other in left if other is not e]
    return stay


@pytest.mark.parametrize("mode", ["diou", "soft_linear", "soft_gaussian"])
def test_modes_to_the_bit(mode: str) -> None:
    """A margin of DIoU and a score beside the least one are aimed at."""
    rng = np.random.default_rng(7)
    for _ in range(1000):
        records, limits, agnostic = random_set(rng)
        weights = gaussian_weights(float(rng.choice(SIGMAS)))
        limits = Limits(limits.score_min, limits.threshold, limits.maximum, weights)
        want = to_the_bit(records, limits, mode, agnostic)
        if mode == "diou" and len(records) > 1:
            a, b = box(records[0]), box(records[1])
            d2 = sum((a[i] + a[i + 2] - b[i] - b[i + 2]) ** 2 for i in (0, 1))
            c2 = 4 * sum((max(a[i + 2], b[i + 2]) - min(a[i], b[i])) ** 2 for i in (0, 1))
            margin = math.floor((box_iou(a, b) or 0) * UNIT) - UNIT * d2 // max(c2, 1)
            limits = Limits(limits.score_min, max(0, margin - int(rng.integers(2))), 100)
        elif want and mode != "diou":
            score_min = max(0, want[-1][0] + int(rng.integers(2)))
            limits = Limits(score_min, limits.threshold, limits.maximum, weights)
            records = records[records["score"] >= score_min]
        want = to_the_bit(records, limits, mode, agnostic)
        got = suppress(records, limits, mode=mode, agnostic=agnostic)
        assert [[int(r["score"]), int(r["x"])] for r in got] == want


def test_bounds_are_tight() -> None:
    """Scores that are 8 units too high are noticed."""
    rng = np.random.default_rng(4)
    caught = 0
    for _ in range(200):
        records, limits, agnostic = random_set(rng)
        got = suppress(records, limits, mode="soft_linear", agnostic=agnostic)
        got["score"] = np.minimum(got["score"].astype(int) + 8, 65535)
        try:
            follow(records, got, limits, agnostic, linear, LINEAR_ROUNDING)
        except AssertionError:
            caught += 1
    assert caught > 150


@pytest.mark.parametrize("n", [1, 63, 64, 65, 512])
@pytest.mark.parametrize("mode", MODES)
def test_all_suppressed_and_none(mode: str, n: int) -> None:
    records = np.zeros(n, RECORD)
    records["x2"] = records["y2"] = 100
    records["score"], records["x"] = 60000, np.arange(n)[::-1] * 2  # cells that are not adjacent
    limits = Limits(30000, 32768, 1000, gaussian_weights(0.1))
    if mode != "adaptive" or n == 1:  # identical peaks: a crowd
        assert suppress(records, limits, mode=mode)["x"].tolist() == [0]
    records["x1"], records["x2"] = 50 * np.arange(n), 50 * np.arange(n) + 50
    got = suppress(records, limits, mode=mode)
    assert np.array_equal(got, records[::-1])


def test_refusals() -> None:
    records, limits = np.zeros(3, RECORD), Limits(0, 0, 10)
    with pytest.raises(FalconetError, match=r"mode 'hard' is unknown; use one of: greedy, .*soft"):
        suppress(records, limits, mode="hard")
    with pytest.raises(FalconetError, match="weights are missing"):
        suppress(records, limits, mode="soft_gaussian")
    with pytest.raises(FalconetError, match=r"variance .* give \[3, 4\] numbers"):
        suppress(records, limits, mode="softer", variance=np.ones(3))
    with pytest.raises(FalconetError, match="variance"):
        suppress(records, limits, mode="softer", variance=np.zeros((3, 4)))
    with pytest.raises(FalconetError, match=r"density .* give \[3\] numbers from 0 to 1"):
        suppress(records, limits, mode="adaptive", density=np.full(3, 1.5))
