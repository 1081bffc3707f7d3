"""Images changed for training, boxes with them. All randomness comes from the generator given.

Sizes are (height, width), as a model's metadata has them. What a transform leaves of a box decides:
``keep`` of its area or more inside, it stays, cut at the edge; less, it is ignored; nothing, it
goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from falconet.isa import FalconetError
from falconet_models.checked import STRICT, Part, Range
from falconet_models.datasets.sample import Sample
from falconet_models.float_pictures import to_pixels

__all__ = [
    "KEEP", "PAD", "Augment", "Frame", "Grey", "clip", "flip", "jitter", "letterbox", "mosaic",
    "resample", "shift", "sizes",
]

PAD = 114
"""The grey around an image."""
KEEP = 0.5

Size = tuple[int, int]
Grey = int | tuple[int, int, int]
"""One value, or one for each of R, G, B."""
Image8 = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """Where an image lies in a network's input: its corner, and its pixels for one of the input."""

    left: float
    top: float
    x: float
    y: float

    def back(self, boxes: Floats) -> Floats:
        """``boxes`` [N, 4] of the input in pixels of the image."""
        corner = np.array([self.left, self.top] * 2, np.float32)
        return (boxes - corner) * np.array([self.x, self.y] * 2, np.float32)


@dataclass(frozen=True)
class Augment:
    """How images are changed for training.

    Parameters
    ----------
    mosaic:
        How often four images become one, 0 to 1.
    mosaic_epochs:
        From this epoch on never; None: until the end.
    flip, flip_vertical:
        How often. Digits and letters want neither.
    scale, translate:
        Of :func:`shift` and :func:`mosaic`.
    hue, saturation, value:
        Of :func:`jitter`.
    keep:
        Part of a box that must be left of it.
    """

    mosaic: Part = 0.5
    mosaic_epochs: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    flip: Part = 0.0
    flip_vertical: Part = 0.0
    scale: Range = (0.75, 1.25)
    translate: Part = 0.1
    hue: Part = 0.015
    saturation: Part = 0.5
    value: Part = 0.4
    keep: Part = KEEP
    __pydantic_config__ = STRICT


def clip(sample: Sample, keep: float = KEEP) -> Sample:
    """Boxes cut at the edges of the image."""
    boxes = _cut(sample.boxes, sample.image.shape[1], sample.image.shape[0])
    left, before = _areas(boxes), _areas(sample.boxes)
    seen = left > 0
    ignored = sample.ignored | (left < keep * before)
    return replace(sample, boxes=boxes[seen], classes=sample.classes[seen], ignored=ignored[seen])


def _cut(boxes: Floats, width: int, height: int) -> Floats:
    return np.clip(boxes, 0, np.array([width, height] * 2, np.float32))


def _areas(boxes: Floats) -> Floats:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def letterbox(sample: Sample, size: Size, pad: Grey = PAD) -> tuple[Sample, Frame]:
    """The image scaled to fit into ``size`` and centred: the very pixels that the machine sees."""
    height, width = size
    h, w = sample.image.shape[:2]
    scale = min(width / w, height / h)
    inner_w, inner_h = max(1, round(w * scale)), max(1, round(h * scale))
    left, top = (width - inner_w) // 2, (height - inner_h) // 2
    frame = Frame(left, top, w / inner_w, h / inner_h)
    if (h, w) == (height, width):
        return sample, frame
    image = to_pixels(sample.image, {
        "fit": "letterbox", "size": list(size), "colour": "RGB", "pad": np.broadcast_to(pad, 3)})
    factors = np.array([inner_w / w, inner_h / h] * 2, np.float32)
    boxes = sample.boxes * factors + np.array([left, top] * 2, np.float32)
    return replace(sample, image=image, boxes=boxes), frame


def resample(sample: Sample, size: Size) -> Sample:
    """The image stretched to ``size`` by OpenCV: areas when it shrinks, else bilinear."""
    height, width = size
    h, w = sample.image.shape[:2]
    if (h, w) == (height, width):
        return sample
    shrinks = height * width < h * w
    image = np.asarray(cv2.resize(
        sample.image, (width, height),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8)
    boxes = sample.boxes * np.array([width / w, height / h] * 2, np.float32)
    return replace(sample, image=image, boxes=boxes)


def flip(sample: Sample, *, vertical: bool = False) -> Sample:
    """Left and right exchanged, or top and bottom."""
    image = np.ascontiguousarray(sample.image[::-1] if vertical else sample.image[:, ::-1])
    boxes = sample.boxes.copy()
    low, high = (1, 3) if vertical else (0, 2)
    boxes[:, low] = image.shape[0 if vertical else 1] - sample.boxes[:, high]
    boxes[:, high] = image.shape[0 if vertical else 1] - sample.boxes[:, low]
    return replace(sample, image=image, boxes=boxes)


def jitter(
    sample: Sample, rng: np.random.Generator, *, hue: float = 0.015, saturation: float = 0.5,
    value: float = 0.4,
) -> Sample:
    """Colours changed: each of hue, saturation and value by up to that part of its range.

    ``hue`` is turned by up to ``hue`` of the circle, the others are multiplied by a factor from
    ``1 - part`` to ``1 + part``.
    """
    turn, strong, bright = rng.uniform(-1, 1, 3) * (hue, saturation, value)
    levels = np.arange(256)
    tables = np.stack([
        (levels + turn * 180) % 180, levels * (1 + strong), levels * (1 + bright),
    ], axis=-1)
    table = np.clip(np.round(tables), 0, 255).astype(np.uint8)
    table[:, 0] %= 180
    hsv = cv2.LUT(cv2.cvtColor(sample.image, cv2.COLOR_RGB2HSV), table[None])
    return replace(sample, image=np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8))


