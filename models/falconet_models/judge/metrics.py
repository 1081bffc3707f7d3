"""Precision, recall, F1 and confusions of a detector, and what COCO says of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet_models.datasets import Dataset, Found, Sample
from falconet_models.judge.average_precision import evaluate

__all__ = ["CONFIDENCES", "ClassFigures", "Metrics", "iou_matrix", "match", "measure"]

Floats = NDArray[np.float64]
CONFIDENCES: Floats = np.linspace(0, 1, 501)
RECALLS: Floats = np.linspace(0, 1, 101)
_OVERLAP = 0.5


@dataclass(frozen=True)
class ClassFigures:
    """One class; precision, recall and F1 at the confidence of all. NaN without true boxes."""

    ap50: float
    ap50_95: float
    precision: float
    recall: float
    f1: float
    count: int


@dataclass(frozen=True)
class Metrics:
    """How good a detector is.

    Members
    -------
    map50, map50_95:
        Means over the classes that have objects; COCO's.
    confidence:
        That of the best mean F1; ``precision``, ``recall`` and ``f1`` are means there.
    curves:
        ``precision``, ``recall`` and ``f1`` [classes, 501] by :data:`CONFIDENCES`, at IoU 0.5; NaN
        where nothing is predicted, and for classes without objects.
    precision_recall:
        [classes, 101], precision by recall at IoU 0.5 as COCO interpolates it.
    confusion:
        int64 [classes + 1, classes + 1]; rows are true, columns predicted, the last is background.
    """

    labels: tuple[str, ...]
    images: int
    map50: float
    map50_95: float
    confidence: float
    precision: float
    recall: float
    f1: float
    classes: tuple[ClassFigures, ...]
    curves: dict[str, Floats]
    precision_recall: Floats
    confusion: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; null where there is nothing to measure."""
        return {
            **{k: _plain(getattr(self, k)) for k in (
                "images", "map50", "map50_95", "confidence", "precision", "recall", "f1")},
            "classes": {label: {k: _plain(v) for k, v in vars(c).items()}
                        for label, c in zip(self.labels, self.classes)},
            "confusion": self.confusion.tolist(),
        }


def _plain(value: float) -> float | int | None:
    return None if isinstance(value, float) and math.isnan(value) else value


def iou_matrix(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """IoU of boxes a [N, 4] with boxes b [M, 4]; 0 for empty ones."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    sides = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    both = sides.clip(min=0).prod(2)
    union = (a[:, 2:] - a[:, :2]).prod(1)[:, None] + (b[:, 2:] - b[:, :2]).prod(1) - both
    iou: Floats = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return iou


def match(iou: Floats, overlap: float = _OVERLAP) -> list[tuple[int, int]]:
    """Pairs of row and column, the largest IoU first, none used twice, all of ``overlap`` or
    more."""
    pairs, rows, columns = [], set(), set()
    for at in np.argsort(-iou, axis=None, kind="stable"):
        r, c = divmod(int(at), iou.shape[1])
        if iou[r, c] < overlap:
            break
        if r not in rows and c not in columns:
            pairs.append((r, c))
            rows.add(r)
            columns.add(c)
    return pairs


def _in_crowd(boxes: NDArray[Any], sample: Sample, kinds: NDArray[np.int64] | None) -> Any:
    """bool [N]: at least half of a box lies in an ignored object (of its class, if ``kinds``)."""
    crowd = sample.ignored
    if not crowd.any() or not len(boxes):
        return np.zeros(len(boxes), bool)
    other = sample.boxes[crowd]
    sides = np.minimum(boxes[:, None, 2:], other[:, 2:]) - np.maximum(boxes[:, None, :2],
                                                                      other[:, :2])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None]
    covered = sides.clip(min=0).prod(2) >= _OVERLAP * area
    if kinds is not None:
        covered &= kinds[:, None] == sample.classes[crowd]
    return covered.any(1)


def _confusion(samples: Sequence[Sample], found: Sequence[Found], count: int, confidence: float
               ) -> NDArray[np.int64]:
    table = np.zeros((count + 1, count + 1), np.int64)
    for sample, seen in zip(samples, found):
        sure = seen.scores >= confidence
        boxes, kinds = seen.boxes[sure], seen.classes[sure]
        real = ~sample.ignored
        truth, classes = sample.boxes[real], sample.classes[real]
        pairs = match(iou_matrix(truth, boxes))
        for t, p in pairs:
            table[classes[t], kinds[p]] += 1
        lost = np.delete(classes, [t for t, _ in pairs])
        np.add.at(table[:, count], lost, 1)
        extra = np.ones(len(boxes), bool)
        extra[[p for _, p in pairs]] = False
        extra &= ~_in_crowd(boxes, sample, None)
        np.add.at(table[count], kinds[extra], 1)
    return table


def _curves(samples: Sequence[Sample], found: Sequence[Found], count: int, totals: Floats
            ) -> dict[str, Floats]:
    """True and false positives by class and confidence: the surest box takes an object first."""
    right = np.zeros((count, len(CONFIDENCES)))
    shown = np.zeros_like(right)
    for sample, seen in zip(samples, found):
        order = np.argsort(-seen.scores, kind="stable")
        boxes, scores, kinds = seen.boxes[order], seen.scores[order], seen.classes[order]
        iou = iou_matrix(boxes, sample.boxes)
        taken = sample.ignored.copy()
        crowd = _in_crowd(boxes, sample, kinds)
        for i, kind in enumerate(kinds):
            free = np.where(~taken & (sample.classes == kind), iou[i], 0.0) if len(taken) else (
                np.zeros(1))
            best = int(free.argmax())
            until = int(np.searchsorted(CONFIDENCES, scores[i], side="right"))
            if free[best] >= _OVERLAP:
                taken[best] = True
                right[kind, :until] += 1
            elif crowd[i]:
                continue
            shown[kind, :until] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = right / shown, right / totals[:, None]
        f1 = 2 * right / (shown + totals[:, None])
    for values in (precision, recall, f1):
        values[totals == 0] = np.nan
    return {"precision": precision, "recall": recall, "f1": f1}


def _mean(values: Floats) -> float:
    """Of those that are numbers; NaN of none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def measure(dataset: Dataset, found: Sequence[Found],
            numbers: Sequence[int] | None = None) -> Metrics:
    """All figures; ``found[k]`` is of image ``numbers[k]`` (k itself if None)."""
    numbers = range(len(found)) if numbers is None else numbers
    samples = [dataset.load(n) for n in numbers]
    count = len(dataset.labels)
    totals = np.zeros(count)
    for s in samples:
        np.add.at(totals, s.classes[~s.ignored], 1)
    table = evaluate(dataset, found, numbers).eval["precision"][:, :, :, 0, -1]
    table = np.where(table < 0, np.nan, table)
    curves = _curves(samples, found, count, totals)
    mean_f1 = np.array([_mean(column) for column in curves["f1"].T])
    at = 0 if np.isnan(mean_f1).all() else int(np.nanargmax(mean_f1))
    confidence = float(CONFIDENCES[at])
    precision, recall, f1 = (curves[k][:, at] for k in ("precision", "recall", "f1"))
    classes = tuple(
        ClassFigures(_mean(table[0, :, i]), _mean(table[:, :, i].ravel()), float(precision[i]),
                     float(recall[i]), float(f1[i]), int(totals[i]))
        for i in range(count))
    return Metrics(
        tuple(dataset.labels), len(samples), _mean(table[0].ravel()), _mean(table.ravel()),
        confidence, _mean(precision), _mean(recall), _mean(f1), classes, curves, table[0].T,
        _confusion(samples, found, count, confidence))
