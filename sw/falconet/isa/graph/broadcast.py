"""What operators on two tensors, value by value, share: one of them may be smaller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from falconet.isa.graph.operator import Consts, Fault, Operator
from falconet.isa.graph.tensor import Shape

__all__ = ["Broadcast"]


@dataclass(frozen=True)
class Broadcast(Operator):
    """Channels, rows or columns of which an input has but one are repeated for the others'."""

    def channels(self, inputs: Sequence[Shape], consts: Consts) -> int:
        return max(c for c, _, _ in inputs)

    def shape(self, inputs: Sequence[Shape], consts: Consts) -> Shape:
        c, h, w = (max(sides) for sides in zip(*inputs))
        return c, h, w

    def mismatches(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        if any(len(set(sides) - {1}) > 1 for sides in zip(*inputs)):
            yield Fault("inputs", f"operands of shapes {[list(s) for s in inputs]}; make their "
                                  "sides equal, or 1")
        yield from super().mismatches(inputs, consts)
