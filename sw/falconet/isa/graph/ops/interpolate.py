from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from falconet.isa.graph.attribute import flag, number
from falconet.isa.graph.operator import Consts, Cost
from falconet.isa.graph.stage import Staged
from falconet.isa.graph.tensor import HI, LO, Range, Shape
from falconet.isa.machine.instructions import Elementwise

__all__ = ["Interpolate"]

_FAR = 1 << 24


@dataclass(frozen=True)
class Interpolate(Staged):
    """Between neighbouring rows, or columns: linear, or the nearest of those that come before.

    Output row o lies at row ``(o * step + first) / unit`` of the input, inside the image. Where
    that is ``n + f / unit``, the accumulator is ``(unit - f) * x[n] + f * x[n + 1]``; with
    ``nearest`` it is x[n].
    """

    op = "interpolate"
    fuses = False
    onnx = ("Resize", "Upsample")
    costs = (Cost(Elementwise, "one part", "OB * (V + H * W * 2)"),)
    limits = (
        "One operation an axis, one part a phase: the parameters of phases of different weights "
        "fit the vector engine's memory.",
    )

    size: int = number("rows (columns) of the output", (1, Elementwise.field("n_y").hi), 1)
    step: int = number("from one output row to the next", (0, _FAR), 1)
    first: int = number("where the first one lies", (-_FAR, _FAR), 0)
    unit: int = number("that many are one row of the input", (1, (1 << 16) - 1), 1)
    columns: bool = flag("along columns, not rows")
    nearest: bool = flag("no weights")

    def sums(self) -> Range:
        n = 1 if self.nearest else self.unit
        return n * LO, n * HI

    def shape(self, inputs: Sequence[Shape], consts: Consts) -> Shape:
        c, h, w = inputs[0]
        return (c, h, self.size) if self.columns else (c, self.size, w)
