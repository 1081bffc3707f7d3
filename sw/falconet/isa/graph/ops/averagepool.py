from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from falconet.isa.graph.operator import Consts, Cost
from falconet.isa.graph.stage import STAGE, Staged
from falconet.isa.graph.tensor import HI, LO, Range, Shape
from falconet.isa.graph.windowed import Windowed
from falconet.isa.machine.instructions import Window

__all__ = ["AveragePool"]

_BY_PIXEL = ("mult", "mult_neg", "shift")


@dataclass(frozen=True)
class AveragePool(Staged, Windowed):
    """The sum of a window times a multiplier of the pixel: where padding is not counted.

    ``pad`` is the zero point of the input, so that what lies outside adds nothing. Rows and columns
    of the output whose multipliers are those of others are computed with these.
    """

    op = "averagepool"
    fuses = False
    constants = tuple(replace(c, shape=("H", "W")) if c.name in _BY_PIXEL else c for c in STAGE)
    onnx = ("AveragePool",)
    costs = (Cost(Window, "kx > taps, nothing outside", "OB * (V + H * W * ky * kx)"),)
    limits = ("The parameters of all kinds of borders fit the vector engine's memory.",)

    def sums(self) -> Range:
        n = self.kernel[0] * self.kernel[1]
        return n * LO, n * HI

    def sizes(self, inputs: Sequence[Shape], consts: Consts) -> dict[str, int]:
        _, h, w = self.shape(inputs, consts)
        return {**super().sizes(inputs, consts), "H": h, "W": w}
