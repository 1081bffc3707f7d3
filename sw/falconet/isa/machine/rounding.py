"""The arithmetic contract in scalar form (docs/arithmetic.md). Everything else is tested on it."""

from __future__ import annotations

__all__ = ["output_stage", "pack_pair", "round_half_even_shift", "unpack_pair"]


def round_half_even_shift(value: int, shift: int) -> int:
    """``value / 2**shift`` rounded to the nearest integer, ties to the even one.

    >>> [round_half_even_shift(v, 1) for v in (-5, -3, -1, 1, 3, 5)]
    [-2, -2, 0, 0, 2, 2]
    """
    if shift == 0:
        return value
    floor = value >> shift
    rest = value - (floor << shift)
    half = 1 << (shift - 1)
    return floor + (rest > half or (rest == half and floor & 1 == 1))


def output_stage(
    acc: int,
    *,
    bias: int,
    mult: int,
    mult_neg: int,
    shift: int,
    zp: int,
    lo: int,
    hi: int,
    table: list[int] | None = None,
) -> int:
    """What both engines do to an accumulator: bias, requantise, clamp, look up.

    ``v = acc + bias``; ``m = mult_neg if v < 0 else mult``;
    ``q = clamp(round_half_even(v * m / 2**shift) + zp, lo, hi)``; the result is ``q``, or
    ``table[q + 128]`` where the instruction asks for the table.
    """
    v = acc + bias
    q = round_half_even_shift(v * (mult_neg if v < 0 else mult), shift) + zp
    q = max(lo, min(hi, q))
    return q if table is None else table[q + 128]


def pack_pair(w0: int, w1: int) -> tuple[int, int]:
    """The two bytes that memory holds for the weights ``w0, w1`` in [-127, 127].

    Two products share one multiplier: ``x * (w0 + 2**17 * w1)``. Written as one 25-bit number the
    sign of ``w0`` borrows from ``w1``; the borrow is paid here, once, so that the hardware needs
    only wires: bits 0-7 are the first byte, bits 8-16 its sign, bits 17-24 the second byte.
    """
    return w0, w1 - (w0 < 0)


def unpack_pair(b0: int, b1: int) -> tuple[int, int]:
    """Inverse of :func:`pack_pair`."""
    return b0, b1 + (b0 < 0)
