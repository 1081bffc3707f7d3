from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

from falconet.isa.graph.attribute import number, numbers
from falconet.isa.graph.grouped import Grouped
from falconet.isa.graph.operator import Consts, Cost
from falconet.isa.graph.tensor import HI, LO, Shape
from falconet.isa.machine.instructions import Mac, Window

__all__ = ["ConvTranspose"]

_KERNEL = (1, Window.field("n_ky").hi)
_DILATION = (1, Window.field("dil_y").hi)
_SIDE = (1, Window.field("in_h").hi)


@dataclass(frozen=True)
class ConvTranspose(Grouped):
    """Transposed convolution: each pixel times the weights is added to the window it stands for.

    Input row i and kernel row k add to row ``i * stride + k * dilation - crop`` of the output.
    What is multiplied is the stored input minus ``pad``, its zero point. The machine computes one
    small convolution a phase (output row and column modulo the stride).
    """

    op = "conv_transpose"
    onnx = ("ConvTranspose",)
    costs = (
        Cost(Mac, "dense or grouped, kernel and output multiples of the stride",
             "sy * sx * OB * max(9, P + H / sy * W / sx * ky / sy * kx / sx * IB * S)"),
        Cost(Window, "depthwise, kernel as large as the stride",
             "sy * sx * OB * (V + H / sy * W / sx)"),
    )
    limits = (
        "The weights and parameters of one block of output channels, those of all phases, fit the "
        "memory of their engine.",
    )

    kernel: tuple[int, int] = numbers("rows and columns of the window", _KERNEL, _KERNEL,
                                      default=(1, 1))
    size: tuple[int, int] = numbers("rows and columns of the output", _SIDE, _SIDE, default=(1, 1))
    stride: tuple[int, int] = numbers("rows and columns from one window to the next",
                                      (1, 31), (1, 31), default=(1, 1))
    crop: tuple[int, int] = numbers("rows and columns that are cut off above and left",
                                    (0, 2047), (0, 2047), default=(0, 0))
    dilation: tuple[int, int] = numbers("rows and columns from one tap to the next",
                                        _DILATION, _DILATION, default=(1, 1))
    pad: int = number("zero point of the input", (LO, HI), 0)
    groups: int = number("groups of channels; of C and O a divisor", (1, 1 << 24), 1)

    def shape(self, inputs: Sequence[Shape], consts: Consts) -> Shape:
        return self.channels(inputs, consts), *self.size

    def sizes(self, inputs: Sequence[Shape], consts: Consts) -> dict[str, int]:
        return {**super().sizes(inputs, consts), "ky": self.kernel[0], "kx": self.kernel[1]}

    def steps(self, inputs: Sequence[Shape], consts: Consts) -> int:
        (c, h, w), (ky, kx) = inputs[0], self.kernel
        return c * h * w * ky * kx

    def macs(self, inputs: Sequence[Shape], consts: Consts) -> int:
        o, per_group, ky, kx = consts["weight"].shape
        _, h, w = inputs[0]
        return o * per_group * ky * kx * h * w

    @property
    def zero(self) -> int:
        return self.pad

    def phases(self, weight: Any) -> Iterator[Any]:
        """The taps of each phase: no other two are added."""
        step = [s // gcd(s, d) for s, d in zip(self.stride, self.dilation)]
        for y in range(min(step[0], self.kernel[0])):
            for x in range(min(step[1], self.kernel[1])):
                yield weight[:, :, y::step[0], x::step[1]]

