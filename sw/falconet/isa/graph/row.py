"""Operators over the channels of each pixel, with an output of their own scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from falconet.isa.graph.attribute import number
from falconet.isa.graph.operator import Consts, Fault, Operator
from falconet.isa.graph.stage import reached
from falconet.isa.graph.tensor import HI, LO, Range, Shape
from falconet.isa.machine import instructions

__all__ = ["CHANNELS", "Row"]

CHANNELS = instructions.Row.field("n_channels").hi
"""Most of a pixel."""


@dataclass(frozen=True)
class Row(Operator):
    """Statistics of all channels of a pixel, and what each channel is in proportion to them."""

    moves: ClassVar[bool] = False

    zp: int = number("zero point of the output", (LO, HI), 0)
    lo: int = number("clamp from below, before the table", (LO, HI), LO)
    hi: int = number("clamp from above, before the table", (LO, HI), HI)

    def steps(self, inputs: Sequence[Shape], consts: Consts) -> int:
        return 2 * super().steps(inputs, consts)

    def reach(self, inputs: Sequence[Range], table: Sequence[int] | None) -> Range:
        return reached(self.lo, self.hi, table)

    def mismatches(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        if self.lo > self.hi:
            yield Fault("attrs.lo", f"lo {self.lo} and hi {self.hi} are no range; quantise again")
        if inputs[0][0] > CHANNELS:
            yield Fault("inputs", f"{inputs[0][0]} channels; use at most {CHANNELS}")
        yield from super().mismatches(inputs, consts)
