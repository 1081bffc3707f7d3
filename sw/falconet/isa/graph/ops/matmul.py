from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from falconet.isa.graph.attribute import numbers
from falconet.isa.graph.operator import Consts, Cost, Fault
from falconet.isa.graph.stage import Staged
from falconet.isa.graph.tensor import HI, LO, Range, Shape
from falconet.isa.machine.instructions import Mac

__all__ = ["LEAST", "MatMul"]

LEAST = -127
"""Of a second operand, which the machine multiplies like weights: -128 counts as this."""


@dataclass(frozen=True)
class MatMul(Staged):
    """Two tensors multiplied as matrices, over the channels: attention, the matrix of a graph.

    Channel n of pixel p is the sum over k of ``a[k, p] * b[k, n]``: the second input is what
    weights are for a pointwise convolution, and channel n of the output belongs to its pixel n,
    counted row by row. What is multiplied is each stored value minus the input's zero point. A
    stored -128 of the second input counts as -127.
    """

    op = "matmul"
    arity = 2, 2
    onnx = ("MatMul",)
    costs = (
        Cost(Mac, "both zero points are 0", "OB * max(9, P + H * W * IB * S)"),
        Cost(Mac, "otherwise, with `z` of -128 counted as two",
             "OB * max(9, P + H * W * IB * S * (1 + sum((z != 0) + (z == -128) for z in zeros)))"),
    )
    limits = (
        "The second input goes through DDR and is loaded as weights are. All channels of `lanes` "
        "of its pixels fit the weight memory, as often as the zero points ask for.",
        "No sum of products can leave the accumulator, whatever the inputs: 1,032 channels where "
        "both zero points are 0, 518 where the first is -128.",
    )

    zeros: tuple[int, int] = numbers("zero points of the inputs", (LO, HI), (LO, HI),
                                     default=(0, 0))

    def channels(self, inputs: Sequence[Shape], consts: Consts) -> int:
        return inputs[1][1] * inputs[1][2] if len(inputs) > 1 else 1

    def steps(self, inputs: Sequence[Shape], consts: Consts) -> int:
        c, h, w = inputs[0]
        return c * h * w * self.channels(inputs, consts)

    def macs(self, inputs: Sequence[Shape], consts: Consts) -> int:
        return self.steps(inputs, consts)

    def sums(self, inputs: Sequence[Shape]) -> Range:
        ends = [(a - self.zeros[0]) * (b - self.zeros[1]) for a in (LO, HI) for b in (LEAST, HI)]
        return inputs[0][0] * min(*ends, 0), inputs[0][0] * max(*ends, 0)

    def folded(self, inputs: Sequence[Shape]) -> int:
        return inputs[0][0] * self.zeros[0] * self.zeros[1]

    def mismatches(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        if len(inputs) == 2:
            (k, _, _), (c, _, _) = inputs
            if k != c:
                yield Fault("inputs", f"a product of {k} by {c} channels; make them equal")
        yield from super().mismatches(inputs, consts)
