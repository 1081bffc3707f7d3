from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from falconet.isa.graph.attribute import flag, number, numbers
from falconet.isa.graph.operator import Consts, Cost, Fault
from falconet.isa.graph.stage import Staged
from falconet.isa.graph.tensor import HI, LO, Range, Shape
from falconet.isa.machine.arch import Arch
from falconet.isa.machine.instructions import Window

__all__ = ["CHAIN", "StackPool"]

CHAIN = Arch.taps
"""Columns that the vector engine adds up, in every preset."""

_KERNEL = (1, Window.field("n_ky").hi)


@dataclass(frozen=True)
class StackPool(Staged):
    """Sum or maximum over ``stack`` groups of channels, and over a window inside the image.

    Channel c of the output is made of channel c of each group. With as many groups as channels it
    is the maximum over channels. A sum over groups is that of tensors that one sum is spread over.
    """

    op = "stackpool"
    fuses = False
    onnx = ("ReduceMax",)
    costs = (Cost(Window, "", "OB * (V + H * W * stack * ky * kx)"),)
    limits = (
        "A sum has at most 31 groups times rows of the window; if it is one pixel, up to 4 times "
        "as many, in parts.",
        "A maximum over all channels, over many groups, and groups that fill no blocks of channels "
        "become several operations, convolutions that copy channels among them.",
    )

    stack: int = number("groups of channels; of C a divisor", (1, 1 << 24), 1)
    kernel: tuple[int, int] = numbers("rows and columns of the window", _KERNEL, _KERNEL,
                                      default=(1, 1))
    stride: tuple[int, int] = numbers("rows and columns from one window to the next", _KERNEL,
                                      _KERNEL, default=(1, 1))
    maximum: bool = flag("the greatest value instead of the sum")

    def sums(self) -> Range:
        n = 1 if self.maximum else self.stack * self.kernel[0] * self.kernel[1]
        return n * LO, n * HI

    def chain(self, *, single: bool) -> int | None:
        """Into how many parts the window's rows are cut, so that a part's and the groups' are rows
        of an instruction; None: into none that do. ``single``: the output is one pixel."""
        most = CHAIN if single and not self.maximum else 1
        return next((m for m in range(1, most + 1) if self.kernel[0] % m == 0
                     and self.stack * self.kernel[0] // m <= _KERNEL[1]), None)

    def channels(self, inputs: Sequence[Shape], consts: Consts) -> int:
        return inputs[0][0] // self.stack

    def shape(self, inputs: Sequence[Shape], consts: Consts) -> Shape:
        _, h, w = inputs[0]
        (ky, kx), (sy, sx) = self.kernel, self.stride
        return self.channels(inputs, consts), (h - ky) // sy + 1, (w - kx) // sx + 1

    def sizes(self, inputs: Sequence[Shape], consts: Consts) -> dict[str, int]:
        return {**super().sizes(inputs, consts), "ky": self.kernel[0], "kx": self.kernel[1]}

    def steps(self, inputs: Sequence[Shape], consts: Consts) -> int:
        _, h, w = self.shape(inputs, consts)
        return inputs[0][0] * self.kernel[0] * self.kernel[1] * h * w

    def mismatches(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        c, h, w = inputs[0]
        if c % self.stack:
            yield Fault("attrs.stack", f"{self.stack} groups of {c} channels; use a divisor")
        if self.kernel[0] > h or self.kernel[1] > w:
            yield Fault("attrs.kernel", f"a window of {self.kernel[0]} x {self.kernel[1]} does not "
                                        f"fit into {h} x {w} pixels; mend the export")
        out = [(side - k) // s for side, k, s in zip((h, w), self.kernel, self.stride)]
        if not self.maximum and self.chain(single=out == [0, 0]) is None:
            yield Fault("attrs.stack", f"a sum over {self.stack} groups of {self.kernel[0]} rows; "
                                       f"use {_KERNEL[1]} at most")
        yield from super().mismatches(inputs, consts)
