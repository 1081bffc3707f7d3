"""From a photograph to the input tensor of a network.

Everything is taken from a program's ``meta``; ``falconet_models.metadata`` is its reference.
numpy is all that is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.runtime.resample import resample

__all__ = ["Frame", "Preprocessor", "dequantize", "quantize"]

Array = NDArray[Any]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """Where the photograph lies in the network's input.

    Input pixel ``x`` is photograph pixel ``(x - left) * scale_x``; likewise ``y``.
    """

    width: int
    height: int
    left: float = 0.0
    top: float = 0.0
    scale_x: float = 1.0
    scale_y: float = 1.0


def quantize(values: Array, scale: float, zero_point: int) -> NDArray[np.int8]:
    """``clamp(round_half_even(values / scale) + zero_point)`` in float32, as ONNX defines it."""
    q = np.rint(np.asarray(values, np.float32) / np.float32(scale)) + np.float32(zero_point)
    stored: NDArray[np.int8] = np.clip(q, -128, 127).astype(np.int8)
    return stored


def dequantize(values: Array, scale: float, zero_point: int) -> Floats:
    """``(values - zero_point) * scale`` in float32."""
    real: Floats = (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    return real


class Preprocessor:
    """Makes the input tensor of a network.

    Parameters
    ----------
    meta:
        The program's ``meta``; its ``preprocess`` is used.
    scale, zero_point:
        Of the int8 input tensor.

    Raises
    ------
    FalconetError
        If ``preprocess`` is missing or a field of it is.
    """

    def __init__(self, meta: Mapping[str, Any], scale: float = 1.0, zero_point: int = 0) -> None:
        p = meta.get("preprocess")
        if not isinstance(p, Mapping):
            raise FalconetError(
                "meta: preprocess is missing; add it to the model or give the input tensor itself"
            )
        try:
            self.fit, self.colour = str(p["fit"]), str(p["colour"])
            self.height, self.width = (int(v) for v in p["size"])
            self.mean = np.asarray(p["mean"], np.float32).reshape(-1)
            self.std = np.asarray(p["std"], np.float32).reshape(-1)
            self.resize = int(p["resize"]) if self.fit == "crop" else 0
            self.pad = np.broadcast_to(np.asarray(p.get("pad", 0), np.uint8), self.mean.shape)
        except (KeyError, TypeError, ValueError, OverflowError) as e:
            raise FalconetError(f"meta: preprocess is unusable ({e}); export the model again"
                                ) from None
        self._check()
        levels = np.arange(256, dtype=np.float32)[:, None]
        self.lut = quantize((levels - self.mean) / self.std, scale, zero_point)
        """int8 [256, C]: the stored value of each pixel value, channel by channel."""

    def _check(self) -> None:
        def need(ok: bool, field: str, rule: str) -> None:
            if not ok:
                raise FalconetError(f"meta: preprocess.{field} is impossible; {rule}")

        need(self.fit in ("letterbox", "crop", "stretch"), "fit", "use letterbox, crop or stretch")
        need(self.colour in ("RGB", "BGR", "GRAY"), "colour", "use RGB, BGR or GRAY")
        need(self.height > 0 and self.width > 0, "size", "use [height, width]")
        channels = 1 if self.colour == "GRAY" else 3
        need(self.mean.size == channels and bool(np.all(np.abs(self.mean) < 1e6)), "mean",
             f"give {channels} numbers")
        need(self.std.size == channels and bool(np.all((self.std > 1e-6) & (self.std < 1e6))),
             "std", f"give {channels} positive numbers")
        need(self.fit != "crop" or self.resize >= max(self.height, self.width), "resize",
             "it is at least the size of the input")

    def pixels(self, image: Array) -> tuple[NDArray[np.uint8], Frame]:
        """``image`` scaled and placed: uint8 [H, W, C] in the network's channel order.

        ``image`` is uint8 [h, w], [h, w, 3] (R, G, B) or [h, w, 4] (alpha is dropped).
        """
        image = np.asarray(image)
        if (image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape
                or (image.ndim == 3 and image.shape[2] not in (3, 4))):
            raise FalconetError(
                f"image: {image.dtype} {list(image.shape)} is not a photograph; "
                "use uint8 of height x width x 3"
            )
        image = self._channels(image)
        h, w = image.shape[:2]
        if self.fit == "stretch":
            frame = Frame(w, h, 0, 0, w / self.width, h / self.height)
            return resample(image, self.height, self.width), frame
        if self.fit == "crop":
            tall = w <= h
            new_w = self.resize if tall else int(self.resize * w / h)
            new_h = int(self.resize * h / w) if tall else self.resize
            left, top = round((new_w - self.width) / 2), round((new_h - self.height) / 2)
            small = resample(image, new_h, new_w)
            out = np.ascontiguousarray(small[top : top + self.height, left : left + self.width])
            return out, Frame(w, h, -left, -top, w / new_w, h / new_h)
        scale = min(self.width / w, self.height / h)
        new_w, new_h = max(1, round(w * scale)), max(1, round(h * scale))
        left, top = (self.width - new_w) // 2, (self.height - new_h) // 2
        out = np.empty((self.height, self.width, image.shape[2]), np.uint8)
        out[:] = self.pad
        out[top : top + new_h, left : left + new_w] = resample(image, new_h, new_w)
        return out, Frame(w, h, left, top, w / new_w, h / new_h)

    def _channels(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.colour == "GRAY":
            if image.ndim == 2:
                return image[..., None]
            r, g, b = (image[..., i].astype(np.uint32) for i in range(3))  # ITU-R BT.601
            grey = (19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16
            return grey.astype(np.uint8)[..., None]
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=2)
        return image[..., [2, 1, 0] if self.colour == "BGR" else [0, 1, 2]]

    def __call__(self, image: Array) -> tuple[NDArray[np.int8], Frame]:
        """The stored input tensor, int8 [H, W, C], and where the photograph lies in it."""
        stored = np.empty((self.height, self.width, self.mean.size), np.int8)
        return stored, self.into(image, stored)

    def into(self, image: Array, stored: NDArray[np.int8]) -> Frame:
        """Write the stored input tensor to ``stored`` (int8 [H, W, C], any strides)."""
        made = (self.height, self.width, self.mean.size)
        if stored.shape != made:
            raise FalconetError(
                f"meta: preprocess gives {list(made)}, the network takes "
                f"{list(stored.shape)}; export the model again"
            )
        pixels, frame = self.pixels(image)
        for c in range(pixels.shape[2]):
            stored[..., c] = self.lut[pixels[..., c], c]
        return frame

    def tensor(self, image: Array) -> tuple[Floats, Frame]:
        """The float input [1, C, H, W] that a float network takes: ``(pixel - mean) / std``."""
        pixels, frame = self.pixels(image)
        x = (pixels.astype(np.float32) - self.mean) / self.std
        return np.ascontiguousarray(x.transpose(2, 0, 1)[None]), frame
