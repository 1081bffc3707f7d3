"""Values in another order: what reshapes, transposes and slices make of a tensor, symbolically.

Each dimension of a value is a list of vectors, the last one running fastest, of offsets into the
flat tensor [C, H, W] that it is made of: the offset of an element is the sum of those of its
indices. So no operator that only renames places has to move anything, and no list is as long as
the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Shape

__all__ = ["Dims", "flat", "indexed", "natural", "reshaped", "shape_of", "whole"]

Array = NDArray[np.int64]
Dims = tuple[tuple[Array, ...], ...]

_LONGEST = 1 << 16
"""Offsets of one dimension that is cut or split where its vectors do not end."""


def whole(shape: Shape) -> Dims:
    """A tensor in its own order, as [1, C, H, W]."""
    c, h, w = shape
    return ((np.zeros(1, np.int64),), (np.arange(c) * h * w,), (np.arange(h) * w,),
            (np.arange(w),))


def shape_of(dims: Dims) -> list[int]:
    return [int(np.prod([len(v) for v in d], dtype=np.int64)) for d in dims]


def flat(dim: Sequence[Array], most: int = _LONGEST) -> Array | None:
    """The vectors of a dimension as one; None if it is longer than ``most``."""
    if np.prod([len(v) for v in dim], dtype=np.float64) > most:
        return None
    found = np.zeros(1, np.int64)
    for v in dim:
        found = (found[:, None] + v).reshape(-1)
    return found


def natural(dims: Dims, size: int) -> bool:
    """Whether the values are all of the tensor, which has ``size``, in its order."""
    step = 1
    for v in reversed([v for d in dims for v in d]):
        if not np.array_equal(v, np.arange(len(v)) * step):
            return False
        step *= len(v)
    return step == size


def indexed(dims: Dims, axis: int, index: Array) -> Dims | None:
    """Some places along an axis; an index without dimensions drops the axis."""
    along = flat(dims[axis])
    if along is None:
        return None
    found = along[index]
    if index.ndim:
        return (*dims[:axis], (found,), *dims[axis + 1:])
    rest = [*dims[:axis], *dims[axis + 1:]] or [(np.zeros(1, np.int64),)]
    rest[0] = (found.reshape(1), *rest[0])
    return tuple(rest)


def reshaped(dims: Dims, shape: Sequence[int]) -> Dims | None:
    """The same values in the same order as ``shape``; None if no vectors say so, or there are more
    or fewer of them."""
    if math.prod(shape) != math.prod(len(v) for d in dims for v in d):
        return None
    left = [v for d in dims for v in d][::-1]
    found: list[tuple[Array, ...]] = []
    for size in shape:
        dim: list[Array] = []
        count = 1
        while count < size or (left and len(left[-1]) == 1):
            v = left.pop()
            need = size // count
            parts = _split(v, need) if len(v) > need else (v,)
            while parts is None or count * len(parts[0]) > size or size % (count * len(parts[0])):
                merged = flat([v, left.pop()]) if left else None
                if merged is None:
                    return None
                v = merged
                parts = _split(v, need) if len(v) > need else (v,)
            dim.append(parts[0])
            left += parts[1:]
            count *= len(parts[0])
        found.append(tuple(dim) or (np.zeros(1, np.int64),))
    return tuple(found)


def _split(v: Array, outer: int) -> tuple[Array, Array] | None:
    """``v`` as the sum of a slow vector of ``outer`` entries and a fast one."""
    if len(v) % outer:
        return None
    table = v.reshape(outer, -1)
    slow, fast = table[:, 0], table[0] - table[0, 0]
    return (slow, fast) if np.array_equal(table, slow[:, None] + fast) else None
