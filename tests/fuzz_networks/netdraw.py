"""What both kinds of networks draw: shapes, channels, windows, inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from falconet.isa import Arch

T = TypeVar("T")


@dataclass(frozen=True)
class Axis:
    """One direction of a window."""

    kernel: int
    stride: int
    dilation: int
    pads: tuple[int, int]

    def size(self, size: int) -> int:
        """Of the output."""
        reach = self.dilation * (self.kernel - 1) + 1
        return (size + sum(self.pads) - reach) // self.stride + 1


class Draw:
    """Choices of hypothesis; the first of a list is what a failing case shrinks to."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw

    def pick(self, options: Sequence[T]) -> T:
        return self._draw(st.sampled_from(options))  # type: ignore[no-any-return]

    def number(self, least: int, most: int) -> int:
        return int(self._draw(st.integers(least, most)))

    def chance(self, percent: int) -> bool:
        return self.number(0, 99) >= 100 - percent

    def random(self) -> np.random.Generator:
        """For what is too much to be drawn one by one: weights and pictures."""
        return np.random.default_rng(self.number(0, 2**32 - 1))

    def channels(self, arch: Arch) -> int:
        n = arch.lanes
        kind = self.pick(("few", "few", "edge", "many"))
        if kind == "few":
            return self.number(1, 2 * n + 4)
        if kind == "edge":
            return self.pick((n, n - 1, n + 1, 2 * n, 2 * n + 1, 3 * n - 1))
        return self.number(2 * n, 9 * n)

    def size(self, arch: Arch, *, large: bool) -> tuple[int, int]:
        """Height and width; ``large``: one block is a good part of the scratchpad."""
        if large:
            most = math.isqrt(arch.scratchpad_words // 2)
            return self.number(most // 2, most), self.number(most // 2, most)
        kind = self.pick(("any", "any", "any", "any", "dot", "row", "column"))
        if kind == "any":
            return self.number(2, 14), self.number(2, 14)
        if kind == "dot":
            return 1, 1
        long = self.pick((2, 3, 9, 17, 64, 131))
        return (1, long) if kind == "row" else (long, 1)

    def axis(self, size: int, *, inside: bool = False) -> Axis:
        """A window that fits; ``inside``: pads are less than the kernel, as onnxruntime wants."""
        kernel = self.pick((1, 3, 3, 2, 4, 5, 7, 0)) or self.number(6, 31)
        dilation = self.pick((1, 1, 1, 1, 2, 3, 0)) or self.number(2, 63)
        stride = self.pick((1, 1, 1, 2, 2, 3, 0)) or self.number(4, 15)
        if dilation * (kernel - 1) + 1 > size + 8:
            dilation = max(1, (size - 1) // max(1, kernel - 1))
            kernel = min(kernel, size + 2)
        reach = dilation * (kernel - 1) + 1
        kind = self.pick(("same", "same", "none", "any", "beyond"))
        most = kernel - 1 if inside else reach - 1
        before = after = min(most, (reach - 1) // 2)
        if kind == "none":
            before = after = 0
        elif kind != "same":
            more = 0 if inside or kind == "any" else 4
            before, after = self.number(0, most + more), self.number(0, most + more)
        lacking = reach - size - before - after
        if lacking > 0 and not inside:
            after += lacking
        elif lacking > 0:
            return Axis(1, stride, 1, (0, 0))
        return Axis(kernel, stride, dilation, (before, after))

    def picture(self, shape: tuple[int, int, int]) -> NDArray[np.int8]:
        """An input of a network, values at both ends more often than not."""
        random = self.random()
        kind = self.pick(("any", "any", "ends", "least", "most"))
        values = random.integers(-128, 128, shape)
        if kind == "ends":
            values = random.choice([-128, 127], shape)
        elif kind in ("least", "most"):
            end = -128 if kind == "least" else 127
            values = np.where(random.random(shape) < 0.9, end, values)
        return values.astype(np.int8)
