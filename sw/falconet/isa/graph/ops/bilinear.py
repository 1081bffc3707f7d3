from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from falconet.isa.graph.attribute import numbers
from falconet.isa.graph.operator import Consts, Cost, Fault
from falconet.isa.graph.stage import Staged
from falconet.isa.graph.tensor import HI, LO, Range, Shape
from falconet.isa.machine.instructions import Window

__all__ = ["LARGEST", "Bilinear"]

_FAR = 1 << 24
_SIDE = 1, Window.field("n_y").hi

LARGEST = 127
"""Of a weight: the product of both units, where the image ends on both axes."""


@dataclass(frozen=True)
class Bilinear(Staged):
    """Between neighbouring rows and columns at once: an exact sum of four pixels.

    Each axis as interpolate has it; a weight is the product of a row's and a column's.
    """

    op = "bilinear"
    fuses = False
    onnx = ("Resize", "Upsample")
    costs = (Cost(Window, "one part", "OB * (V + H * (W + 1) * 2)"),)
    limits = (
        "The product of both units is at most 127, the largest weight; else there are two "
        "operations of one axis each.",
        "The weights of all pairs of phases fit the vector engine's memory.",
    )

    size: tuple[int, int] = numbers("rows and columns of the output", _SIDE, _SIDE, default=(1, 1))
    step: tuple[int, int] = numbers("from one output row to the next, and column", (0, _FAR),
                                    (0, _FAR), default=(1, 1))
    first: tuple[int, int] = numbers("where the first one lies", (-_FAR, _FAR), (-_FAR, _FAR),
                                     default=(0, 0))
    unit: tuple[int, int] = numbers("that many are one row, or column, of the input", (1, LARGEST),
                                    (1, LARGEST), default=(1, 1))

    def sums(self) -> Range:
        n = self.unit[0] * self.unit[1]
        return n * LO, n * HI

    def shape(self, inputs: Sequence[Shape], consts: Consts) -> Shape:
        return inputs[0][0], *self.size

    def mismatches(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        if self.unit[0] * self.unit[1] > LARGEST:
            yield Fault("attrs.unit", f"units of {self.unit[0]} and {self.unit[1]} make weights "
                                      f"beyond {LARGEST}; use one axis after the other")
        yield from super().mismatches(inputs, consts)
