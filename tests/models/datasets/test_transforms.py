"""Transforms: rectangles are drawn, transformed and found again by their colour."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from falconet.isa import FalconetError
from falconet_models.datasets import Sample
from falconet_models.datasets.transforms import (
    KEEP,
    PAD,
    Frame,
    clip,
    flip,
    jitter,
    letterbox,
    mosaic,
    resample,
    shift,
    sizes,
)

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]], np.uint8)
"""Of the classes; the ground is black, what surrounds it grey."""


def sample(image: np.ndarray, boxes: Any, classes: Any = 0, ignored: Any = 0) -> Sample:
    n = len(boxes)
    return Sample(image, np.array(boxes, np.float32), np.broadcast_to(classes, n).astype(np.int64),
                  np.broadcast_to(ignored, n).astype(bool), "drawn")


def drawn(height: int, width: int, seed: int, only: int | None = None) -> Sample:
    """One rectangle in each quarter, so that none hides another; ``only``: all of one class."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.uint8)
    boxes = []
    for i in range(4):
        y, x = (i // 2) * (height // 2), (i % 2) * (width // 2)
        y1, x1 = y + rng.integers(0, height // 6), x + rng.integers(0, width // 6)
        y2, x2 = y + rng.integers(height // 3, height // 2), x + rng.integers(
            width // 3, width // 2)
        boxes.append([x1, y1, x2, y2])
        image[y1:y2, x1:x2] = COLOURS[i if only is None else only]
    return sample(image, boxes, np.arange(4) if only is None else only, [0, 0, 1, 0])


def is_colour(image: np.ndarray, c: int) -> np.ndarray:
    """Pixels of the colour of class ``c``: what it has is bright, what it lacks dark."""
    bright, dark = COLOURS[c] > 0, COLOURS[c] == 0
    return (image[..., bright] > 127).all(-1) & (image[..., dark] <= PAD - 14).all(-1)


def found(image: np.ndarray, c: int) -> np.ndarray | None:
    """The box around all pixels of the colour of class ``c``."""
    ys, xs = np.nonzero(is_colour(image, c))
    if not len(xs):
        return None
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float32)


def agrees(sample: Sample, tolerance: float) -> int:
    """Each box is that of its pixels, each colour that is seen has a box; how many there are."""
    assert sample.image.dtype == np.uint8 and sample.boxes.dtype == np.float32
    height, width = sample.image.shape[:2]
    assert (sample.boxes >= 0).all() and (sample.boxes <= [width, height, width, height]).all()
    for box, c in zip(sample.boxes, sample.classes):
        if (box[2:] - box[:2]).min() < 3:  # too thin to be seen for sure
            continue
        pixels = found(sample.image, int(c))
        assert pixels is not None
        assert np.abs(pixels - box).max() <= tolerance, (box, pixels)
    for c in range(4):
        if c not in sample.classes:
            assert is_colour(sample.image, c).sum() == 0
    return len(sample.boxes)


@pytest.mark.parametrize("vertical", [False, True])
def test_flip(vertical: bool) -> None:
    s = drawn(50, 70, 1)
    t = flip(s, vertical=vertical)
    assert agrees(t, 0) == 4
    assert not np.array_equal(t.boxes, s.boxes) and np.array_equal(t.ignored, s.ignored)
    back = flip(t, vertical=vertical)
    assert np.array_equal(back.image, s.image) and np.array_equal(back.boxes, s.boxes)


@pytest.mark.parametrize("size", [(96, 96), (64, 200), (200, 64), (33, 47), (60, 80), (240, 320)])
@pytest.mark.parametrize("shape", [(60, 80), (90, 50), (151, 203)])
def test_letterbox(size: tuple[int, int], shape: tuple[int, int]) -> None:
    s = drawn(*shape, 2)
    t, frame = letterbox(s, size)
    assert t.image.shape == (*size, 3)
    assert agrees(t, 1.0) == 4
    assert np.allclose(frame.back(t.boxes), s.boxes, atol=1e-3)
    free = np.ones(size, bool)
    left, top = round(frame.left), round(frame.top)
    right, bottom = left + round(shape[1] / frame.x), top + round(shape[0] / frame.y)
    free[top:bottom, left:right] = False
    assert (t.image[free] == PAD).all()
    assert right - left == size[1] or bottom - top == size[0]
    assert abs(frame.x / frame.y - 1) < 0.03


def test_what_surrounds_may_have_a_colour() -> None:
    s = drawn(40, 80, 1)
    rng = np.random.default_rng(0)
    for t in (letterbox(s, (96, 96), (1, 2, 3))[0],
              shift(s, (96, 96), rng, scale=(0.5, 0.5), pad=(1, 2, 3)),
              mosaic([s] * 4, (96, 96), rng, scale=(0.3, 0.3), pad=(1, 2, 3))):
        assert (t.image[:4] == [1, 2, 3]).all()


def test_frame_goes_back_by_hand() -> None:
    frame = Frame(left=10, top=0, x=2, y=4)
    assert frame.back(np.array([[10, 0, 20, 5]], np.float32)).tolist() == [[0, 0, 20, 20]]


@pytest.mark.parametrize("size", [(30, 40), (120, 90), (77, 61), (60, 80)])
def test_resample(size: tuple[int, int]) -> None:
    t = resample(drawn(60, 80, 3), size)
    assert t.image.shape == (*size, 3) and agrees(t, 1.0) == 4


@pytest.mark.parametrize("seed", range(40))
def test_shift(seed: int) -> None:
    rng = np.random.default_rng(seed)
    s = drawn(60, 80, seed)
    t = shift(s, (72, 96), rng, scale=(0.4, 2.0), translate=0.4)
    assert t.image.shape == (72, 96, 3)
    agrees(t, 1.0)
    assert set(t.classes[t.ignored]) >= {2} & set(t.classes)  # what was ignored stays so


def test_shift_goes_through_its_range() -> None:
    scales, middles = [], []
    image = np.full((50, 50, 3), 255, np.uint8)
    s = sample(image, [[0, 0, 50, 50]])
    for seed in range(200):
        t = shift(s, (100, 100), np.random.default_rng(seed), scale=(0.25, 0.75), translate=0.125)
        scales.append((t.boxes[0, 2] - t.boxes[0, 0]) / 100)
        middles.append((t.boxes[0, 2:] + t.boxes[0, :2]) / 200 - 0.5)
    assert 0.24 <= min(scales) < 0.27 and 0.73 < max(scales) <= 0.76
    assert np.abs(middles).max() <= 0.131 and np.max(middles) > 0.11 and np.min(middles) < -0.11


@pytest.mark.parametrize("seed", range(40))
def test_mosaic(seed: int) -> None:
    """Four images of one colour each, so that a box is found by its colour alone."""
    rng = np.random.default_rng(seed)
    parts = []
    for c in range(4):
        s = drawn(40 + 10 * c, 70 - 10 * c, 4 * seed + c, only=c)
        keep = int(rng.integers(4))
        image = np.zeros_like(s.image)
        x1, y1, x2, y2 = s.boxes[keep].astype(int)
        image[y1:y2, x1:x2] = COLOURS[c]
        parts.append(replace(sample(image, s.boxes[keep : keep + 1], c), name=str(c)))
    t = mosaic(parts, (96, 128), rng, scale=(0.5, 2.0))
    assert t.image.shape == (96, 128, 3) and t.name == "0"
    agrees(t, 1.0)


def test_mosaics_have_four_parts_and_keep_their_quarters() -> None:
    number, right, below = [], [], []
    for seed in range(50):
        parts = [drawn(64, 64, 4 * seed + c, only=c) for c in range(4)]
        t = mosaic(parts, (96, 96), np.random.default_rng(seed), scale=(1, 1))
        number.append(len(t.boxes))
        masks = [is_colour(t.image, c) for c in range(4)]
        assert all(m.any() for m in masks)
        xs = [np.nonzero(m.any(0))[0] for m in masks]
        ys = [np.nonzero(m.any(1))[0] for m in masks]
        assert max(xs[0].max(), xs[2].max()) < min(xs[1].min(), xs[3].min())
        assert max(ys[0].max(), ys[1].max()) < min(ys[2].min(), ys[3].min())
        right.append(min(xs[1].min(), xs[3].min()))
        below.append(min(ys[2].min(), ys[3].min()))
    assert min(right) < 40 and max(right) > 60 and min(below) < 40 and max(below) > 60
    assert 4 <= min(number) and max(number) <= 16
    with pytest.raises(FalconetError, match="made of four images, not of 3; give four"):
        mosaic(parts[:3], (96, 96), np.random.default_rng(0))


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.8])
def test_what_is_cut_off_too_far_is_ignored(keep: float) -> None:
    kept, ignored, gone = 0, 0, 0
    for seed in range(200):
        s = drawn(60, 60, seed)
        t = shift(s, (60, 60), np.random.default_rng(seed), scale=(1, 1), translate=0.5, keep=keep)
        for c in range(4):
            if c == 2:
                continue
            left = is_colour(t.image, c).sum() / is_colour(s.image, c).sum()
            if left == 0:
                assert c not in t.classes
                gone += 1
            else:
                assert t.ignored[t.classes == c].tolist() == [left < keep - 1e-6]
                kept, ignored = kept + (left >= keep), ignored + (left < keep)
    assert min(kept, ignored, gone) > 10


