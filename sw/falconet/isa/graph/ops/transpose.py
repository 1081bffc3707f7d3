from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from falconet.isa.graph.operator import Consts, Cost, Operator
from falconet.isa.graph.ops.matmul import LEAST
from falconet.isa.graph.tensor import Range, Shape
from falconet.isa.machine.instructions import Mac

__all__ = ["Transpose"]


@dataclass(frozen=True)
class Transpose(Operator):
    """Pixels become channels, counted row by row, and channels one row of pixels.

    The machine multiplies the identity by it: a stored -128 becomes -127.
    """

    op = "transpose"
    onnx = ("Transpose",)
    costs = (Cost(Mac, "", "OB * max(9, P + W * IB * S)"),)
    limits = ("It goes through DDR, as the second input of a matmul.",)

    def channels(self, inputs: Sequence[Shape], consts: Consts) -> int:
        return inputs[0][1] * inputs[0][2]

    def shape(self, inputs: Sequence[Shape], consts: Consts) -> Shape:
        c, h, w = inputs[0]
        return h * w, 1, c

    def reach(self, inputs: Sequence[Range], table: Sequence[int] | None) -> Range:
        lo, hi = inputs[0]
        return max(lo, LEAST), max(hi, LEAST)
