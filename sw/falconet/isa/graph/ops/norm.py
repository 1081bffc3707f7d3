from __future__ import annotations

from dataclasses import dataclass

from falconet.isa.graph.attribute import flag, number
from falconet.isa.graph.operator import Constant, Cost
from falconet.isa.graph.row import Row
from falconet.isa.graph.stage import TABLE
from falconet.isa.graph.tensor import HI, LO
from falconet.isa.machine import instructions
from falconet.isa.machine.arch import Arch

__all__ = ["Norm"]

_BIAS = 1 << Arch.acc_bits - 2  # an accumulator has 18 bits at most
_MULT = 1 << Arch.mult_bits


@dataclass(frozen=True)
class Norm(Row):
    """Layer norm, or RMS norm, over the channels of each pixel (docs/arithmetic.md).

    What a channel differs from the mean by, over the root of the variance plus ``epsilon``; or what
    it is, zero point taken off, over the root of the mean square. That is the accumulator, with 11
    fraction bits, of an output stage whose multiplier has a sign.
    """

    op = "norm"
    constants = (
        Constant("gamma", "int32", ("C",), "multiplier of the output stage", 1 - _MULT, _MULT - 1),
        Constant("bias", "int32", ("C",), "added to the accumulator", -_BIAS, _BIAS),
        Constant("shift", "uint8", ("C",), "bits that the product is shifted by", 0,
                 Arch.SHIFT_MAX),
        TABLE,
    )
    onnx = ("LayerNormalization", "RMSNormalization")
    costs = (Cost(instructions.Row, "", "8 * OB + 166 + (H * W - 1) * max(8 * OB, 107)"),)
    limits = ("The parameters of all channels fit the vector engine's memory: 16 bytes each.",)

    rms: bool = flag("RMS norm")
    zero_in: int = number("zero point of the input; of a layer norm it may be any value", (LO, HI),
                          0)
    epsilon: int = number("what is added to the variance, times 2^8, the square of the number of "
                          "channels and over that of the input's scale",
                          (0, instructions.Row.field("epsilon").hi), 0)
