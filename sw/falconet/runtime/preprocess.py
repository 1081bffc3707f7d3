"""From a photograph to the input tensor of a network.

Everything is taken from a program's ``meta``; ``falconet_models.metadata`` is its reference, and
docs/arithmetic.md, section Photographs, says which bytes come out. numpy is all that is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.runtime.resample import Scaling

__all__ = ["Frame", "Preprocessor", "dequantize", "quantize"]

Array = NDArray[Any]
Floats = NDArray[np.float32]

_ORDER = {"RGB": (0, 1, 2), "BGR": (2, 1, 0)}


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
        self._pad = self.lut[self.pad, range(self.mean.size)].view(np.uint8)
        self._placed = lru_cache(maxsize=8)(self._place)

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
        out = np.empty((self.height, self.width, self.mean.size), np.uint8)
        return out, self._make(image, out, None, raw=True)

    def _make(
        self, image: Array, out: NDArray[np.uint8], before: Frame | None, raw: bool,
    ) -> Frame:
        image = np.asarray(image)
        if (image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape
                or (image.ndim == 3 and image.shape[2] not in (3, 4))):
            raise FalconetError(
                f"image: {image.dtype} {list(image.shape)} is not a photograph; "
                "use uint8 of height x width x 3"
            )
        if image.ndim == 2:
            image = image[..., None]
        scaling, frame, rows, columns = self._placed(image.shape, raw)
        scaling(image, out[rows, columns])
        if frame != before:
            bars = self.pad if raw else self._pad
            for bar in (out[: rows.start], out[rows.stop :], out[rows, : columns.start],
                        out[rows, columns.stop :]):
                bar[...] = bars
        return frame

    def _place(self, shape: tuple[int, int, int], raw: bool) -> tuple[Scaling, Frame, slice, slice]:
        """How a photograph is scaled, where it lies, and the rows and columns that it fills.

        ``raw``: its values stay as they are.
        """
        (h, w, n), size = shape, (self.height, self.width)
        window, left, top = (0, 0, *size), 0, 0
        if self.fit == "crop":
            tall = w <= h
            size = (int(self.resize * h / w) if tall else self.resize,
                    self.resize if tall else int(self.resize * w / h))
            top, left = (-round((big - small) / 2)
                         for big, small in zip(size, (self.height, self.width)))
            window = (-top, -left, self.height, self.width)
        elif self.fit == "letterbox":
            scale = min(self.width / w, self.height / h)
            size = max(1, round(h * scale)), max(1, round(w * scale))
            left, top = (self.width - size[1]) // 2, (self.height - size[0]) // 2
            window = (0, 0, *size)
        grey = self.colour == "GRAY"
        levels = np.tile(np.arange(256, dtype=np.uint8), (self.mean.size, 1))
        order = (0,) * self.mean.size if grey or n == 1 else _ORDER[self.colour]
        scaling = Scaling(shape, size, window, grey=grey, order=order,
                          table=levels if raw else self.lut.T.view(np.uint8))
        frame = Frame(w, h, left, top, w / size[1], h / size[0])
        y, x = max(top, 0), max(left, 0)
        return scaling, frame, slice(y, y + window[2]), slice(x, x + window[3])

    def scaling(self, shape: tuple[int, int, int]) -> Scaling:
        """What is done to photographs of this shape (height, width, channels)."""
        return self._placed(shape, False)[0]

    def __call__(self, image: Array) -> tuple[NDArray[np.int8], Frame]:
        """The stored input tensor, int8 [H, W, C], and where the photograph lies in it."""
        stored = np.empty((self.height, self.width, self.mean.size), np.int8)
        return stored, self.into(image, stored)

    def into(
        self, image: Array, stored: NDArray[np.int8], before: Frame | None = None,
    ) -> Frame:
        """Write the stored input tensor to ``stored`` (int8 [H, W, C], any strides).

        ``before`` is what the last call for this very memory returned, if nothing else has
        written to it since: the bars beside the photograph are not painted again.
        """
        made = (self.height, self.width, self.mean.size)
        if stored.shape != made:
            raise FalconetError(
                f"meta: preprocess gives {list(made)}, the network takes "
                f"{list(stored.shape)}; export the model again"
            )
        return self._make(image, stored.view(np.uint8), before, raw=False)

    def tensor(self, image: Array) -> tuple[Floats, Frame]:
        """The float input [1, C, H, W] that a float network takes: ``(pixel - mean) / std``."""
        pixels, frame = self.pixels(image)
        x = (pixels.astype(np.float32) - self.mean) / self.std
        return np.ascontiguousarray(x.transpose(2, 0, 1)[None]), frame
