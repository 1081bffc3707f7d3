"""Photographs scaled for a network: docs/arithmetic.md, section Photographs.

Three implementations give the same bytes: the C kernel (:mod:`falconet.runtime.kernel`), Pillow and
numpy. The first of them that can be had is used; ``FALCONET_RESAMPLE`` names another.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.runtime import kernel

__all__ = ["IMPLEMENTATIONS", "Axis", "Scaling", "implementation", "resample"]

Bytes = NDArray[np.uint8]

_BITS = 22  # of fraction in a coefficient: 255 * 2**22 fits an int32
IMPLEMENTATIONS = ("c", "pillow", "numpy")
"""In order of preference."""


@dataclass(frozen=True, eq=False)
class Axis:
    """How ``n_in`` pixels become the pixels ``start`` to ``start + n`` of ``n_out``.

    ``first`` int32 [n] is the first input of each result, ``weight`` int32 [n, taps] its
    coefficients, 0 for those behind the last input. ``same``: result is input. The results
    ``halves`` (a range of [0, n)) are ``(a + 3b + 3c + d + 4) >> 3`` of four inputs.
    """

    n_in: int
    n_out: int
    start: int
    first: NDArray[np.int32]
    weight: NDArray[np.int32]
    halves: range

    @property
    def n(self) -> int:
        return len(self.first)

    @property
    def taps(self) -> int:
        return int(self.weight.shape[1])

    @property
    def same(self) -> bool:
        return self.n_in == self.n_out


def axis(n_in: int, n_out: int, start: int, n: int) -> Axis:
    """The triangle is one input wide to each side, or one result if that is wider."""
    scale = n_in / n_out
    support = max(scale, 1.0)
    centre = (np.arange(start, start + n) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.intp), 0)
    last = np.minimum((centre + support + 0.5).astype(np.intp), n_in)
    index = first[:, None] + np.arange(int((last - first).max()))
    weight = np.maximum(1 - np.abs((index - centre[:, None] + 0.5) * (1 / support)), 0)
    weight[index >= last[:, None]] = 0
    weight /= weight.cumsum(1)[:, -1:]  # in Pillow's order: sum() adds in another
    inner = range(max(1 - start, 0), min(n_out - 1 - start, n)) if n_in == 2 * n_out else range(0)
    return Axis(n_in, n_out, start, first.astype(np.int32),
                (weight * (1 << _BITS) + 0.5).astype(np.int32), inner)


class Scaling:
    """From photographs of one shape to a window of their scaled picture, through a table.

    Parameters
    ----------
    shape:
        Of the photographs: height, width, channels (1, 3 or 4; the fourth is dropped).
    size:
        Height and width to which they are scaled, first along x, then along y.
    window:
        Top, left, height and width of what is wanted of it; None is all.
    grey:
        Scale the luma of R, G, B (ITU-R BT.601 in 16 bits) instead of each.
    table:
        uint8 [results, 256]: the byte of each value, result by result; None leaves values as
        they are, one result for each plane that is scaled.
    order:
        The plane of each result; None is 0, 1, 2, or 0 throughout if there is one.
    """

    def __init__(
        self, shape: tuple[int, int, int], size: tuple[int, int],
        window: tuple[int, int, int, int] | None = None, *, grey: bool = False,
        table: Bytes | None = None, order: Sequence[int] | None = None,
    ) -> None:
        top, left, height, width = window or (0, 0, *size)
        self.shape = shape
        self.y = axis(shape[0], size[0], top, height)
        self.x = axis(shape[1], size[1], left, width)
        self.planes = 1 if grey or shape[2] == 1 else 3
        if table is None:
            table = np.tile(np.arange(256, dtype=np.uint8), (self.planes, 1))
        self.table: Bytes = np.ascontiguousarray(table)
        self.results = len(self.table)
        planes = range(self.planes)
        self.order = tuple(order or (planes if self.results == self.planes
                                     else [0] * self.results))
        flip = self.table[0, 0]
        plain = self.order == tuple(planes) and bool(
            np.all(self.table == np.arange(256, dtype=np.uint8) ^ flip))
        self.flip: np.uint8 | None = flip if plain else None
        """All that the table does, if it can be said so: exclusive or with this."""
        self.job = kernel.job(self)

    def __call__(self, image: Bytes, out: Bytes, using: str | None = None) -> None:
        """``image`` [h, w, channels] to ``out`` [height, width, results], both of any strides.

        ``using`` is one of :data:`IMPLEMENTATIONS`.
        """
        _run_of(using)(self, image, out)


def _with_c(s: Scaling, image: Bytes, out: Bytes) -> None:
    if image.strides[1:] != (s.shape[2], 1):
        image = np.ascontiguousarray(image)
    if out.strides[1:] == (s.results, 1):
        kernel.scale(s.job, image, out, s.table)
    else:
        whole = np.empty(out.shape, np.uint8)
        kernel.scale(s.job, image, whole, s.table)
        out[...] = whole


def _with_pillow(s: Scaling, image: Bytes, out: Bytes) -> None:
    from PIL import Image

    if s.x.n_out * s.y.n_out > 16 * s.x.n * s.y.n:  # a narrow strip, of which Pillow makes all
        _with_numpy(s, image, out)
        return
    bilinear = Image.Resampling.BILINEAR
    pixels = _planes(s, image)
    picture = Image.fromarray(pixels[..., 0] if s.planes == 1 else pixels)
    # In one call the order of the axes depends on the version.
    picture = picture.resize((s.x.n_out, s.y.n_in), bilinear)
    pixels = np.asarray(picture.resize((s.x.n_out, s.y.n_out), bilinear))
    rows, columns = (slice(a.start, a.start + a.n) for a in (s.y, s.x))
    _look_up(s, pixels.reshape(s.y.n_out, s.x.n_out, s.planes)[rows, columns], out)


def _with_numpy(s: Scaling, image: Bytes, out: Bytes) -> None:
    low, high = int(s.y.first[0]), min(int(s.y.first[-1]) + s.y.taps, s.y.n_in)
    pixels = _planes(s, image[low:high])
    if not s.x.same or s.x.n < s.x.n_in:
        pixels = _turned(_combined(s.x, _turned(pixels)))
    _look_up(s, _combined(s.y, pixels, low), out)


def _planes(s: Scaling, image: Bytes) -> Bytes:
    """[h, w, planes], contiguous."""
    if s.planes == s.shape[2]:
        return np.ascontiguousarray(image)
    if s.planes == 3:
        return np.ascontiguousarray(image[..., :3])
    r, g, b = (image[..., i].astype(np.uint32) for i in range(3))
    return ((19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16).astype(np.uint8)[..., None]


def _turned(pixels: Bytes) -> Bytes:
    """Rows and columns exchanged; a pixel is moved as a whole."""
    h, w, planes = pixels.shape
    whole = pixels.view(f"V{planes}")[..., 0]
    return np.ascontiguousarray(whole.T).view(np.uint8).reshape(w, h, planes)


def _combined(a: Axis, pixels: Bytes, skipped: int = 0) -> Bytes:
    """Results [n, ...] of the inputs [..., ...] from number ``skipped`` on."""
    rows = pixels.reshape(len(pixels), -1)
    if a.same:
        return pixels[a.start - skipped : a.start - skipped + a.n]
    out = np.empty((a.n, rows.shape[1]), np.uint8)
    block = max(1, (1 << 16) // rows.shape[1])  # sums that stay in a cache
    inner = a.halves
    for i in range(inner.start, inner.stop, block):
        j = min(i + block, inner.stop)
        p, q = int(a.first[i]) - skipped, 2 * (j - i)
        total = np.add(rows[p + 1 : p + 1 + q : 2], rows[p + 2 : p + 2 + q : 2], dtype=np.uint16)
        total *= 3
        total += rows[p : p + q : 2]
        total += rows[p + 3 : p + 3 + q : 2]
        total += 4
        total >>= 3
        out[i:j] = total
    for part in (range(inner.start), range(inner.stop, a.n)) if inner else (range(a.n),):
        for i in range(part.start, part.stop, block):
            j = min(i + block, part.stop)
            out[i:j] = _weighted(a, rows, i, j, skipped)
    return out.reshape(a.n, *pixels.shape[1:])


def _weighted(a: Axis, rows: Bytes, i: int, j: int, skipped: int) -> NDArray[np.int32]:
    total: NDArray[np.int32] = np.full((j - i, rows.shape[1]), 1 << (_BITS - 1), np.int32)
    for k in range(a.taps):
        # np.take on a 32-bit processor takes no wider index than its own.
        index = np.minimum(a.first[i:j] + (k - skipped), len(rows) - 1).astype(np.intp)
        part = rows.take(index, 0).astype(np.int32)
        part *= a.weight[i:j, k, None]
        total += part
    total >>= _BITS
    return np.minimum(total, 255, out=total)


def _look_up(s: Scaling, pixels: Bytes, out: Bytes) -> None:
    if s.flip is not None:
        np.bitwise_xor(pixels, s.flip, out=out)
        return
    for c, plane in enumerate(s.order):
        out[..., c] = s.table[c].take(pixels[..., plane])


_RUNS: dict[str, Callable[[Scaling, Bytes, Bytes], None]] = {
    "c": _with_c, "pillow": _with_pillow, "numpy": _with_numpy}


@cache
def _chosen(asked: str) -> str:
    """The implementation that the environment asks for, or the first that can be had."""
    if asked and asked not in IMPLEMENTATIONS:
        raise FalconetError(f"FALCONET_RESAMPLE={asked} is unknown; use c, pillow or numpy")
    for name in [asked] if asked else IMPLEMENTATIONS:
        try:
            _prove(name)
            return name
        except FalconetError as e:
            if asked:
                raise FalconetError(f"FALCONET_RESAMPLE={asked}: {e}; use another") from None
    raise AssertionError("numpy is always there")


def _prove(name: str) -> None:
    """Refuse an implementation that is not there, or gives other bytes than numpy."""
    if name == "c":
        kernel.library()
    elif name == "pillow":
        if importlib.util.find_spec("PIL") is None:
            raise FalconetError("Pillow is not installed")
        try:
            importlib.import_module("PIL.Image")
        except ImportError as e:
            raise FalconetError(f"Pillow cannot be imported ({e})") from None
    image = np.random.default_rng(0).integers(0, 256, (64, 46, 3), dtype=np.uint8)
    for size in ((32, 23), (19, 50)):
        theirs, ours = np.empty((2, *size, 3), np.uint8)
        s = Scaling(image.shape, size)
        _RUNS[name](s, image, theirs)
        _with_numpy(s, image, ours)
        if not np.array_equal(theirs, ours):
            raise FalconetError("it gives other bytes than numpy")


def implementation() -> str:
    """Which of :data:`IMPLEMENTATIONS` is in use."""
    return _chosen(os.environ.get("FALCONET_RESAMPLE", ""))


def _run_of(using: str | None) -> Callable[[Scaling, Bytes, Bytes], None]:
    return _RUNS[using or implementation()]


def resample(image: Bytes, height: int, width: int, using: str | None = None) -> Bytes:
    """``image`` (uint8 [h, w, 1 or 3]) scaled to [height, width, channels]."""
    out = np.empty((height, width, image.shape[2]), np.uint8)
    h, w, channels = image.shape
    Scaling((h, w, channels), (height, width))(image, out, using)
    return out
