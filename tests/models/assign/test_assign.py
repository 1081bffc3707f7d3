"""Assignment: cases by hand, plain loops over anchors and objects, ignored objects."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from falconet.isa import FalconetError
from falconet_models.assign import IGNORED, NEGATIVE, Assignment, atss, by_iou, overlaps, simota

torch.set_num_threads(1)
SIZE, STRIDES = 64, (8, 16)


def iou_of(a: list[float], b: list[float]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def grid() -> tuple[Tensor, Tensor, list[int]]:
    """Points [A, 2] and strides [A] of two levels, and how many each has."""
    points, strides, counts = [], [], []
    for stride in STRIDES:
        n = SIZE // stride
        points += [((x + 0.5) * stride, (y + 0.5) * stride) for y in range(n) for x in range(n)]
        strides += [float(stride)] * n**2
        counts.append(n**2)
    return torch.tensor(points), torch.tensor(strides), counts


def anchors_of(points: Tensor, strides: Tensor, scale: float = 2.0) -> Tensor:
    half = scale * strides[:, None] / 2
    return torch.cat([points - half, points + half], 1)


def objects(seed: int, count: int = 6, largest: float = 36.0) -> tuple[Tensor, Tensor]:
    gen = torch.Generator().manual_seed(seed)
    size = 6 + (largest - 6) * torch.rand(count, 2, generator=gen)
    corner = (SIZE - size) * torch.rand(count, 2, generator=gen)
    return torch.cat([corner, corner + size], 1), torch.randint(0, 4, (count,), generator=gen)


def predictions(seed: int, anchors: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes, half of them near an object, and scores of 4 classes."""
    gen = torch.Generator().manual_seed(seed)
    boxes = anchors + 4 * torch.randn(anchors.shape, generator=gen)
    which = torch.randint(0, len(truth), (len(anchors),), generator=gen)
    close = truth[which] + 2 * torch.randn(anchors.shape, generator=gen)
    boxes = torch.where(torch.rand(len(anchors), 1, generator=gen) < 0.5, close, boxes)
    corner = torch.minimum(boxes[:, :2], boxes[:, 2:] - 1)
    return (torch.cat([corner, boxes[:, 2:]], 1),
            torch.rand(len(anchors), 4, generator=gen) * 0.98 + 0.01)


def test_overlaps_by_hand() -> None:
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 0, 0]])
    b = torch.tensor([[1.0, 1, 3, 3], [0, 0, 2, 1], [5, 5, 6, 6], [0, 0, 0, 0]])
    assert overlaps(a, b).tolist() == [pytest.approx([1 / 7, 1 / 2, 0, 0]), [0, 0, 0, 0]]


ROW = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [4, 0, 14, 10], [5, 0, 15, 10],
                    [20, 0, 30, 10], [26, 0, 36, 10]])
# of an object at 0..10: IoU 1, 2/3, 3/7, 1/3, 0, 0


def test_thresholds_by_hand() -> None:
    found = by_iou(ROW, torch.tensor([[0.0, 0, 10, 10]]))
    assert found.index.tolist() == [0, 0, IGNORED, NEGATIVE, NEGATIVE, NEGATIVE]
    assert found.iou.tolist() == pytest.approx([1, 2 / 3, 0, 0, 0, 0])


def test_every_object_gets_an_anchor_by_force() -> None:
    """The second is overlapped by the first's best alone, the third by none."""
    truth = torch.tensor([[0.0, 0, 10, 10], [18, 0, 24, 10], [50, 50, 60, 60]])
    assert by_iou(ROW, truth).index.tolist() == [0, 0, IGNORED, NEGATIVE, 1, NEGATIVE]
    assert by_iou(ROW, truth, force=False).index.tolist() == [
        0, 0, IGNORED, NEGATIVE, NEGATIVE, NEGATIVE]


def test_force_does_not_take_an_anchor_twice() -> None:
    """Both objects have the first anchor as their best; the better one keeps it."""
    truth = torch.tensor([[0.0, 0, 8, 10], [0, 0, 9, 10]])
    found = by_iou(ROW[[0, 2]], truth)
    assert found.index.tolist() == [1, 0]
    assert found.iou.tolist() == pytest.approx([9 / 10, 4 / 14])


