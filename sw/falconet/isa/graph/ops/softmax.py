from __future__ import annotations

from dataclasses import dataclass

from falconet.isa.graph.attribute import flag, number
from falconet.isa.graph.operator import Constant, Cost
from falconet.isa.graph.row import Row
from falconet.isa.graph.stage import TABLE
from falconet.isa.machine import instructions
from falconet.isa.machine.arch import Arch

__all__ = ["EXPONENTIAL_BITS", "Softmax"]

EXPONENTIAL_BITS = 23
"""Of an exponential."""

_SCALE = instructions.Row.field("scale").hi


@dataclass(frozen=True)
class Softmax(Row):
    """The softmax over the channels of each pixel (docs/arithmetic.md).

    With ``masked`` a stored -128 weighs nothing; where there is nothing else, all channels have the
    same share.
    """

    op = "softmax"
    constants = (
        Constant("exponential", "uint32", (256,), "of a difference `q - max` of stored values, by "
                 "its low 8 bits; the first one is above `scale`", 0, (1 << EXPONENTIAL_BITS) - 1),
        TABLE,
    )
    onnx = ("Softmax", "Where")
    costs = (Cost(instructions.Row, "",
                  "12 * OB + 98 + (H * W - 1) * max(12 * OB, 8 * OB + 46)"),)

    scale: int = number("numerator: `scale / 2^shift` is 1 over the output's scale", (1, _SCALE), 1)
    shift: int = number("see `scale`", (0, Arch.SHIFT_MAX), 0)
    masked: bool = flag("a stored -128 stands for minus infinity")
