"""How the taps of the vector engine pass along a row of a depthwise convolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from falconet.compiler.machine.place import Array
from falconet.isa import Window

__all__ = ["Slide", "slide_of"]

_MOST = Window.field("n_x").hi


@dataclass(frozen=True)
class Slide:
    """A row of the kernel as ``words`` tap words, each at every step of the chain.

    Step ``i`` reads column ``i * pace + j * apart`` of the input for word ``j``. From step
    ``reach - 1`` on an output is complete after ``every`` steps: tap ``t`` of word ``j`` holds
    column ``(t - taps + reach) * pace + j * apart`` of the kernel.
    """

    words: int
    apart: int
    pace: int
    reach: int
    every: int

    def steps(self, width: int) -> int:
        """Of the chain, for ``width`` outputs."""
        return (width - 1) * self.every + self.reach

    def taps(self, rows: Array, taps: int) -> Array:
        """Weights [ky, kx, lanes] as tap words [ky * words, taps, lanes]."""
        ky, kx, lanes = rows.shape
        found = np.zeros((ky, self.words, taps, lanes), rows.dtype)
        for j in range(self.words):
            for t in range(self.reach):
                column = t * self.pace + j * self.apart
                if column < kx:
                    found[:, j, taps - self.reach + t] = rows[:, column]
        return found.reshape(-1, taps, lanes)


def slide_of(kernel: int, stride: int, width: int, taps: int) -> Slide | None:
    """The least work for a kernel of this width without dilation; None: column by column.

    A kernel of at most ``taps`` columns is one word. A wider one is several, ``taps`` columns
    apart, or, where it moves on by more than a column, one for each column of its stride.
    """
    phases = -(-kernel // stride)
    if kernel <= taps:
        found = Slide(1, 1, 1, kernel, stride)
        fewer = 1 < kernel and stride < kernel
    elif stride > 1 and phases <= taps:
        found = Slide(stride, 1, stride, phases, 1)
        fewer = found.words * found.steps(width) < kernel * width
    else:
        found = Slide(-(-kernel // taps), taps, 1, taps, stride)
        fewer = found.words * found.steps(width) < kernel * width
    return found if fewer and found.steps(width) <= _MOST else None
