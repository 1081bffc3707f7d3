from __future__ import annotations

from dataclasses import dataclass

from falconet.isa.graph.attribute import flag
from falconet.isa.graph.operator import Constant
from falconet.isa.graph.row import Row
from falconet.isa.machine.arch import Arch

__all__ = ["EXPONENTIAL_BITS", "Softmax"]

EXPONENTIAL_BITS = 23
"""Of an exponential."""


@dataclass(frozen=True)
class Softmax(Row):
    """The softmax over the channels of each pixel (docs/arithmetic.md).

    An input that lies ``d`` below the pixel's largest weighs ``exponential[d]``. With ``masked`` a
    stored -128 weighs nothing; a pixel with nothing else has the same share everywhere.
    """

    op = "softmax"
    constants = (
        Constant("exponential", "uint32", (256,), "2^22 * exp(-d * scale of the input), rounded", 0,
                 (1 << EXPONENTIAL_BITS) - 1),
        Constant("mult", "uint32", (1,), "multiplier of a share; `mult_bits` bits at most", 0,
                 (1 << 32) - 1),
        Constant("shift", "uint8", (1,), "bits that the product is shifted by", 0, Arch.SHIFT_MAX),
    )
    onnx = ("Softmax",)

    masked: bool = flag("a stored -128 stands for minus infinity")
