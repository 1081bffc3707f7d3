from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from falconet.isa.graph.attribute import many, number
from falconet.isa.graph.operator import Consts, Cost, Fault, Operator
from falconet.isa.graph.tensor import HI, LO, Range, Shape
from falconet.isa.machine.instructions import Mac

__all__ = ["Gather"]

_MOST = 1 << 16


@dataclass(frozen=True)
class Gather(Operator):
    """Channels by number: channel i is channel ``index[i]`` of the input, all ``fill`` for -1.

    Channel shuffles, reversals, steps along channels and padding of channels are gathers.
    """

    op = "gather"
    onnx = ("Gather", "Slice", "Split", "Pad", "Tile", "Expand", "Transpose", "DepthToSpace",
            "SpaceToDepth")
    costs = (Cost(Mac, "a channel is there twice, or is `fill`",
                  "OB * max(9, P + H * W * IB * S)"),)
    limits = ("Where each channel of the input is there once at most, it is a place in memory and "
              "takes no time: the layers behind it find each channel in the lane that it has.",)

    index: tuple[int, ...] = many("the input's channel of each output channel, or -1", (-1, _MOST),
                                  _MOST)
    fill: int = number("what is stored where there is no channel", (LO, HI), 0)

    def channels(self, inputs: Sequence[Shape], consts: Consts) -> int:
        return len(self.index)

    def idle(self, inputs: Sequence[Shape]) -> bool:
        return self.index == tuple(range(inputs[0][0]))

    @property
    def exact(self) -> bool:
        """Whether each channel comes from another one of the input."""
        return min(self.index) >= 0 and len(set(self.index)) == len(self.index)

    def reach(self, inputs: Sequence[Range], table: Sequence[int] | None) -> Range:
        (lo, hi), some = inputs[0], (self.fill,) if min(self.index) < 0 else ()
        return min(lo, *some, hi), max(lo, *some, hi)

    def mismatches(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        if max(self.index) >= inputs[0][0]:
            yield Fault("attrs.index", f"channel {max(self.index)} of {inputs[0][0]}; mend the "
                                       "index")
