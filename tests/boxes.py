"""Random and adversarial sets of boxes, and greedy suppression of them in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from falconet.runtime.detections import RECORD, Limits, Records

UNIT = 65536


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
