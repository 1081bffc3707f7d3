"""Which prediction learns which object: positive, negative and ignored samples of one image.

Boxes are float tensors [N, 4] of x1, y1, x2, y2 in pixels: A anchors (or predictions), G objects.
``ignored`` (bool [G]) marks objects that teach nothing (crowds, difficult ones): none is ever
assigned, and what would be negative but lies in one is ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from falconet.isa import FalconetError

__all__ = ["IGNORED", "NEGATIVE", "Assignment", "atss", "by_iou", "overlaps", "simota"]

NEGATIVE, IGNORED = -1, -2
INSIDE = 0.4
"""Share of an anchor (for points: of their cell) that an ignored object covers to take it along."""


@dataclass(frozen=True)
class Assignment:
    """What every one of A anchors learns.

    Members
    -------
    index:
        int64 [A], the object, or NEGATIVE, or IGNORED.
    iou:
        [A], with that object, of the anchor (:func:`simota`: of the prediction); 0 without one.
    """

    index: Tensor
    iou: Tensor

    @property
    def positive(self) -> Tensor:
        return self.index >= 0

    @property
    def negative(self) -> Tensor:
        return self.index == NEGATIVE

    @property
    def ignored(self) -> Tensor:
        return self.index == IGNORED

    def shares(self, classes: Tensor, count: int, *, quality: bool = False) -> Tensor:
        """Targets [A, count] from the objects' ``classes`` (int64 [G]); zeros but for positives.

        With ``quality`` the target of a class is the IoU instead of 1 (as in YOLOX).
        """
        shares = torch.zeros(len(self.index), count, device=self.index.device)
        rows = self.positive
        shares[rows, classes[self.index[rows]]] = self.iou[rows].float() if quality else 1.0
        return shares


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """IoU of every box of a [A, 4] with every box of b [G, 4]: [A, G]; 0 for empty boxes."""
    both = _intersection(a, b)
    union = _area(a)[:, None] + _area(b) - both
    return torch.where(union > 0, both / union, 0.0)


def _area(boxes: Tensor) -> Tensor:
    width, height = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).unbind(1)
    return width * height


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    size = (torch.minimum(a[:, None, 2:], b[:, 2:])
            - torch.maximum(a[:, None, :2], b[:, :2])).clamp(min=0)
    return size[..., 0] * size[..., 1]


def _within(points: Tensor, boxes: Tensor) -> Tensor:
    """[A, G]: is a point [A, 2] inside a box, not on its edge."""
    return ((points[:, None] > boxes[:, :2]) & (points[:, None] < boxes[:, 2:])).all(2)


def _split(truth: Tensor, ignored: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of the objects to learn, these, and the ignored ones."""
    if ignored is None:
        ignored = torch.zeros(len(truth), dtype=torch.bool, device=truth.device)
    return (~ignored).nonzero()[:, 0], truth[~ignored], truth[ignored]


def _choose(value: Tensor) -> Tensor:
    """int64 [A]: the column of each row's largest value [A, G]; NEGATIVE where none is finite."""
    value, column = F.pad(value, (1, 0), value=-torch.inf).max(1)
    return torch.where(value.isfinite(), column - 1, NEGATIVE)


def _settle(
    index: Tensor, iou: Tensor, numbers: Tensor, anchors: Tensor, crowd: Tensor, inside: float,
) -> Assignment:
    """From columns of ``iou`` to objects; what is negative and in an ignored object is ignored."""
    if len(crowd):
        both = _intersection(anchors, crowd)
        covered = (both > 0) & (both >= inside * _area(anchors)[:, None])
        index = torch.where((index == NEGATIVE) & covered.any(1), IGNORED, index)
    rows = (index >= 0).nonzero()[:, 0]
    quality = iou.new_zeros(len(index))
    quality[rows] = iou[rows, index[rows]]
    index = index.clone()
    index[rows] = numbers[index[rows]]
    return Assignment(index, quality)


@torch.no_grad()
def by_iou(
    anchors: Tensor, truth: Tensor, ignored: Tensor | None = None, *, positive: float = 0.5,
    negative: float = 0.4, force: bool = True, inside: float = INSIDE,
) -> Assignment:
    """By thresholds: the object of the largest IoU from ``positive`` up, none below ``negative``.

    Between the two an anchor is ignored (Lin et al., RetinaNet, arXiv 1708.02002, section 4). With
    ``force`` every object that any anchor overlaps gets one, those of the largest IoU first, no
    anchor twice (Liu et al., SSD, arXiv 1512.02325, section 2.2).

    Raises
    ------
    FalconetError
        if ``negative`` is above ``positive``.
    """
    if not 0 < negative <= positive <= 1:
        raise FalconetError(f"thresholds negative {negative:g} and positive {positive:g} are not "
                            "in order; give 0 < negative <= positive <= 1")
    numbers, boxes, crowd = _split(truth, ignored)
    iou = overlaps(anchors, boxes)
    largest = F.pad(iou, (1, 0)).amax(1)
    index = torch.where(largest >= negative, IGNORED, NEGATIVE)
    index = torch.where((largest >= positive) & (largest > 0), _choose(iou), index)
    left = iou.clone()
    for _ in range(len(boxes) if force and len(anchors) else 0):
        row, column = divmod(int(left.argmax()), len(boxes))
        if left[row, column] <= 0:
            break
        index[row] = column
        left[row], left[:, column] = 0, 0
    return _settle(index, iou, numbers, anchors, crowd, inside)


