"""Real scales as integers: multipliers, shifts and coefficients (docs/arithmetic.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from falconet.isa import Arch, FalconetError
from falconet.isa.graph.ops.eltwise import COEF_MAX

__all__ = ["COEF_MAX", "Requant", "identity", "requantise", "weighted_sum"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Requant:
    """Multipliers (uint32) and shifts (uint8), one per channel: real scale = mult / 2**shift."""

    mult: NDArray[np.uint32]
    mult_neg: NDArray[np.uint32]
    shift: NDArray[np.uint8]

    def consts(self) -> dict[str, NDArray[Any]]:
        return {"mult": self.mult, "mult_neg": self.mult_neg, "shift": self.shift}


def identity(channels: int, *, bits: int = 17) -> Requant:
    """Multiplication by exactly 1, with a multiplier of ``bits`` bits."""
    one = np.full(channels, 1 << (bits - 1), np.uint32)
    return Requant(one, one.copy(), np.full(channels, bits - 1, np.uint8))


def requantise(scale: ArrayLike, alpha: ArrayLike = 1.0, *, bits: int = 17) -> Requant:
    """``scale`` per channel as a multiplier of ``bits`` bits and a shift.

    ``mult_neg`` is ``alpha * scale`` over the same shift; the larger of the two is normalised to
    ``2**(bits - 1) <= m < 2**bits`` and both are rounded to nearest. A scale too small for
    ``Arch.SHIFT_MAX`` gets a smaller multiplier, down to 0.

    Raises
    ------
    FalconetError
        for a scale of ``2**bits`` or more, and for a negative or infinite one.
    """
    pos = np.atleast_1d(np.asarray(scale, np.float64))
    neg = pos * np.asarray(alpha, np.float64)
    top = np.maximum(pos, neg)
    if not np.all(np.isfinite(top)) or np.any(pos < 0) or np.any(neg < 0):
        raise FalconetError("a requantisation scale is negative or not finite; quantise again")
    _, exponent = np.frexp(top)
    exponent += np.rint(np.ldexp(top, bits - exponent)) >= 1 << bits
    shift = np.minimum(bits - exponent, Arch.SHIFT_MAX)
    shift[top == 0] = 0
    if np.any(shift < 0):
        raise FalconetError(
            f"requantisation scale {top.max():.3g} is 2**{bits} or more; quantise again with "
            "representative images"
        )
    return Requant(np.rint(np.ldexp(pos, shift)).astype(np.uint32),
                   np.rint(np.ldexp(neg, shift)).astype(np.uint32), shift.astype(np.uint8))


def weighted_sum(
    ratios: Floats, zero_points: list[int], offset: Floats, arch: Arch
) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats]:
    """Coefficients of ``sum over s of ratios[s, c] * (x[s, c] - zero_points[s]) + offset[c]``.

    Of all normalised integers for the largest coefficient that keep the accumulator within
    ``arch.acc_bits``, the one is taken that meets the ratios best, the multiplier's own rounding
    included: about 2**-24 instead of 2**-16, and exact for powers of two.

    Parameters
    ----------
    ratios:
        [n_src, C], input scale x gain / output scale.
    offset:
        [C], in steps of the output.

    Returns
    -------
    coef:
        int32 [n_src, C]
    bias:
        int32 [C], zero points folded in
    scale:
        [C], what remains for the output stage, to be given to :func:`requantise`
    """
    same = bool(np.all(ratios == ratios[:, :1]) and np.all(offset == offset[0]))
    n = ratios.shape[1]
    channels = [
        _channel(ratios[:, c], zero_points, float(offset[c]), arch) for c in range(1 if same else n)
    ] * (n if same else 1)
    return (np.array([c for c, _, _ in channels], np.int32).T.copy(),
            np.array([b for _, b, _ in channels], np.int32),
            np.array([s for _, _, s in channels], np.float64))


def _channel(
    r: Floats, zero_points: list[int], offset: float, arch: Arch
) -> tuple[list[int], int, float]:
    """Coefficients, bias and remaining scale of one channel."""
    big = float(np.max(np.abs(r)))
    if big == 0.0:
        return [0] * len(r), int(np.clip(np.rint(offset * 2**8), -(1 << 16), 1 << 16)), 2.0**-8
    reach = sum(abs(v) / big * max(128, 128 + abs(z)) for v, z in zip(r, zero_points))
    limit = ((1 << (arch.acc_bits - 1)) - 1) / (reach + abs(offset) / big) - len(r)
    top = min(COEF_MAX, int(limit))
    if top < 1:
        raise FalconetError("an addend is too large for the scale of its sum; quantise again")
    lead = np.arange(top // 2 + 1, top + 1)
    coef = np.rint(lead / big * r[:, None])
    mult = big / lead
    # The multiplier that requantise() will make of it, and the scales that really come out.
    _, exponent = np.frexp(mult)
    shift = np.minimum(arch.mult_bits - exponent, Arch.SHIFT_MAX)
    real = np.ldexp(np.rint(np.ldexp(mult, shift)), -shift) * coef
    error = np.max(np.abs(real - r[:, None]), axis=0)
    best = int(np.argmin(error))
    c = [int(v) for v in coef[:, best]]
    bias = round(offset / big * float(lead[best])) - sum(a * z for a, z in zip(c, zero_points))
    return c, bias, float(mult[best])
