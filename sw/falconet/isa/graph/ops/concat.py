from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from falconet.isa.graph.operator import Consts, Fault, Operator
from falconet.isa.graph.tensor import Shape

__all__ = ["Concat"]


@dataclass(frozen=True)
class Concat(Operator):
    """The channels of all inputs, one behind the other."""

    op = "concat"
    arity = 1, 1 << 10
    onnx = ("Concat",)
    limits = ("A part that has another place already, or none of its own (an input, a slice), is "
              "copied first: an eltwise.",)

    def channels(self, inputs: Sequence[Shape], consts: Consts) -> int:
        return sum(c for c, _, _ in inputs)

    def steps(self, inputs: Sequence[Shape], consts: Consts) -> int:
        _, h, w = inputs[0]
        return self.channels(inputs, consts) * h * w

    def idle(self, inputs: Sequence[Shape]) -> bool:
        return len(inputs) == 1

    def mismatches(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        if len({s[1:] for s in inputs}) > 1:
            yield Fault("inputs", f"operands of shapes {[list(s) for s in inputs]}; only channels "
                                  "may differ")
