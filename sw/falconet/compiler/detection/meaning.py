"""What a stored value means: tables of 256 entries (docs/arithmetic.md, Detection)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Tensor
from falconet.isa import Arch
from falconet.isa.metadata.head import Head

__all__ = ["exponentials", "fit", "functions", "scores"]

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]


def _sigmoid(r: Floats) -> Floats:
    values: Floats = np.where(r < 0, np.exp(-np.abs(r)), 1.0) / (1.0 + np.exp(-np.abs(r)))
    return values


def functions(head: Head) -> tuple[Function, Function, Function]:
    """What a stored centre, size and landmark mean, in units of the anchor or of the stride."""
    (v0, v1), scale = head.variances, head.scale

    def offset(r: Floats) -> Floats:
        return r

    if head.box == "ssd":
        return lambda r: v0 * r, lambda r: _exp(v1 * r), lambda r: v0 * r
    if head.box == "linear":
        return lambda r: v0 * r, lambda r: np.maximum(v1 * r, 0), lambda r: v0 * r
    if head.box == "yolov3":
        return lambda r: scale * _sigmoid(r) - (scale - 1) / 2, _exp, offset
    if head.box == "yolo":
        return lambda r: 2 * _sigmoid(r) - 0.5, lambda r: (2 * _sigmoid(r)) ** 2, offset
    if head.box == "grid" or head.function == "exp":
        return offset, _exp, offset
    return offset, lambda r: np.maximum(r, 0), offset


def _exp(r: Floats) -> Floats:
    values: Floats = np.exp(np.minimum(r, 64.0))  # far beyond what a table holds
    return values


def _reals(t: Tensor) -> Floats:
    """The real value of every stored one, -128 first."""
    values: Floats = (np.arange(-128, 128) - t.zero_point) * np.float64(t.scale)
    return values


def scores(t: Tensor | None, *, root: bool = False) -> tuple[int, ...]:
    """The sigmoid, or its square root, in units of 2**-16."""
    if t is None:
        return ()
    top = float(1 << Arch.SCORE_BITS)
    values = _sigmoid(_reals(t))
    values = np.minimum(np.rint((np.sqrt(values) if root else values) * top), top - 1)
    return tuple([int(v) for v in values])


def exponentials(t: Tensor) -> tuple[int, ...]:
    """Entry 255 - k: that of a logit ``k`` stored steps below the largest, which has 65,535."""
    below = np.arange(255, -1, -1) * np.float64(t.scale)
    return tuple([int(v) for v in np.rint(np.exp(-below) * ((1 << 16) - 1))])


def fit(function: Function, t: Tensor | None, low: int, high: int) -> tuple[int, tuple[int, ...]]:
    """The largest shift in [1, 15] for which the function's whole table fits, and the table."""
    if t is None:
        return 1, ()
    values = function(_reals(t))
    for shift in range(15, 0, -1):
        table = np.rint(np.ldexp(values, shift))
        if shift == 1 or (table.min() >= low and table.max() <= high):
            return shift, tuple([int(v) for v in np.clip(table, low, high)])
    raise AssertionError
