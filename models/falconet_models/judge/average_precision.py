"""Average precision as COCO defines it, by faster-coco-eval."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from falconet_models.datasets import Dataset, Found

__all__ = ["evaluate", "mean_ap"]


def evaluate(dataset: Dataset, found: Sequence[Found],
             numbers: Sequence[int] | None = None) -> Any:
    """COCO's evaluation, accumulated; ``found[k]`` is of image ``numbers[k]`` (k itself if None).

    Ignored objects are crowds: what lies in one counts neither way.
    """
    numbers = range(len(found)) if numbers is None else numbers
    images, results = [], []
    truth: list[dict[str, Any]] = []
    for number, what in zip(numbers, found, strict=True):
        sample = dataset.load(number)
        height, width = sample.image.shape[:2]
        images.append({"id": number, "width": width, "height": height, "file_name": sample.name})
        for box, kind, ignored in zip(sample.boxes, sample.classes, sample.ignored):
            x1, y1, x2, y2 = (float(v) for v in box)
            truth.append({
                "id": len(truth) + 1, "image_id": number, "category_id": int(kind) + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1),
                "iscrowd": int(ignored)})
        corners = what.boxes.astype(np.float64)
        sizes = corners[:, 2:] - corners[:, :2]
        results += [
            {"image_id": number, "category_id": int(kind) + 1, "score": float(score),
             "bbox": [*corner[:2].tolist(), *size.tolist()]}
            for corner, size, score, kind in zip(corners, sizes, what.scores, what.classes)]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(dataset.labels)]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO({"images": images, "annotations": truth, "categories": categories})
        ours = coco.loadRes(results) if results else COCO(
            {"images": images, "annotations": [], "categories": categories})
        evaluation = COCOeval_faster(coco, ours, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def mean_ap(dataset: Dataset, found: Sequence[Found],
            numbers: Sequence[int] | None = None) -> tuple[float, float]:
    """mAP@0.5 and mAP@0.5:0.95 over the classes that have objects; NaN if none has."""
    precision = evaluate(dataset, found, numbers).eval["precision"][:, :, :, 0, -1]
    seen = precision > -1
    if not seen.any():
        return float("nan"), float("nan")
    first = precision[0]
    return float(first[first > -1].mean()), float(precision[seen].mean())