@torch.no_grad()
def atss(
    anchors: Tensor, counts: Sequence[int], truth: Tensor, ignored: Tensor | None = None, *,
    nearest: int = 9, inside: float = INSIDE,
) -> Assignment:
    """Adaptive selection (Zhang et al., ATSS, arXiv 1912.02424, algorithm 1).

    An object's candidates are the ``nearest`` anchors of each level by centre; positive are those
    whose IoU is at least the mean and the standard deviation of the candidates' and whose centre is
    in the object. An anchor of several objects goes to that of the largest IoU. The deviation is
    that of a sample (n - 1), as in the authors' code.

    Parameters
    ----------
    counts:
        Anchors of each level; they follow one another in ``anchors``.

    Raises
    ------
    FalconetError
        if the counts do not add up to A.
    """
    if sum(counts) != len(anchors):
        raise FalconetError(f"levels of {list(counts)} anchors are not {len(anchors)} anchors; "
                            "give the count of each level")
    numbers, boxes, crowd = _split(truth, ignored)
    iou = overlaps(anchors, boxes)
    centres, middles = (anchors[:, :2] + anchors[:, 2:]) / 2, (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = (centres[:, None] - middles).square().sum(2)
    candidate = torch.zeros_like(iou, dtype=torch.bool)
    for part, near in zip(*(torch.split(x, list(counts)) for x in (candidate, distance))):
        part.scatter_(0, near.topk(min(nearest, len(near)), 0, largest=False).indices, True)
    n = candidate.sum(0)
    mean = (iou * candidate).sum(0) / n
    deviation = ((iou - mean).square() * candidate).sum(0).div((n - 1).clamp(min=1)).sqrt()
    threshold = mean + deviation - 1e-6  # equal IoUs are at their mean, but for rounding
    positive = candidate & (iou >= threshold) & _within(centres, boxes)
    index = _choose(iou.masked_fill(~positive, -torch.inf))
    return _settle(index, iou, numbers, anchors, crowd, inside)


@torch.no_grad()
def simota(
    centres: Tensor, strides: Tensor, predicted: Tensor, scores: Tensor, truth: Tensor,
    classes: Tensor, ignored: Tensor | None = None, *, radius: float = 2.5, top: int = 10,
    weight: float = 3.0, inside: float = INSIDE,
) -> Assignment:
    """Simplified optimal transport (Ge et al., YOLOX, arXiv 2107.08430, section 2.1, SimOTA).

    A point may learn an object that it lies in or whose centre is within ``radius`` strides on both
    axes; points that are not both cost 100,000 more. The cost is the binary cross entropy of all
    classes and ``weight`` times -ln IoU. An object takes its k cheapest points, k the sum of the
    ``top`` largest IoUs among its points, 1 at least; of several objects that take a point the
    cheapest has it. (The authors' code also lets an object take points of others, at that price.)

    Parameters
    ----------
    centres, strides:
        Points [A, 2] in pixels and strides [A] of their levels.
    predicted:
        Boxes [A, 4] as the network has them now.
    scores:
        Probabilities [A, C], those of objectness included; YOLOX takes the root of the product.
    classes:
        int64 [G].
    """
    numbers, boxes, crowd = _split(truth, ignored)
    iou = overlaps(predicted, boxes)
    within = _within(centres, boxes)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = ((centres[:, None] - middles).abs() < radius * strides[:, None, None]).all(2)
    candidate = within | near
    yes, no = scores.log().clamp(min=-100), (1 - scores).log().clamp(min=-100)
    entropy = -no.sum(1, keepdim=True) - (yes - no)[:, classes[numbers]]
    cost = entropy - weight * (iou + 1e-8).log() + 1e5 * ~(within & near)
    cost = cost.masked_fill(~candidate, torch.inf)
    top = min(top, len(centres))
    k = (iou * candidate).topk(top, 0).values.sum(0).int().clamp(min=1)
    cheapest = cost.topk(top, 0, largest=False).indices
    taken = torch.zeros_like(candidate).scatter_(
        0, cheapest, torch.arange(top, device=k.device)[:, None] < k)
    index = _choose(-cost.masked_fill(~taken, torch.inf))
    half = strides[:, None] / 2
    cells = torch.cat([centres - half, centres + half], 1)
    return _settle(index, iou, numbers, cells, crowd, inside)
