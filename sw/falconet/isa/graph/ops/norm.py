from __future__ import annotations

from dataclasses import dataclass

from falconet.isa.graph.attribute import flag, number
from falconet.isa.graph.operator import Constant
from falconet.isa.graph.row import Row
from falconet.isa.graph.tensor import HI, LO
from falconet.isa.machine.arch import Arch

__all__ = ["Norm"]

_WORD = 1 << 32


@dataclass(frozen=True)
class Norm(Row):
    """Layer norm, or RMS norm, over the channels of each pixel (docs/arithmetic.md).

    What a channel differs from the mean by, over the root of the variance plus ``epsilon``; or what
    it is, zero point taken off, over the root of the mean square. Then a multiplier and a bias of
    the channel.
    """

    op = "norm"
    constants = (
        Constant("gamma", "int32", ("C",), "multiplier", -_WORD // 2, _WORD // 2 - 1),
        Constant("bias", "int32", ("C",), "added to the product", -_WORD // 2, _WORD // 2 - 1),
        Constant("shift", "uint8", ("C",), "bits that the sum is shifted by", 0, Arch.SHIFT_MAX),
    )
    onnx = ("LayerNormalization", "RMSNormalization")

    rms: bool = flag("RMS norm")
    zero_in: int = number("zero point of the input, for RMS norm", (LO, HI), 0)
    epsilon: int = number("what is added to the variance, in units of the stored values' square "
                          "and 2^-16", (0, _WORD - 1), 0)
