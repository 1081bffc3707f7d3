"""Softmax, layer norm and RMS norm over a pixel's channels, in scalar form (docs/arithmetic.md).

Everything that ROW does to one pixel, and the constants that it needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from falconet.isa.errors import FalconetError
from falconet.isa.machine.rounding import round_half_even_shift

__all__ = [
    "EXPONENTIAL_ONE", "NORM_FRACTION", "NORM_SCALE", "Linear", "exponentials", "norm_epsilon",
    "norm_linear", "norm_stage", "reciprocal", "softmax", "softmax_scale", "standardised",
]

EXPONENTIAL_ONE = 1 << 22
"""The exponential of 0."""

NORM_FRACTION = 11
"""Fraction bits of a standardised value, the accumulator of a norm."""

NORM_SCALE = 256
"""A norm's ``scale`` is this times the number of channels."""

_SHIFT_MAX = 47
_MEAN_FRACTION = 20


def exponentials(scale: float) -> list[int]:
    """The table of a softmax whose input has ``scale``: entry ``d & 255`` is exp(d * scale)."""
    return [round(EXPONENTIAL_ONE * math.exp(-((-d) % 256) * scale)) for d in range(256)]


def softmax_scale(out_scale: float) -> tuple[int, int]:
    """ROW's ``scale`` and ``shift`` for a softmax stored with ``out_scale``.

    Raises FalconetError if that is not in [2**-12, 1].
    """
    if not 2.0**-12 <= out_scale <= 1:
        raise FalconetError(f"a softmax's scale of {out_scale:g} is not in [2**-12, 1]")
    shift = 22 + math.ceil(math.log2(out_scale)) - 1
    scale = round(2.0**shift / out_scale)
    while scale >= 1 << 22:
        shift, scale = shift - 1, round(2.0 ** (shift - 1) / out_scale)
    return scale, shift


def reciprocal(total: int, scale: int, shift: int) -> tuple[int, int]:
    """Multiplier (17 bits) and shift of the output stage that divide by ``total``.

    ``i`` is the least number with ``floor(scale * 2**i / total) >= 2**16``, or ``47 - shift`` if
    that is less; the result is that quotient and ``shift + i``.
    """
    if scale >= total:
        raise FalconetError(f"scale={scale} is not below the sum of exponentials, {total}")
    i = 0
    while (scale << i) // total < 1 << 16 and shift + i < _SHIFT_MAX:
        i += 1
    return (scale << i) // total, shift + i


def softmax(
    q: Sequence[int], *, table: Sequence[int], scale: int, shift: int, zp: int = -128,
    lo: int = -128, hi: int = 127, masked: bool = False,
) -> list[int]:
    """Softmax of the stored values of a pixel's channels, stored.

    ``table`` is :func:`exponentials`, ``scale`` and ``shift`` are :func:`softmax_scale`. With
    ``masked``, -128 is minus infinity, unless all are.
    """
    top = max(q)
    hidden = masked and top > -128
    e = [0 if hidden and v == -128 else table[(v - top) & 255] for v in q]
    mult, shift = reciprocal(sum(e), scale, shift)
    return [max(lo, min(hi, round_half_even_shift(v * mult, shift) + zp)) for v in e]


@dataclass(frozen=True)
class Linear:
    """A norm's map of a pixel: ``(a * d + b) >> shift``, ``d`` the distance from ``ref``."""

    a: int
    b: int
    shift: int

    def __call__(self, d: int) -> int:
        return (self.a * d + self.b) >> self.shift


def norm_epsilon(epsilon: float, scale: float, channels: int) -> int:
    """ROW's ``epsilon``: 2**8 * channels**2 of it, in units of the input's square.

    Raises FalconetError if that has more than 40 bits.
    """
    value = round(256 * channels**2 * epsilon / scale**2)
    if not 0 <= value < 1 << 40:
        raise FalconetError(f"an epsilon of {epsilon:g} with a scale of {scale:g} and {channels} "
                            "channels is beyond 40 bits")
    return value


def norm_linear(d: Sequence[int], *, scale: int, epsilon: int, centred: bool) -> Linear:
    """Mean and reciprocal root of the distances ``d`` as a map of a distance.

    ``centred``: layer norm, about the mean; else RMS norm. ``scale`` is NORM_SCALE times their
    number, or less.
    """
    n, total, squares = len(d), sum(d), sum(v * v for v in d)
    if scale > NORM_SCALE * n:
        raise FalconetError(f"scale={scale} is more than {NORM_SCALE} times {n} channels")
    spread = 256 * (n * squares - (total**2 if centred else 0)) + epsilon
    coarse = next((j for j in range(5) if spread << 8 * j >> 40), 5)
    root = math.isqrt(spread << 8 * coarse)
    for shift in (0, 4, 8, 12):
        bits = shift + 4 * coarse + 7
        a = (scale << bits) // root if root else (1 << 17) - 1
        if a >= 1 << 13:
            break
    half = 1 << shift >> 1
    if not centred:
        return Linear(a, half, shift)
    mean = (abs(total) << _MEAN_FRACTION) // n
    offset = (a * mean + (1 << _MEAN_FRACTION - 1)) >> _MEAN_FRACTION
    return Linear(a, half + (offset if total < 0 else -offset), shift)


def standardised(
    q: Sequence[int], *, ref: int, scale: int, epsilon: int, centred: bool,
) -> list[int]:
    """A norm's accumulators, ``(q - mean) / root`` with NORM_FRACTION fraction bits.

    ``ref`` is the input's zero point; of a layer norm it may be any value.
    """
    d = [v - ref for v in q]
    linear = norm_linear(d, scale=scale, epsilon=epsilon, centred=centred)
    return [linear(v) for v in d]


def norm_stage(gamma: float, beta: float, out_scale: float, *, acc_bits: int = 25,
               mult_bits: int = 17) -> tuple[int, int, int]:
    """A channel's ``(bias, mult, shift)`` in the output stage behind a norm.

    ``mult`` has the sign of ``gamma``. A ``gamma`` too small beside ``beta`` for the bias to fit is
    taken as large as that needs: the result differs by ``beta * z / 2**11`` at most.
    """
    unit = 1 << NORM_FRACTION
    most = (1 << acc_bits - 2) // unit
    if abs(beta) > most * abs(gamma):
        gamma = math.copysign(abs(beta) / most, gamma)
    if gamma == 0:
        return 0, 0, 0
    real = abs(gamma) / out_scale / unit
    shift = min(_SHIFT_MAX, mult_bits - 1 - math.floor(math.log2(real)))
    mult = round(real * 2.0**shift)
    if mult == 1 << mult_bits:
        shift, mult = shift - 1, mult // 2
    if shift < 0:
        raise FalconetError(f"a gamma of {gamma:g} is too large for a scale of {out_scale:g}")
    return round(beta / gamma * unit), int(math.copysign(mult, gamma)), shift
