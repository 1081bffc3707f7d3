"""Photographs for calibration and for figures, all of them in the scikit-image wheel.

Nothing is downloaded. What figures are reported on is disjoint from what the quantiser sees:
photographs and backgrounds come from two lists without a common member, faces from the two
halves of the hundred in ``lfw_subset`` (25 x 25 grey pixels each).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from falconet.isa import FalconetError, near
from falconet.runtime.photographs import read_photograph
from falconet_models.packages import package_file

__all__ = [
    "CALIBRATION", "COMPOSITES", "SCENES", "TEST", "calibration_images", "composite", "faces",
    "path_of", "photograph", "test_images",
]

Image8 = NDArray[np.uint8]

TEST = {
    "astronaut": "astronaut.png", "cat": "chelsea.png", "coffee": "coffee.png",
    "camera": "camera.png", "rocket": "rocket.jpg",
}
"""What figures are reported on: name and file."""

CALIBRATION = {
    "motorcycle_left": "motorcycle_left.png", "motorcycle_right": "motorcycle_right.png",
    "hubble": "hubble_deep_field.jpg", "retina": "retina.jpg", "ihc": "ihc.png",
    "coins": "coins.png", "clock": "clock_motion.png", "horse": "horse.png",
    "gravel": "gravel.png", "grass": "grass.png", "brick": "brick.png", "color": "color.png",
    "moon": "moon.png", "page": "page.png",
}
"""What the quantiser may see: name and file."""

COMPOSITES = {
    "faces_small": ("rocket", 1, 28), "faces_medium": ("rocket", 2, 48),
    "faces_large": ("coffee", 1, 95),
}
"""Test faces on a test photograph, 320 x 320: its name, a seed, and the size of a face."""

SCENES = {"digits": Path(__file__).parent / "zoo" / "digits" / "scene.png"}
"""Pictures beside a model of the zoo: one of the test split of what it was trained on."""

_FACES = {"calibration": slice(0, 50), "test": slice(50, 100)}


def _file(name: str) -> Path:
    return package_file("skimage", "data", name, what=f"photograph {name} is",
                        install="--no-deps scikit-image")


def path_of(name: str) -> Path:
    """The file of a known photograph, or of the one that faces are put on; refused if missing."""
    if name in COMPOSITES:
        return path_of(COMPOSITES[name][0])
    return SCENES[name] if name in SCENES else _file({**TEST, **CALIBRATION}[name])


def photograph(name: str) -> Image8:
    """One of ``TEST``, ``CALIBRATION``, ``COMPOSITES``, ``SCENES``: uint8 [H, W, 3], R, G, B."""
    if name in COMPOSITES:
        on, seed, side = COMPOSITES[name]
        return composite(photograph(on), faces("test"), (320, 320), seed=seed, side=side)
    known = [*TEST, *CALIBRATION, *COMPOSITES, *SCENES]
    if name not in known:
        raise FalconetError(f"photograph '{name}' is unknown; {near(name, known)}use one of "
                            f"{', '.join(known)}")
    return read_photograph(path_of(name))


def faces(part: str) -> list[Image8]:
    """Fifty faces, uint8 [25, 25]; ``part`` is ``"calibration"`` or ``"test"``."""
    data = np.load(_file("lfw_subset.npy"))[_FACES[part]]
    return [np.round(255 * f).astype(np.uint8) for f in data]


def composite(
    background: Image8, people: list[Image8], size: tuple[int, int], *, seed: int, side: int,
) -> Image8:
    """Faces on a background: a grid of cells of ``1.6 * side`` pixels, one face in each.

    Each face is enlarged to between 0.75 and 1.25 times ``side``, moved a little within its cell
    and blended in at the edge.

    Parameters
    ----------
    size:
        (height, width) of the result.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    canvas = np.asarray(
        Image.fromarray(background).resize((width, height), Image.Resampling.BILINEAR), np.float32
    ).copy()
    cell = int(1.6 * side)
    rows, columns = height // cell, width // cell
    chosen = rng.permutation(len(people))
    for i in range(min(rows * columns, len(people))):
        edge = int(side * rng.uniform(0.75, 1.25))
        top = i // columns * cell + int(rng.integers(0, cell - edge + 1))
        left = i % columns * cell + int(rng.integers(0, cell - edge + 1))
        face = Image.fromarray(people[chosen[i]]).resize((edge, edge), Image.Resampling.BICUBIC)
        ramp = np.minimum(1, (0.5 - np.abs((np.arange(edge) + 0.5) / edge - 0.5)) * 10)
        alpha = np.outer(ramp, ramp)[..., None].astype(np.float32)
        spot = canvas[top : top + edge, left : left + edge]
        spot += alpha * (np.asarray(face, np.float32)[..., None] - spot)
    drawn: Image8 = np.clip(np.round(canvas), 0, 255).astype(np.uint8)
    return drawn


def _crop(image: Image8, rng: np.random.Generator, least: float) -> Image8:
    """A random part of at least ``least`` of each side, mirrored every other time."""
    h, w = image.shape[:2]
    part = rng.uniform(least, 1)
    ch, cw = int(h * part), int(w * part)
    top, left = int(rng.integers(0, h - ch + 1)), int(rng.integers(0, w - cw + 1))
    crop = image[top : top + ch, left : left + cw]
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)


def calibration_images(model: str, count: int = 32) -> dict[str, Image8]:
    """``count`` photographs to calibrate ``model`` on: crops, and composites for a detector.

    The same call returns the same pixels.
    """
    rng = np.random.default_rng(2023)
    names = list(CALIBRATION)
    images: dict[str, Image8] = {}
    people = faces("calibration") if model == "retinaface" else []
    sides = (20, 32, 48, 72, 100, 150)
    for i in range(count):
        name = names[i // 2 % len(names) if people else i % len(names)]
        image = _crop(photograph(name), rng, 0.4)
        if people and i % 2 == 0:
            side = sides[i // 2 % len(sides)]
            images[f"{i}-{name}-faces"] = composite(
                image, people, (320, 320), seed=i, side=side)
        else:
            images[f"{i}-{name}"] = image
    return images


def test_images(model: str) -> dict[str, Image8]:
    """What figures for ``model`` are reported on, by name."""
    names: Iterable[str] = TEST
    if model == "retinaface":
        names = ("astronaut", *COMPOSITES, "coffee")
    elif model in SCENES:
        names = (model,)
    return {name: photograph(name) for name in names}
