"""Outputs between the rows of an axis: which of them have the same weights, and what they read."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

__all__ = ["Phase", "phases"]


@dataclass(frozen=True)
class Phase:
    """Outputs ``first``, ``first + step`` ..., ``count`` of them: ``weights`` times as many rows of
    the input from ``row`` on, for the next output ``stride`` rows further."""

    first: int
    step: int
    count: int
    row: int
    stride: int
    weights: tuple[int, ...]


def phases(side: int, size: int, step: int, first: int, unit: int) -> list[Phase]:
    """Of an axis of ``side`` rows; output o lies at ``(o * step + first) / unit``.

    Where the image ends all outputs are one phase, whose only row is the last one.
    """
    end = (side - 1) * unit
    at = [o * step + first for o in range(size)]
    found = []
    for row, outside in ((0, [o for o, p in enumerate(at) if p <= 0]),
                         (side - 1, [o for o, p in enumerate(at) if p >= end and p > 0])):
        if outside:
            found.append(Phase(outside[0], 1, len(outside), row, 0, (unit,)))
    inside = [o for o, p in enumerate(at) if 0 < p < end]
    period = unit // gcd(step, unit)
    for o in inside[:period]:
        row, rest = divmod(at[o], unit)
        count = len(range(o, inside[-1] + 1, period))
        found.append(Phase(o, period, count, row, period * step // unit,
                           (unit - rest, rest) if rest else (unit,)))
    return found
