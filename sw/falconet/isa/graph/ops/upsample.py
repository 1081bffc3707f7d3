from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from falconet.isa.graph.attribute import number
from falconet.isa.graph.operator import Consts, Cost, Operator
from falconet.isa.graph.tensor import Shape
from falconet.isa.machine.instructions import Elementwise

__all__ = ["Upsample"]

_MOST = Elementwise.field("n_y").hi


@dataclass(frozen=True)
class Upsample(Operator):
    """Every pixel ``fy`` times below and ``fx`` times beside itself."""

    op = "upsample"
    onnx = ("Resize", "Upsample")
    costs = (Cost(Elementwise, "", "fy * fx * OB * (V + H / fy * W / fx)"),)

    fy: int = number("rows for one", (1, _MOST), 1)
    fx: int = number("columns for one", (1, _MOST), 1)

    def shape(self, inputs: Sequence[Shape], consts: Consts) -> Shape:
        c, h, w = inputs[0]
        return c, h * self.fy, w * self.fx

    def idle(self, inputs: Sequence[Shape]) -> bool:
        return self.fy == self.fx == 1
