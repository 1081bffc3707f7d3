"""The output stage that most operators end in (docs/arithmetic.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from falconet.isa.graph.attribute import number
from falconet.isa.graph.operator import Constant, Consts, Fault, Operator
from falconet.isa.graph.tensor import HI, LO, Range, Shape
from falconet.isa.machine.arch import Arch

__all__ = ["STAGE", "Staged"]

_WORD = 1 << 32

STAGE = (
    Constant("bias", "int32", ("O",), "added to the accumulator; the inputs' zero points are "
             "folded in", -_WORD // 2, _WORD // 2 - 1),
    Constant("mult", "uint32", ("O",), "multiplier; `mult_bits` bits at most", 0, _WORD - 1),
    Constant("mult_neg", "uint32", ("O",), "multiplier of sums below 0", 0, _WORD - 1),
    Constant("shift", "uint8", ("O",), "bits that the product is shifted by", 0, Arch.SHIFT_MAX),
    Constant("table", "int8", (HI - LO + 1,), "of the result, by the clamped value + 128", LO, HI,
             optional=True),
)
"""Its constants."""


@dataclass(frozen=True)
class Staged(Operator):
    """An exact accumulator over stored values, and what is stored of it."""

    staged: ClassVar[bool] = True
    fuses: ClassVar[bool] = True
    constants: ClassVar[tuple[Constant, ...]] = STAGE

    zp: int = number("zero point of the output", (LO, HI), 0)
    lo: int = number("clamp from below, before the table", (LO, HI), LO)
    hi: int = number("clamp from above, before the table", (LO, HI), HI)

    def reach(self, inputs: Sequence[Range], table: Sequence[int] | None) -> Range:
        if table is None:
            return self.lo, self.hi
        reached = [int(v) for v in table[self.lo - LO:self.hi - LO + 1]]
        return min(reached), max(reached)

    def mismatches(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        if self.lo > self.hi:
            yield Fault("attrs.lo", f"lo {self.lo} and hi {self.hi} are no range; quantise again")
        yield from super().mismatches(inputs, consts)
