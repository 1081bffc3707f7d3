"""Photographs to float tensors, as a model's metadata says (see :mod:`falconet_models.metadata`).

docs/arithmetic.md, section Photographs, defines the bytes; they are Pillow's here. The runtime has
implementations of its own; tests hold them together byte by byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from falconet.isa import FalconetError

__all__ = ["to_pixels", "to_tensor"]

Array = NDArray[Any]


def to_pixels(image: Array, preprocess: dict[str, Any]) -> NDArray[np.uint8]:
    """The input as uint8 [H, W, C], in the network's channel order, before ``mean`` and ``std``.

    Parameters
    ----------
    image:
        uint8, [h, w], [h, w, 3] (R, G, B) or [h, w, 4] (alpha is dropped).
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise FalconetError(
            f"image: {image.dtype} {list(image.shape)} is not a photograph; "
            "use uint8 of height x width x 3"
        )
    try:
        height, width = preprocess["size"]
        fit, colour = preprocess["fit"], preprocess["colour"]
        resize, pad = preprocess.get("resize", 0), preprocess.get("pad")
    except KeyError as e:
        raise FalconetError(f"preprocess: {e.args[0]} is missing; add it to the metadata") from None
    picture = Image.fromarray(image).convert("L" if colour == "GRAY" else "RGB")
    w, h = picture.size
    if fit == "letterbox":
        scale = min(width / w, height / h)
        size = max(1, round(w * scale)), max(1, round(h * scale))
    elif fit == "crop":
        size = (resize, int(resize * h / w)) if w <= h else (int(resize * w / h), resize)
    elif fit == "stretch":
        size = width, height
    else:
        raise FalconetError(f"preprocess: fit='{fit}' is unknown; use letterbox, crop or stretch")
    wide = picture.resize((size[0], h), Image.Resampling.BILINEAR)
    pixels = np.asarray(wide.resize(size, Image.Resampling.BILINEAR))
    pixels = pixels.reshape(size[1], size[0], -1)
    if colour == "BGR":
        pixels = pixels[..., ::-1]
    if fit == "crop":
        top, left = round((size[1] - height) / 2), round((size[0] - width) / 2)
        if top < 0 or left < 0:
            raise FalconetError(
                f"preprocess: resize={resize} is smaller than the input; raise it to {width}"
            )
        return np.ascontiguousarray(pixels[top : top + height, left : left + width])
    out = np.empty((height, width, pixels.shape[2]), np.uint8)
    out[:] = np.zeros(pixels.shape[2], np.uint8) if pad is None else np.asarray(pad, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    out[top : top + size[1], left : left + size[0]] = pixels
    return out


def to_tensor(image: Array, preprocess: dict[str, Any]) -> NDArray[np.float32]:
    """The float input [1, C, H, W]: ``(pixel - mean) / std`` in float32."""
    pixels = to_pixels(image, preprocess).astype(np.float32)
    mean = np.asarray(preprocess["mean"], np.float32)
    std = np.asarray(preprocess["std"], np.float32)
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1)[None])
