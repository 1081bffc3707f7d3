"""Operators whose weights are those of groups of channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from falconet.isa.graph.operator import Constant, Consts, Fault
from falconet.isa.graph.stage import STAGE, Staged
from falconet.isa.graph.tensor import Shape

__all__ = ["Grouped"]


class Grouped(Staged):
    """What convolutions have in common: weights [O, C / groups, ky, kx] and an output stage."""

    constants = (
        Constant("weight", "int8", ("O", "C / groups", "ky", "kx"), "symmetric", -127, 127,
                 "quantise with narrow range"),
        *STAGE,
    )
    products = "weight", 0

    groups: int

    def channels(self, inputs: Sequence[Shape], consts: Consts) -> int:
        weight = consts.get("weight")
        return weight.shape[0] if weight is not None and weight.shape else 0

    def sizes(self, inputs: Sequence[Shape], consts: Consts) -> dict[str, int]:
        return {**super().sizes(inputs, consts), "C / groups": inputs[0][0] // self.groups}

    def depthwise(self, weight: Sequence[int]) -> bool:
        """Whether it multiplies each channel by itself, given the shape of the weights."""
        return self.groups == weight[0] and weight[1] == 1

    def mismatches(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        c, out = inputs[0][0], self.channels(inputs, consts)
        if c % self.groups or out % self.groups:
            yield Fault("attrs.groups", f"{self.groups} groups of {c} and {out} channels; use a "
                                        "divisor of both")
        yield from super().mismatches(inputs, consts)
