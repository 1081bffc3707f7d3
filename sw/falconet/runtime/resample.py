"""Bilinear resampling of photographs with numpy alone.

Equal to Pillow's to the last bit, if that is asked for one axis at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["resample"]

_BITS = 22  # of fraction in a coefficient: 255 * 2**22 fits an int32


def _taps(n_in: int, n_out: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Source indices and coefficients [n_out, taps] of a triangle filter.

    The triangle is one source pixel wide to each side, or one target pixel if that is wider, so
    that shrinking averages. A row of coefficients sums to ``2**22`` (but for their rounding).
    """
    scale = n_in / n_out
    support = max(scale, 1.0)
    centre = (np.arange(n_out) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.intp), 0)
    last = np.minimum((centre + support + 0.5).astype(np.intp), n_in)
    index = first[:, None] + np.arange(int((last - first).max()))
    weight = np.maximum(1 - np.abs((index - centre[:, None] + 0.5) / support), 0)
    weight[index >= last[:, None]] = 0
    weight /= weight.sum(1, keepdims=True)
    # np.take on a 32-bit processor takes no wider index than its own.
    index = np.minimum(index, n_in - 1).astype(np.intp)
    return index, (weight * (1 << _BITS) + 0.5).astype(np.int32)


def _along(image: NDArray[np.uint8], axis: int, size: int) -> NDArray[np.uint8]:
    if image.shape[axis] == size:
        return image
    index, weight = _taps(image.shape[axis], size)
    shape = list(image.shape)
    shape[axis] = size
    total: NDArray[Any] = np.full(shape, 1 << (_BITS - 1), np.int32)
    column = [1] * image.ndim
    column[axis] = size
    for k in range(index.shape[1]):
        total += np.take(image, index[:, k], axis) * weight[:, k].reshape(column)
    out: NDArray[np.uint8] = np.clip(total >> _BITS, 0, 255).astype(np.uint8)
    return out


def resample(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """``image`` (uint8 [h, w, C]) scaled to [height, width, C], first along x, then along y."""
    return _along(_along(image, 1, width), 0, height)