def test_ignored_objects_take_along_what_would_be_negative() -> None:
    """Anchor 4 lies in the crowd by half, 5 by 0.4 less a bit; positives stay as they are."""
    truth = torch.tensor([[0.0, 0, 10, 10], [0, 0, 3, 10], [25, 0, 29.9, 40]])
    ignored = torch.tensor([False, True, True])
    plain = by_iou(ROW, truth[:1])
    found = by_iou(ROW, truth, ignored)
    assert plain.index.tolist() == [0, 0, IGNORED, NEGATIVE, NEGATIVE, NEGATIVE]
    assert found.index.tolist() == [0, 0, IGNORED, NEGATIVE, IGNORED, NEGATIVE]
    assert torch.equal(found.iou, plain.iou)


def atss_by_loops(anchors: Tensor, counts: list[int], truth: Tensor, nearest: int) -> list[int]:
    best = [(0.0, NEGATIVE)] * len(anchors)
    rows = anchors.tolist()
    middle = [((a[0] + a[2]) / 2, (a[1] + a[3]) / 2) for a in rows]
    for g, box in enumerate(truth.tolist()):
        centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        candidates, start = [], 0
        for count in counts:
            level = sorted(range(start, start + count), key=lambda i: math.dist(middle[i], centre))
            candidates += level[:nearest]
            start += count
        ious = [iou_of(rows[i], box) for i in candidates]
        threshold = statistics.mean(ious) + statistics.stdev(ious)
        for i, iou in zip(candidates, ious):
            x, y = middle[i]
            if iou >= threshold and box[0] < x < box[2] and box[1] < y < box[3]:
                best[i] = max(best[i], (iou, g), key=lambda pair: pair[0])
    return [g for _, g in best]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("nearest", [4, 9])
def test_atss_by_loops(seed: int, nearest: int) -> None:
    points, strides, counts = grid()
    anchors, (truth, _) = anchors_of(points, strides), objects(seed)
    found = atss(anchors, counts, truth, nearest=nearest)
    assert found.index.tolist() == atss_by_loops(anchors, counts, truth, nearest)
    assert found.positive.any() and not found.ignored.any()


@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_atss_takes_all_of_equal_candidates(count: int) -> None:
    """Their mean may be rounded up; an only candidate has no deviation."""
    anchors = torch.tensor([[10.0, 10, 21, 20]]).repeat(count, 1)
    for width in range(7, 30):
        found = atss(anchors, [count], torch.tensor([[9.5, 9.5, 9.5 + width, 22]]))
        assert found.positive.all()


def simota_by_loops(
    points: Tensor, strides: Tensor, predicted: Tensor, scores: Tensor, truth: Tensor,
    classes: Tensor,
) -> list[int]:
    best = [(math.inf, NEGATIVE)] * len(points)
    for g, box in enumerate(truth.tolist()):
        centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        costs, ious = {}, []
        for i, (x, y) in enumerate(points.tolist()):
            within = box[0] < x < box[2] and box[1] < y < box[3]
            reach = 2.5 * strides[i].item()
            near = abs(x - centre[0]) < reach and abs(y - centre[1]) < reach
            if not within and not near:
                continue
            iou = iou_of(predicted[i].tolist(), box)
            target = F.one_hot(classes[g], 4).float()
            costs[i] = (F.binary_cross_entropy(scores[i], target, reduction="sum").item()
                        - 3 * math.log(iou + 1e-8) + (0 if within and near else 1e5))
            ious.append(iou)
        k = max(1, int(sum(sorted(ious)[-10:])))
        for i in sorted(costs, key=costs.__getitem__)[:k]:
            best[i] = min(best[i], (costs[i], g))
    return [g for _, g in best]


@pytest.mark.parametrize("seed", range(8))
def test_simota_by_loops(seed: int) -> None:
    points, strides, _ = grid()
    truth, classes = objects(seed, largest=60.0)
    predicted, scores = predictions(seed, anchors_of(points, strides), truth)
    found = simota(points, strides, predicted, scores, truth, classes)
    assert found.index.tolist() == simota_by_loops(
        points, strides, predicted, scores, truth, classes)
    rows = found.positive.nonzero()[:, 0]
    assert len(rows) >= 3
    assert found.iou[rows].tolist() == pytest.approx(
        [iou_of(predicted[i].tolist(), truth[found.index[i]].tolist()) for i in rows], abs=1e-5)