def test_clip_by_hand() -> None:
    boxes = [[-5, 0, 5, 10], [-6, 0, 4, 10], [20, 5, 30, 8], [2, 2, 4, 4]]
    t = clip(sample(np.zeros((10, 20, 3), np.uint8), boxes, range(4), [0, 0, 0, 1]))
    assert KEEP == 0.5
    assert t.boxes.tolist() == [[0, 0, 5, 10], [0, 0, 4, 10], [2, 2, 4, 4]]
    assert t.classes.tolist() == [0, 1, 3] and t.ignored.tolist() == [False, True, True]


@pytest.mark.parametrize("seed", range(5))
def test_jitter_against_the_standard_library(seed: int) -> None:
    """Each pixel's hue, saturation and value, turned and multiplied as the generator says."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (12, 12, 3), np.uint8)
    s = sample(image, [[1, 2, 3, 4]])
    t = jitter(s, np.random.default_rng(seed), hue=0.1, saturation=0.4, value=0.3)
    assert t.boxes is s.boxes
    turn, strong, bright = np.random.default_rng(seed).uniform(-1, 1, 3) * (0.1, 0.4, 0.3)
    expected = np.empty((12, 12, 3))
    for y in range(12):
        for x in range(12):
            h, sat, v = colorsys.rgb_to_hsv(*(image[y, x] / 255))
            expected[y, x] = colorsys.hsv_to_rgb(
                (h + turn) % 1, min(1, sat * (1 + strong)), min(1, v * (1 + bright)))
    far = np.abs(t.image - 255 * expected)
    assert far.mean() < 2 and far.max() < 12  # hue is kept in steps of two degrees
    assert np.abs(t.image.astype(int) - image).mean() > 5


def test_nothing_to_jitter_changes_next_to_nothing() -> None:
    s = drawn(40, 40, 1)
    t = jitter(s, np.random.default_rng(0), hue=0, saturation=0, value=0)
    assert np.array_equal(t.image, s.image)


TRANSFORMS: dict[str, Callable[[Sample, np.random.Generator], Sample]] = {
    "flip": lambda s, rng: flip(s), "letterbox": lambda s, rng: letterbox(s, (50, 50))[0],
    "resample": lambda s, rng: resample(s, (31, 31)), "jitter": jitter,
    "clip": lambda s, rng: clip(s),
    "shift": lambda s, rng: shift(s, (50, 50), rng),
    "mosaic": lambda s, rng: mosaic([s] * 4, (50, 50), rng),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("empty", [False, True])
def test_transforms_are_pure_and_follow_their_generator(name: str, empty: bool) -> None:
    s = drawn(60, 80, 5)
    if empty:
        s = Sample(s.image, s.boxes[:0], s.classes[:0], s.ignored[:0], s.name)
    for part in (s.image, s.boxes, s.classes, s.ignored):
        part.setflags(write=False)
    before = [p.copy() for p in (s.image, s.boxes, s.classes, s.ignored)]
    results = [TRANSFORMS[name](s, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert all(np.array_equal(a, b) for a, b in zip(before, (
        s.image, s.boxes, s.classes, s.ignored)))
    assert np.array_equal(results[0].image, results[1].image)
    assert np.array_equal(results[0].boxes, results[1].boxes)
    if name in ("jitter", "shift", "mosaic"):
        assert not np.array_equal(results[0].image, results[2].image)
    for r in results:
        assert r.boxes.shape == (len(r.classes), 4) and len(r.ignored) == len(r.classes)
        assert r.boxes.dtype == np.float32 and r.classes.dtype == np.int64
        assert r.ignored.dtype == bool and (not empty or not len(r.boxes))


def test_sizes() -> None:
    assert sizes((96, 96), 0.66, 1.34) == ((64, 64), (96, 96), (128, 128))
    assert sizes((96, 96), 1, 1) == ((96, 96),)
    assert len(sizes((240, 320), 0.5, 1.5)) == 12
    for h, w in sizes((240, 320), 0.5, 1.5):
        assert (h, w) == (240, 320) or (h % 32 == 0 and w % 32 == 0 and 160 <= w <= 480)
        assert abs(h / w - 0.75) * w <= 16 + 1e-6
    with pytest.raises(FalconetError, match=r"sizes from 1\.1 to 2 leave out 1; include it"):
        sizes((96, 96), 1.1, 2)