def shift(
    sample: Sample, size: Size, rng: np.random.Generator, *,
    scale: tuple[float, float] = (0.5, 1.5), translate: float = 0.1, pad: Grey = PAD,
    keep: float = KEEP,
) -> Sample:
    """The image on a ground of ``size``, scaled and moved off its centre.

    Parameters
    ----------
    scale:
        Least and greatest, of the scale at which the image fits.
    translate:
        At most this part of the ground's sides.
    """
    height, width = size
    image = resample(sample, _scaled(sample, size, rng.uniform(*scale)))
    h, w = image.image.shape[:2]
    dx, dy = rng.uniform(-translate, translate, 2)
    canvas = np.full((height, width, 3), pad, np.uint8)
    left, top = round((width - w) / 2 + dx * width), round((height - h) / 2 + dy * height)
    return clip(_paste(canvas, image, left, top), keep)


def mosaic(
    samples: Sequence[Sample], size: Size, rng: np.random.Generator, *,
    scale: tuple[float, float] = (0.5, 1.5), pad: Grey = PAD, keep: float = KEEP,
) -> Sample:
    """Four images around a random point in the middle half; it has the name of the first."""
    if len(samples) != 4:
        raise FalconetError(f"a mosaic is made of four images, not of {len(samples)}; give four")
    height, width = size
    x, y = (round(v * s) for v, s in zip(rng.uniform(0.25, 0.75, 2), (width, height)))
    canvas = np.full((height, width, 3), pad, np.uint8)
    parts = []
    for i, sample in enumerate(samples):
        image = resample(sample, _scaled(sample, size, rng.uniform(*scale)))
        h, w = image.image.shape[:2]
        right, below = i % 2 == 1, i >= 2
        spot = canvas[y:, :] if below else canvas[:y, :]
        spot = spot[:, x:] if right else spot[:, :x]
        part = clip(_paste(spot, image, 0 if right else x - w, 0 if below else y - h), keep)
        corner = np.array([x if right else 0, y if below else 0] * 2, np.float32)
        parts.append(replace(part, boxes=part.boxes + corner))
    return Sample(
        canvas, np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.classes for p in parts]), np.concatenate([p.ignored for p in parts]),
        samples[0].name)


def _scaled(sample: Sample, size: Size, scale: float) -> Size:
    """The size at ``scale`` times that at which the image fits."""
    h, w = sample.image.shape[:2]
    scale *= min(size[0] / h, size[1] / w)
    return max(1, round(h * scale)), max(1, round(w * scale))


def _paste(canvas: Image8, sample: Sample, left: int, top: int) -> Sample:
    """The sample with its corner at ``left, top`` of the canvas, which is written to."""
    height, width = canvas.shape[:2]
    h, w = sample.image.shape[:2]
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + w, width), min(top + h, height)
    if x2 > x1 and y2 > y1:
        canvas[y1:y2, x1:x2] = sample.image[y1 - top : y2 - top, x1 - left : x2 - left]
    boxes = sample.boxes + np.array([left, top] * 2, np.float32)
    return replace(sample, image=canvas, boxes=boxes)


def sizes(size: Size, low: float, high: float, stride: int = 32) -> tuple[Size, ...]:
    """The sizes from ``low`` to ``high`` times ``size`` whose sides are multiples of ``stride``.

    They have the shape of ``size``, as near as the stride allows; ``size`` itself is one of them.
    """
    if not 0 < low <= 1 <= high:
        raise FalconetError(f"sizes from {low:g} to {high:g} leave out 1; include it")
    longer = max(size)
    found = {size: None}
    for side in range(stride, int(longer * high + 1e-6) + 1, stride):
        if side >= longer * low - 1e-6:
            h, w = (max(stride, round(side * s / longer / stride) * stride) for s in size)
            found[h, w] = None
    return tuple(sorted(found))
