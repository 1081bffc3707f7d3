from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from falconet.isa.graph.attribute import number
from falconet.isa.graph.operator import Consts, Fault, Operator
from falconet.isa.graph.tensor import Shape

__all__ = ["Slice"]


@dataclass(frozen=True)
class Slice(Operator):
    """Some channels, one behind the other."""

    op = "slice"
    onnx = ("Slice", "Split")

    begin: int = number("first channel", (0, 1 << 24), 0)
    end: int = number("channel behind the last one", (1, 1 << 24), 1)

    def channels(self, inputs: Sequence[Shape], consts: Consts) -> int:
        return self.end - self.begin

    def idle(self, inputs: Sequence[Shape]) -> bool:
        return (self.begin, self.end) == (0, inputs[0][0])

    def mismatches(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        if not self.begin < self.end <= inputs[0][0]:
            yield Fault("attrs.end", f"channels {self.begin} to {self.end} of {inputs[0][0]}; mend "
                                     "the range")
