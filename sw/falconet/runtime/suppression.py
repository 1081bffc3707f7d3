"""Non-maximum suppression on the machine's integer boxes: its modes, and two for the host alone.

``greedy``, ``soft_linear``, ``soft_gaussian`` and ``diou`` are bit for bit what the instruction
SUPPRESS does (docs/arithmetic.md). ``softer`` and ``adaptive`` need what no program of the machine
holds: a variance of every coordinate, a density of every box.

* ``softer``: variance voting, algorithm 1 of He et al., "Bounding Box Regression with Uncertainty
  for Accurate Object Detection", CVPR 2019, after greedy suppression.
* ``adaptive``: Liu et al., "Adaptive NMS: Refining Pedestrian Detection in a Crowd", CVPR 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError, Suppression, near
from falconet.runtime.detections import Limits, Records

__all__ = ["HOST_MODES", "MODES", "VOTE_SIGMA", "suppress"]

HOST_MODES = ("softer", "adaptive")
MODES = (*(m.name.lower() for m in Suppression), *HOST_MODES)
VOTE_SIGMA = 0.02
"""Width of the vote of mode ``softer``: sigma_t of He et al."""

Ints = NDArray[np.int64]
_EDGES = ("x1", "y1", "x2", "y2")


@dataclass
class _Boxes:
    """The integers of n boxes: edges [n, 4] (x1, y1, x2, y2) in 1/16 pixel, areas [n]."""

    edges: Ints
    area: Ints

    @classmethod
    def of(cls, records: Records) -> _Boxes:
        edges = np.stack([records[k].astype(np.int64) for k in _EDGES], axis=1)
        return cls(edges, (edges[:, 2:] - edges[:, :2]).prod(1))

    def overlap(self, one: int, others: Ints) -> tuple[Ints, Ints]:
        """Intersection with each of the others, and the sum of both areas."""
        a, b = self.edges[one], self.edges[others]
        sides = np.minimum(a[2:], b[:, 2:]) - np.maximum(a[:2], b[:, :2])
        return np.maximum(sides, 0).prod(1), self.area[one] + self.area[others]

    def distance(self, one: int, others: Ints) -> Ints:
        """``floor(2**16 * d2 / c2)``: squared centre distance over squared diagonal."""
        a, b = self.edges[one], self.edges[others]
        d2 = ((a[:2] + a[2:] - b[:, :2] - b[:, 2:]) ** 2).sum(1)
        c2 = 4 * ((np.maximum(a[2:], b[:, 2:]) - np.minimum(a[:2], b[:, :2])) ** 2).sum(1)
        ratio: Ints = (d2 << 16) // np.maximum(c2, 1)  # c2 = 0: two equal points, d2 = 0
        return ratio


def _iou(inter: Ints, areas: Ints) -> Ints:
    """``floor(2**16 * IoU)``; 0 for two boxes without area."""
    ratio: Ints = (inter << 16) // np.maximum(areas - inter, 1)
    return ratio


def _gaussian(iou: Ints, limits: Limits) -> Ints:
    """The Gaussian's weight in units of 2**-16, interpolated between entries of 1/256."""
    if limits.weights is None:
        raise FalconetError("limits: weights are missing; mode soft_gaussian needs them")
    capped = np.minimum(iou, 65535)
    g, d = limits.weights.astype(np.int64)[capped >> 8].T
    weight: Ints = g - ((d * (capped & 255) + 128) >> 8)
    return weight


