"""Figures of a detector against pycocotools, brute force, and cases counted by hand."""

from __future__ import annotations

import contextlib
import io
import json
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from falconet_models.datasets import Found, Sample
from falconet_models.judge.average_precision import mean_ap
from falconet_models.judge.metrics import CONFIDENCES, iou_matrix, match, measure

pytestmark = pytest.mark.timeout(60)
LABELS = ("ant", "bee", "cow", "dog")


class Given:
    """A data set of samples in memory."""

    def __init__(self, samples, labels=LABELS):
        self.samples, self.labels = samples, labels

    def __len__(self):
        return len(self.samples)

    def load(self, i):
        return self.samples[i]


def sample(boxes, classes, ignored=None, size=100):
    n = len(classes)
    return Sample(np.zeros((size, size, 3), np.uint8),
                  np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64),
                  np.zeros(n, bool) if ignored is None else np.array(ignored, bool), "x.png")


def found(boxes, scores, classes):
    return Found(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
                 np.array(classes, np.int64))


def random_case(seed, images=25, crowds=True):
    """Objects, and findings that are near them, of the wrong class, or nowhere."""
    rng = np.random.default_rng(seed)
    samples, seen = [], []
    for _ in range(images):
        n = int(rng.integers(0, 6))
        corner = rng.uniform(0, 60, (n, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(8, 40, (n, 2))], 1)
        kinds = rng.integers(0, 3, n)  # there is no dog
        samples.append(sample(boxes, kinds, rng.random(n) < 0.15 * crowds))
        near = boxes + rng.normal(0, 3, boxes.shape)
        extra = rng.uniform(0, 60, (3, 2))
        extra = np.concatenate([extra, extra + rng.uniform(5, 30, (3, 2))], 1)
        every = np.concatenate([near, near + 1.5, extra]).astype(np.float32)
        classes = np.concatenate([kinds, np.where(rng.random(n) < 0.3, 3, kinds),
                                  rng.integers(0, 4, 3)])
        scores = np.round(rng.random(len(every)), 1).astype(np.float32)  # with ties
        keep = rng.random(len(every)) < 0.8
        seen.append(found(every[keep], scores[keep], classes[keep]))
    return Given(samples), seen


def by_pycocotools(data, seen):
    images, truth, results = [], [], []
    for i, (s, f) in enumerate(zip(data.samples, seen)):
        images.append({"id": i, "width": 100, "height": 100})
        for b, c, g in zip(s.boxes.astype(float), s.classes, s.ignored):
            truth.append({"id": len(truth) + 1, "image_id": i, "category_id": int(c),
                          "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]],
                          "area": (b[2] - b[0]) * (b[3] - b[1]), "iscrowd": int(g)})
        for b, c, p in zip(f.boxes.astype(float), f.classes, f.scores):
            results.append({"image_id": i, "category_id": int(c), "score": float(p),
                            "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]]})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": images, "annotations": truth,
                        "categories": [{"id": i, "name": n} for i, n in enumerate(data.labels)]}
        coco.createIndex()
        e = COCOeval(coco, coco.loadRes(results), "bbox")
        e.evaluate()
        e.accumulate()
        e.summarize()
    return e.stats[1], e.stats[0]


@pytest.mark.parametrize("seed", range(6))
def test_means_are_those_of_pycocotools(seed):
    data, seen = random_case(seed)
    expected = by_pycocotools(data, seen)
    assert mean_ap(data, seen) == pytest.approx(expected, abs=1e-9)
    m = measure(data, seen)
    assert (m.map50, m.map50_95) == pytest.approx(expected, abs=1e-9)
    assert 0.05 < m.map50_95 < m.map50 < 1
    assert m.classes[3].count == 0 and math.isnan(m.classes[3].ap50)


@pytest.mark.parametrize("confidence", [0.1, 0.5, 0.9])
def test_curves_are_counted(confidence):
    data, seen = random_case(11, crowds=False)
    curves = measure(data, seen).curves
    at = int(np.argmin(np.abs(CONFIDENCES - confidence)))
    for kind in range(3):
        right = shown = total = 0
        for s, f in zip(data.samples, seen):
            truth = s.boxes[s.classes == kind]
            total += len(truth)
            sure = np.flatnonzero((f.classes == kind) & (f.scores >= CONFIDENCES[at]))
            free = set(range(len(truth)))
            for i in sorted(sure, key=lambda k: -f.scores[k]):
                shown += 1
                ious = {j: iou_matrix(f.boxes[i : i + 1], truth[j : j + 1])[0, 0] for j in free}
                best = max(ious, key=ious.get, default=None)
                if best is not None and ious[best] >= 0.5:
                    free.remove(best)
                    right += 1
        assert curves["recall"][kind, at] == pytest.approx(right / total)
        if shown:
            assert curves["precision"][kind, at] == pytest.approx(right / shown)
        assert curves["f1"][kind, at] == pytest.approx(2 * right / (shown + total))
    assert np.isnan(curves["recall"][3]).all()


def test_confusions_by_hand():
    truth = sample([[0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 80, 80], [0, 60, 30, 90]],
                   [0, 1, 2, 3], [False, False, False, True])
    seen = found([[0, 0, 10, 10], [21, 20, 41, 40], [5, 65, 25, 85], [85, 0, 95, 10]],
                 [0.9, 0.8, 0.9, 0.7], [0, 2, 1, 2])
    m = measure(Given([truth]), [seen])
    expected = np.zeros((5, 5), int)
    expected[0, 0] = 1  # right
    expected[1, 2] = 1  # a bee that was called cow
    expected[2, 4] = 1  # a cow missed
    if m.confidence <= 0.7:
        expected[4, 2] = 1  # a cow where there is nothing; what lies in the crowd does not count
    assert m.confusion.tolist() == expected.tolist()
    assert m.classes[0].f1 == 1 and m.classes[2].recall == 0


def test_the_best_pairs_are_matched_first():
    iou = np.array([[0.9, 0.8], [0.85, 0.1], [0.5, 0.49]])
    assert match(iou) == [(0, 0)]
    assert match(iou, 0.1) == [(0, 0), (2, 1)]
    assert match(np.zeros((0, 3))) == []


def test_perfect_and_empty():
    data = Given([sample([[0, 0, 9, 9], [30, 30, 60, 50]], [0, 2])])
    perfect = measure(data, [found([[0, 0, 9, 9], [30, 30, 60, 50]], [0.9, 0.8], [0, 2])])
    assert (perfect.map50, perfect.map50_95, perfect.f1) == pytest.approx((1, 1, 1))
    nothing = measure(data, [found([], [], [])])
    assert (nothing.map50, nothing.recall) == (0, 0)
    said = json.loads(json.dumps(nothing.to_json(), allow_nan=False))
    assert said["classes"]["bee"]["ap50"] is None and said["map50"] == 0
    empty = measure(Given([sample([], [])]), [found([], [], [])])
    assert math.isnan(empty.map50)


def test_numbers_choose_images():
    data, seen = random_case(3)
    chosen = [7, 2, 20]
    part = measure(data, [seen[i] for i in chosen], chosen)
    alone = measure(Given([data.samples[i] for i in chosen]), [seen[i] for i in chosen])
    assert part.to_json() == alone.to_json()
