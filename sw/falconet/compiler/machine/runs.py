"""Lists of rows or columns as steps: what one instruction can copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Run", "runs"]

_STEPS = 16  # the largest step of the output that is tried


@dataclass(frozen=True)
class Run:
    """``count`` rows of the output from ``out`` on, ``out_step`` apart, which are those of input
    ``part`` from ``at`` on, ``step`` apart; ``part`` is -1 where there is none."""

    part: int
    out: int
    out_step: int
    at: int
    step: int
    count: int

    def within(self, lo: int, hi: int) -> Run | None:
        """What of it lies in rows ``[lo, hi)`` of the output."""
        first = max(0, -(-(lo - self.out) // self.out_step))
        last = min(self.count, -(-(hi - self.out) // self.out_step))
        if first >= last:
            return None
        return Run(self.part, self.out + first * self.out_step, self.out_step,
                   self.at + first * self.step, self.step, last - first)


def runs(index: Sequence[int], sizes: Sequence[int]) -> list[Run]:
    """The fewest runs that are found for ``index`` into parts of ``sizes`` one behind the other."""
    places = np.asarray(index)
    part = np.where(places < 0, -1, np.searchsorted(np.cumsum(sizes), places, side="right"))
    at = np.where(places < 0, 0, places - np.cumsum([0, *sizes])[np.maximum(part, 0)])
    pairs = list(zip(part.tolist(), at.tolist()))
    best: list[Run] = []
    for step in range(1, min(_STEPS, len(pairs)) + 1):
        found = [run for first in range(step) for run in _greedy(pairs, first, step)]
        if not best or len(found) < len(best):
            best = found
        if len(best) <= step + 1:
            break
    return best


def _greedy(pairs: list[tuple[int, int]], first: int, step: int) -> Iterator[Run]:
    """Runs of every ``step``-th entry from ``first`` on, each as long as can be."""
    i = first
    while i < len(pairs):
        part, at = pairs[i]
        end, gap = i + step, 0
        if end < len(pairs) and pairs[end][0] == part:
            gap = pairs[end][1] - at
        while end < len(pairs) and pairs[end] == (part, at + (end - i) // step * gap):
            end += step
        yield Run(part, i, step, at, gap, (end - i) // step)
        i = end