def _estimate_density(records: Records, boxes: _Boxes, agnostic: bool) -> Ints:
    """Units of 2**-16, rounded up: what defines the density must stay. See :func:`suppress`."""
    n, level = len(records), records["anchor"] >> 4
    x, y, score = (records[k].astype(np.int64) for k in ("x", "y", "score"))
    alike = level[:, None] == level
    if not agnostic:
        alike &= records["label"][:, None] == records["label"]
    adjacent = (np.abs(x[:, None] - x) <= 1) & (np.abs(y[:, None] - y) <= 1)
    index = np.arange(n)
    better = (score > score[:, None]) | ((score == score[:, None]) & (index < index[:, None]))
    peak = ~(alike & adjacent & better).any(1)
    density = np.zeros(n, np.int64)
    for i in range(n):
        others = np.nonzero(peak & alike[i] & ~adjacent[i])[0]
        inter, areas = boxes.overlap(i, others)
        union = np.maximum(areas - inter, 1)
        density[i] = (((inter << 16) + union - 1) // union).max(initial=0)
    return density


def _vote(best: int, boxes: _Boxes, peers: Ints, variance: NDArray[np.float64]) -> Ints:
    """The edges of a box that stays, as its overlapping peers see them."""
    inter, areas = boxes.overlap(best, peers)
    peers, iou = peers[inter > 0], (inter / np.maximum(areas - inter, 1))[inter > 0]
    if not peers.size:
        peers, iou = np.array([best]), np.ones(1)
    weight = np.exp(-((1 - iou) ** 2) / VOTE_SIGMA)[:, None] / variance[peers]
    mean = (weight * boxes.edges[peers]).sum(0) / weight.sum(0)
    edges: Ints = np.rint(mean).astype(np.int64)
    edges[2:] = np.maximum(edges[2:], edges[:2])
    return edges


def _gone(best: int, peers: Ints, boxes: _Boxes, score: Ints, threshold: int, limits: Limits,
          mode: str) -> NDArray[np.bool_]:
    """Which ``peers`` go for the box ``best``; soft modes lower their entries of ``score``."""
    inter, areas = boxes.overlap(best, peers)
    gone: NDArray[np.bool_] = inter * (65536 + threshold) > threshold * areas
    if mode == "diou":
        gone &= _iou(inter, areas) - boxes.distance(best, peers) > threshold
    elif mode.startswith("soft_"):
        if mode == "soft_linear":
            touched, weight = gone, 65536 - _iou(inter, areas)
        else:
            touched, weight = inter > 0, _gaussian(_iou(inter, areas), limits)
        decayed = (score[peers] * weight + 32768) >> 16
        score[peers] = np.where(touched, decayed, score[peers])
        gone = touched & (decayed < limits.score_min)
    return gone


def _checked(
    name: str, values: NDArray[np.float64], shape: tuple[int, ...], lo: float, hi: float
) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.shape != shape or not ((lo <= array) & (array <= hi)).all():
        raise FalconetError(
            f"suppress: {name} has the wrong shape or range; give {list(shape)} numbers from "
            f"{lo:g} to {hi:g}"
        )
    return array


def suppress(
    records: Records, limits: Limits, *, mode: str, agnostic: bool = False,
    variance: NDArray[np.float64] | None = None, density: NDArray[np.float64] | None = None,
) -> Records:
    """The records that stay, best first, with their scores as they have become.

    Of two records the better has the higher score; if equal, the lower (level, y, x, anchor,
    class). The best one left stays, every other one left of its class is treated as ``mode`` says,
    and so on, until none is left or ``limits.maximum`` stay.

    Parameters
    ----------
    records:
        RECORD [n], in any order.
    mode:
        One of ``MODES``.
    agnostic:
        Boxes of different classes suppress each other too.
    variance:
        Mode ``softer``: [n, 4], of x1, y1, x2, y2, in any one unit, 1e-9 to 1e9; None: all equal.
        The edges of a box that stays become the mean over all boxes of its class that overlap it
        (suppressed ones too), weighted by ``exp(-(1 - IoU)**2 / VOTE_SIGMA) / variance``, rounded
        to 1/16 pixel.
    density:
        Mode ``adaptive``: [n], the greatest IoU of the record's object with another object, 0 to 1;
        a box that stays suppresses at IoU > max(threshold, density). The paper's networks predict
        it. With None it is estimated as the greatest IoU with a *peak* of the same class and level
        whose cell is not adjacent; a peak is a record that is the best of its class and level
        in the 3 x 3 cells around its own. (The greatest IoU with just any record would protect
        every duplicate.)
    """
    if mode not in MODES:
        raise FalconetError(f"suppress: mode '{mode}' is unknown; {near(mode, MODES)}use one of: "
                            f"{', '.join(MODES)}")
    n = len(records)
    spread = np.ones((n, 4)) if variance is None else (
        _checked("variance", variance, (n, 4), 1e-9, 1e9))
    order = np.lexsort(
        [records[k] for k in ("label", "anchor", "x", "y")] + [records["anchor"] >> 4])
    records, spread = records[order], spread[order]
    boxes, score = _Boxes.of(records), records["score"].astype(np.int64)
    threshold = np.full(n, limits.threshold, np.int64)
    if mode == "adaptive":
        crowd = (
            _estimate_density(records, boxes, agnostic) if density is None else
            np.rint(_checked("density", density, (n,), 0, 1)[order] * 65536).astype(np.int64))
        threshold = np.maximum(threshold, crowd)

    kept: list[int] = []
    alive, edges = np.ones(n, np.bool_), boxes.edges.copy()
    while alive.any() and len(kept) < limits.maximum:
        best = int(np.argmax(np.where(alive, score, -1)))  # the first of equal ones
        kept.append(best)
        alive[best] = False
        alike = agnostic | (records["label"] == records["label"][best])
        peers = np.nonzero(alive & alike)[0]
        if mode == "softer":
            edges[best] = _vote(best, boxes, np.nonzero(alike)[0], spread)
        alive[peers[_gone(best, peers, boxes, score, int(threshold[best]), limits, mode)]] = False
    return _changed(records[kept], score[kept], edges[kept])


def _changed(records: Records, score: Ints, edges: Ints) -> Records:
    """A copy with these scores [n] and edges [n, 4]."""
    result: Records = records.copy()
    result["score"] = score
    for i, name in enumerate(_EDGES):
        result[name] = edges[:, i]
    return result