def test_simota_gives_more_points_to_what_is_found_better() -> None:
    """k follows the IoUs: one point if no prediction fits, as many as fit otherwise."""
    points, strides, _ = grid()
    truth, classes = torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1])
    scores = torch.full((len(points), 4), 0.5)
    lost = simota(points, strides, torch.zeros(len(points), 4), scores, truth, classes)
    assert lost.positive.sum() == 1
    exact = truth.repeat(len(points), 1)
    assert simota(points, strides, exact, scores, truth, classes).positive.sum() == 10
    fit = torch.zeros(len(points), 4)
    fit[[18, 19, 26]] = exact[:3]
    found = simota(points, strides, fit, scores, truth, classes)
    assert found.positive.nonzero()[:, 0].tolist() == [18, 19, 26]


def test_simota_prefers_the_right_class() -> None:
    points, strides, _ = grid()
    truth, classes = torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([2])
    scores = torch.full((len(points), 4), 0.1)
    scores[19, 2] = 0.9
    found = simota(points, strides, torch.zeros(len(points), 4), scores, truth, classes)
    assert found.positive.nonzero()[:, 0].tolist() == [19]


def run(name: str, truth: Tensor, classes: Tensor, ignored: Tensor | None) -> Assignment:
    points, strides, counts = grid()
    anchors = anchors_of(points, strides)
    if name == "simota":
        predicted, scores = predictions(5, anchors, torch.tensor([[8.0, 8, 40, 40]]))
        return simota(points, strides, predicted, scores, truth, classes, ignored)
    return (by_iou(anchors, truth, ignored) if name == "by_iou" else
            atss(anchors, counts, truth, ignored))


@pytest.mark.parametrize("name", ["by_iou", "atss", "simota"])
@pytest.mark.parametrize("seed", range(4))
def test_ignored_objects_change_negatives_alone(name: str, seed: int) -> None:
    truth, classes = objects(seed)
    ignored = torch.tensor([True, False, False, True, False, False])
    kept = (~ignored).nonzero()[:, 0]
    without = run(name, truth[kept], classes[kept], None)
    found = run(name, truth, classes, ignored)
    assert torch.equal(found.positive, without.positive)
    assert torch.equal(found.index[found.positive], kept[without.index[found.positive]])
    assert torch.equal(found.iou, without.iou)
    new = found.ignored & ~without.ignored
    assert new.any() and without.negative[new].all()
    points, strides, _ = grid()
    cells = anchors_of(points, strides, 1.0 if name == "simota" else 2.0)
    for i in without.negative.nonzero()[:, 0].tolist():
        a = cells[i].tolist()
        covered = max(
            max(min(a[2], c[2]) - max(a[0], c[0]), 0) * max(min(a[3], c[3]) - max(a[1], c[1]), 0)
            / ((a[2] - a[0]) * (a[3] - a[1])) for c in truth[ignored].tolist())
        assert new[i].item() == (covered >= 0.4)


@pytest.mark.parametrize("name", ["by_iou", "atss", "simota"])
def test_without_objects_all_is_negative(name: str) -> None:
    found = run(name, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), None)
    assert found.negative.all() and (found.iou == 0).all()
    assert found.shares(torch.zeros(0, dtype=torch.int64), 4).sum() == 0
    crowd = run(name, torch.tensor([[0.0, 0, 64, 64]]), torch.tensor([0]), torch.tensor([True]))
    assert not crowd.positive.any() and crowd.ignored.any()


@pytest.mark.parametrize("name", ["by_iou", "atss", "simota"])
def test_objects_without_a_size_are_harmless(name: str) -> None:
    truth = torch.tensor([[20.0, 20, 20, 20], [8, 8, 40, 40]])
    found = run(name, truth, torch.tensor([0, 1]), None)
    assert (found.index == 1).any() and found.iou.isfinite().all()


@pytest.mark.parametrize("quality", [False, True])
def test_shares(quality: bool) -> None:
    found = Assignment(torch.tensor([1, NEGATIVE, IGNORED, 0]), torch.tensor([0.7, 0, 0, 0.5]))
    one, half = (0.7, 0.5) if quality else (1.0, 1.0)
    shares = found.shares(torch.tensor([2, 0]), 3, quality=quality)
    assert shares.tolist() == [pytest.approx(row) for row in (
        [one, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, half])]


def test_refusals() -> None:
    truth = torch.tensor([[0.0, 0, 10, 10]])
    with pytest.raises(FalconetError, match=r"negative 0\.6 and positive 0\.5"):
        by_iou(ROW, truth, negative=0.6)
    with pytest.raises(FalconetError, match=r"levels of \[4, 1\] anchors are not 6 anchors"):
        atss(ROW, [4, 1], truth)
