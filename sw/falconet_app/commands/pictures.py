"""Detections drawn on a photograph."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.isa.files import written

__all__ = ["SAVED", "annotated", "draw_detections"]

SAVED = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes that a picture can be saved with."""

_BOX = (0, 200, 83)
_MARK = (255, 214, 0)


@lru_cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)


def annotated(image: NDArray[np.uint8], detections: Sequence[Any]) -> Any:
    """A ``PIL.Image`` of ``image`` with boxes, scores and landmarks."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    line = max(2, min(picture.size) // 200)
    font = _font(6 * line + 4)
    for d in detections:
        draw.rectangle((d.x, d.y, d.x + d.w, d.y + d.h), outline=_BOX, width=line)
        label = f"{d.class_name} {d.score:.2f}"
        left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
        height = bottom - top + 2 * line
        y = d.y - height if d.y >= height else d.y
        draw.rectangle((d.x, y, d.x + right - left + 2 * line, y + height), fill=_BOX)
        draw.text((d.x + line - left, y + line - top), label, fill=(0, 0, 0), font=font)
        for px, py in d.landmarks:
            draw.ellipse((px - line, py - line, px + line, py + line), fill=_MARK)
    return picture


def draw_detections(image: NDArray[np.uint8], detections: Sequence[Any], path: Path) -> None:
    """Save ``image`` with boxes, scores and landmarks; ``path`` ends as one of ``SAVED`` does."""
    with written(path) as beside:
        try:
            annotated(image, detections).save(beside, quality=95)
        except ValueError as e:  # too large for the format
            raise FalconetError(f"{path}: cannot be written ({e}); save it as .png") from None
