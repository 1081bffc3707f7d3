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

from falconet.isa import FalconetError
from falconet.runtime.detections import RECORD, Limits, Records, gaussian_weights
from falconet.runtime.suppression import MODES, VOTE_SIGMA, suppress

pytestmark = pytest.mark.timeout(120)

UNIT = 65536
SETS = {"greedy": 4000, "diou": 2500, "soft_linear": 2500, "soft_gaussian": 2500}
SIGMAS = (0.1, 0.5, 1.0)


def random_boxes(rng: np.random.Generator, n: int) -> np.ndarray:
    """int [n, 4] of one of eight kinds."""
    kind = rng.integers(8)
    if kind == 0:  # zero area: points and lines among boxes
        corner, size = rng.integers(-20, 20, (n, 2)), rng.integers(0, 3, (n, 2)) * 8
    elif kind == 1:  # the whole range: far outside of any image
        edges = np.sort(rng.integers(-32768, 32768, (n, 2, 2)), axis=1)
        return edges.reshape(n, 4)
    elif kind == 2:  # identical ones
        corner, size = rng.integers(0, 2, (n, 2)) * 40, np.full((n, 2), 100)
    elif kind == 3:  # none overlaps
        corner, size = np.arange(n)[:, None] * [100, 50], rng.integers(1, 101, (n, 2))
    elif kind == 4:  # all overlap nearly wholly
        corner, size = rng.integers(0, 3, (n, 2)), rng.integers(997, 1000, (n, 2))
    elif kind == 5:  # IoUs of exactly 1/4, 1/2 and 3/4
        corner, size = np.zeros((n, 2), int), 64 * np.stack([rng.integers(1, 5, n),
                                                              np.full(n, 3)], axis=1)
    elif kind == 6:  # the largest there are
        return np.clip(np.array([-32768, -32768, 32767, 32767]) + rng.integers(-9, 10, (n, 4)),
                       -32768, 32767)
    else:
        corner, size = rng.integers(0, 400, (n, 2)), rng.integers(1, 500, (n, 2))
    return np.hstack([corner, corner + size])


def random_set(rng: np.random.Generator) -> tuple[Records, Limits, bool]:
    n = int(rng.integers(0, 14))
    records = np.zeros(n, RECORD)
    for name, column in zip(("x1", "y1", "x2", "y2"), random_boxes(rng, n).T):
        records[name] = column
    score_min = int(rng.choice([0, 1, 6554, 32768]))
    few = rng.integers(max(score_min, 1), UNIT, 3)  # ties
    scores = rng.choice(few, n) if rng.integers(2) else rng.integers(score_min, UNIT, n)
    records["score"] = scores
    # distinct (level, y, x, anchor), in an order that is not that of the array
    records["anchor"] = rng.integers(0, 2, n) + 16 * rng.integers(0, 3, n)
    records["y"], records["x"] = rng.integers(0, 3, n), rng.permutation(n)
    records["label"] = rng.integers(0, rng.integers(1, 4), n)
    threshold = int(rng.choice([0, UNIT // 4, 29491, UNIT // 2, 3 * UNIT // 4, UNIT]))
    maximum = int(rng.choice([1, 5, 100]))
    limits = Limits(score_min, threshold, maximum)
    return records, limits, bool(rng.integers(2))


def box(record: np.void) -> list[int]:
    return [int(record[k]) for k in ("x1", "y1", "x2", "y2")]


def box_iou(a: list[int], b: list[int]) -> Fraction | None:
    """torchvision.ops.box_iou on exact numbers; None where it gives nan."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    inter = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return Fraction(inter, union) if union else None


def above(iou: Fraction | None, t: Fraction) -> bool:
    return iou is not None and iou > t


def place(record: np.void) -> tuple[int, ...]:
    level, anchor = divmod(int(record["anchor"]), 16)
    return level, int(record["y"]), int(record["x"]), anchor, int(record["label"])


def rank(record: np.void) -> tuple[int, tuple[int, ...]]:
    return -int(record["score"]), place(record)


def nms(records: Records, t: list[Fraction], agnostic: bool) -> list[int]:
    """torchvision.ops.nms, class by class (batched_nms); ``t`` by the box that stays."""
    order = sorted(range(len(records)), key=lambda i: rank(records[i]))
    gone = set()
    for at, i in enumerate(order):
        if i in gone:
            continue
        for j in order[at + 1 :]:
            if agnostic or records[i]["label"] == records[j]["label"]:
                if above(box_iou(box(records[i]), box(records[j])), t[i]):
                    gone.add(j)
    return [i for i in order if i not in gone]


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
