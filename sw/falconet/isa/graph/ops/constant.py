from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from falconet.isa.graph.operator import Constant as Given
from falconet.isa.graph.operator import Consts, Fault, Operator
from falconet.isa.graph.tensor import HI, LO, Range, Shape

__all__ = ["Constant"]


@dataclass(frozen=True)
class Constant(Operator):
    """A tensor that comes with the network: positions, a class token, the matrix of a graph.

    It lies in DDR beside the weights and is loaded like an input. In ONNX it is an operand that a
    file holds and that is not one number a channel.
    """

    op = "constant"
    arity = 0, 0
    onnx = ("Add", "Concat", "MatMul")
    constants = (Given("value", "int8", ("C", "H", "W"), "what is stored", LO, HI),)

    def shape(self, inputs: Sequence[Shape], consts: Consts) -> Shape:
        value = consts.get("value")
        if value is None or len(value.shape) != 3:
            return 1, 1, 1
        c, h, w = value.shape
        return c, h, w

    def channels(self, inputs: Sequence[Shape], consts: Consts) -> int:
        return self.shape(inputs, consts)[0]

    def sizes(self, inputs: Sequence[Shape], consts: Consts) -> dict[str, int]:
        return dict(zip("CHW", self.shape(inputs, consts)))

    def padded(self, inputs: Sequence[Shape]) -> Shape:
        return 1, 1, 1

    def steps(self, inputs: Sequence[Shape], consts: Consts) -> int:
        c, h, w = self.shape(inputs, consts)
        return c * h * w

    def reach(self, inputs: Sequence[Range], table: Sequence[int] | None) -> Range:
        return LO, HI

    def mismatches(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        value = consts.get("value")
        if value is not None and len(value.shape) != 3:
            yield Fault("consts.value", f"constant 'value' must be int8 [C, H, W], not of shape "
                                        f"{list(value.shape)}; mend the export")
        yield from super().mismatches(inputs, consts)
