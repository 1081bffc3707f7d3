"""What operators with a window over rows and columns share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from falconet.isa.graph.attribute import number, numbers
from falconet.isa.graph.operator import Consts, Fault, Operator
from falconet.isa.graph.tensor import HI, LO, Shape
from falconet.isa.machine.instructions import Window

__all__ = ["Windowed"]

_SIDE = 1 << 16
_STRIDE = 1, 255
_BEFORE = (0, -Window.field("iy0").lo), (0, -Window.field("ix0").lo)


def _ends(y: str, x: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """The ranges of two fields of the machine's instructions (MAC and WINDOW have the same)."""
    return (1, Window.field(y).hi), (1, Window.field(x).hi)


@dataclass(frozen=True)
class Windowed(Operator):
    """Reads a window for each output pixel; what lies outside the input reads as ``pad``."""

    kernel: tuple[int, int] = numbers("rows and columns of the window", *_ends("n_ky", "n_kx"))
    stride: tuple[int, int] = numbers("rows and columns from one window to the next",
                                      _STRIDE, _STRIDE, default=(1, 1))
    pads: tuple[int, int, int, int] = numbers("rows and columns around the input: top, left, "
                                              "bottom, right", *_BEFORE, *((0, _SIDE),) * 2,
                                              default=(0, 0, 0, 0))
    dilation: tuple[int, int] = numbers("rows and columns from one tap to the next",
                                        *_ends("dil_y", "dil_x"), default=(1, 1))
    pad: int = number("what is read outside the input", (LO, HI), 0)

    def padded(self, inputs: Sequence[Shape]) -> Shape:
        (c, h, w), (top, left, bottom, right) = inputs[0], self.pads
        return c, h + top + bottom, w + left + right

    def shape(self, inputs: Sequence[Shape], consts: Consts) -> Shape:
        _, high, wide = self.padded(inputs)
        (ky, kx), (sy, sx), (dy, dx) = self.kernel, self.stride, self.dilation
        return (self.channels(inputs, consts), (high - dy * (ky - 1) - 1) // sy + 1,
                (wide - dx * (kx - 1) - 1) // sx + 1)

    def sizes(self, inputs: Sequence[Shape], consts: Consts) -> dict[str, int]:
        return {**super().sizes(inputs, consts), "ky": self.kernel[0], "kx": self.kernel[1]}

    def steps(self, inputs: Sequence[Shape], consts: Consts) -> int:
        (ky, kx), (_, h, w) = self.kernel, self.shape(inputs, consts)
        return inputs[0][0] * ky * kx * h * w

    def mismatches(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        _, *sides = self.padded(inputs)
        reach = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation)]
        if any(r > side for r, side in zip(reach, sides)):
            yield Fault("attrs.kernel", f"a window of {reach[0]} x {reach[1]} does not fit into "
                                        f"{sides[0]} x {sides[1]} pixels; mend the export")
        yield from super().mismatches(inputs, consts)
