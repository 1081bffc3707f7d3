"""Softmax over classes and distances of bins: the golden model against float64 and in scalars.

The bounds are those of docs/arithmetic.md (Exponentials), held over all scales.
"""

from __future__ import annotations

import math
from typing import Any

import heads
import numpy as np
import pytest

from falconet.isa import preset
from falconet.runtime.detections import limits
from falconet_sim.golden.detect import _expectations, _shares, candidates

pytestmark = pytest.mark.timeout(120)
BIG = preset("pynq-z2")
SCALES = (1e-5, 0.003, 0.02, 0.06, 0.13, 0.4, 1.7, 5.6, 300.0)


def groups(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Stored logits, all over the range, close together, or with two that are far above."""
    drawn = rng.integers(-128, 128, shape)
    drawn[::3] = rng.integers(-6, 7, drawn[::3].shape) + 40
    drawn[1::3, ..., :2] = 127
    return drawn.astype(np.int8)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("bins", [2, 8, 16, 17, 31])
def test_distances_against_float64(bins: int, scale: float) -> None:
    rng = np.random.default_rng(bins)
    stored = groups(rng, (3000, 4, bins))
    weights = np.exp((stored - stored.max(axis=2, keepdims=True).astype(np.float64)) * scale)
    exact = weights @ np.arange(bins) / weights.sum(axis=2)
    found = _expectations(heads.exponentials(scale), stored) / 2**11
    assert np.abs(found - exact).max() <= bins * (bins - 1) / 4 / 65535 + 2**-11
    assert found.max() <= bins - 1


def test_the_error_of_sixteen_bins() -> None:
    """Less than 1/20 pixel for strides up to 32: a coordinate counts 1/16."""
    assert (16 * 15 / 4 / 65535 + 2**-11) * 32 < 0.05


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("classes", [2, 20, 90, 255])
def test_shares_against_float64(classes: int, scale: float) -> None:
    rng = np.random.default_rng(classes)
    stored = groups(rng, (600, classes))
    background = int(rng.integers(-128, 128))
    logits = (stored - np.float64(background)) * scale
    most = np.maximum(logits.max(axis=1, keepdims=True), 0)
    weights = np.exp(logits - most)
    exact = weights / (weights.sum(axis=1, keepdims=True) + np.exp(-most))
    found = _shares(heads.exponentials(scale), stored[:, :, None, None], background)[..., 0, 0]
    bound = (1 + exact * classes) / 2 + 1
    assert (np.abs(found - 65536 * exact) <= bound + 1e-6).all()


def test_by_hand() -> None:
    """Two bins 11 apart at a scale of 0.1: e**-1.1 = 0.33287 of 65,535 is 21,815."""
    table = heads.exponentials(0.1)
    sides = np.array([[[5, -6], [-6, 5], [9, 9], [-128, 127]]], np.int8)
    e = 21815
    assert table[255 - 11] == e and table[0] == 0
    assert _expectations(table, sides).tolist() == [[
        2048 * e // (65535 + e), 2048 * 65535 // (65535 + e), 1024, 2048]]
    scores = np.array([[5], [-6]], np.int8).reshape(1, 2, 1, 1)
    total = 65535 + 2 * e
    assert _shares(table, scores, -6).reshape(-1).tolist() == [
        65536 * 65535 // total, 65536 * e // total]
    alone = np.array([127], np.int8).reshape(1, 1, 1, 1)
    assert _shares(heads.exponentials(5.0), alone, -128).tolist() == [[[[65535]]]]


def in_scalars(detect: dict[str, Any], tensors: dict[str, np.ndarray], score_min: int
               ) -> list[tuple[int, ...]]:
    """Every candidate of form 1: edges, score, class, anchor, cell."""
    found = []
    for number, level in enumerate(detect["levels"]):
        scores, boxes, bins = tensors[level["scores"]], tensors[level["boxes"]], level["bins"]
        for channel, y, x in np.ndindex(scores.shape):
            a, label = divmod(channel, level["n_class"])
            q = int(scores[channel, y, x])
            if level["score"][q + 128] < score_min:
                continue
            first = a * level["n_class"]
            group = [int(v) for v in scores[first : first + level["n_class"], y, x]]
            group.append(level["background"])
            e = [level["softmax"][255 - (max(group) - v)] for v in group]
            s = min((e[label] << 16) // sum(e), 65535)
            if level["objectness"]:
                o = int(tensors[level["objectness"]][a, y, x])
                s = (s * level["objectness_table"][o + 128] + 2**15) >> 16
            if s < score_min:
                continue
            edges = []
            for side in range(4):
                at = (a * 4 + side) * bins
                logits = [int(v) for v in boxes[at : at + bins, y, x]]
                e = [level["size"][255 - (max(logits) - v)] for v in logits]
                size = 2**11 * sum(j * v for j, v in enumerate(e)) // sum(e)
                axis = side % 2
                extent = min((size * level["anchors"][a][axis] + 2**10) >> 11, 65535)
                middle = level["anchors"][a][2 + axis] + (x, y)[axis] * level["stride"][axis]
                edge = middle + (extent if side > 1 else -extent)
                lo, hi = level["clip"][2 * axis : 2 * axis + 2]
                edges.append(min(max(edge, lo), hi))
            found.append((*edges, s, label, a + 16 * number, x, y))
    return sorted(found, key=lambda r: (-r[4], r[6] // 16, r[8], r[7], r[6] % 16, r[5]))


@pytest.mark.parametrize("wild", [False, True])
@pytest.mark.parametrize("objectness", [False, True])
@pytest.mark.parametrize("bins", [1, 8, 16, 31])
def test_to_the_bit(bins: int, objectness: bool, wild: bool) -> None:
    rng, below, n = np.random.default_rng([bins, objectness, wild]), 0, 0
    for classes, anchors in ((1, 2), (3, 1), (20, 2), (90, 1)):
        detect, tensors = heads.random_head(
            rng, BIG, levels=2, classes=classes, anchors=anchors, form=1, bins=bins, softmax=True,
            objectness=objectness, hits=0.2, size=(24, 40), wild=wild)
        detect["score"] = float(rng.choice([0.02, 0.3]))
        head = heads.head_of(detect)
        lim = limits(head)
        want = in_scalars(detect, tensors, lim.score_min)
        found, seen = candidates(tensors, head, lim, BIG)
        assert seen == len(want) and found.tolist() == want[: BIG.candidates]
        n += len(want)
        below += sum(level["score"][int(q) + 128] >= lim.score_min for level in detect["levels"]
                     for q in tensors[level["scores"]].ravel()) - len(want)
    assert n > 20 and below > 20


def test_the_sigmoid_is_no_less_than_the_share() -> None:
    """What `q_min` passes over would have had no more than half a unit of a sum above it."""
    for scale in SCALES:
        table, scores = heads.exponentials(scale), heads.probability([scale, 0])
        for q in range(-128, 128):
            one = np.full((1, 1, 1, 1), q, np.int8)
            assert int(_shares(table, one, 0).item()) <= scores[q + 128] + 1 + math.ceil(
                scores[q + 128] / 2**16)
