"""Promises never exceed the room that there is, and are refused only for want of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth import Const, Module, Signal
from amaranth.hdl import Assert, Assume
from amaranth.lib.wiring import Component, In

from falconet_hw.stream import credits
from formal.inside import Inside
from formal.proof import Mutant, Proof
from formal.streams import before

__all__ = ["PROOFS", "CreditsProof"]


class CreditsProof(Component):
    """Places taken and not given back are counted; ``room`` is told from that number.

    Members
    -------
    take, give : In(1)
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        super().__init__({"take": In(1), "give": In(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut, depth = self.dut, self.dut.depth
        inside = Inside(dut)
        m.submodules.dut = inside.module
        out = Signal(range(2 * depth))
        given = before(m, self.give, "give")
        m.d.comb += [
            dut.take.eq(self.take), dut.give.eq(self.give),
            Assume(~self.take | dut.room), Assume(~self.give | (out != 0)),
        ]
        m.d.sync += out.eq(out + self.take - self.give)
        counted = out + given
        m.d.comb += [
            Assert(out <= depth),
            Assert(~dut.room | (counted < depth)),
            Assert(dut.room | (counted == depth) | ~before(m, Const(1), "started")),
            # For the induction.
            Assert(inside["count"] == counted), Assert(inside["given"] == given),
        ]
        return m


def _credits(depth: int) -> Callable[[Any], CreditsProof]:
    return lambda module: CreditsProof(module.Credits(depth=depth))


PROOFS = [
    Proof(
        f"credits_{depth}", credits, "`credits.Credits`",
        "never more places are taken than there are; one is refused only while none is free, or "
        "one since the cycle before, or in the first cycle", f"{depth} places",
        "one is taken only while there is room, given back only if taken",
        _credits(depth), depth + 4, 1,
        {
            "one too many": Mutant("self.room.eq(", "following < self.depth", "count < self.depth"),
            "as many as one likes":
                Mutant("self.room.eq(", "following < self.depth", "1"),
            "one less": Mutant("self.room.eq(", "self.depth)", "self.depth - 1)"),
            "taken uncounted": Mutant("in_flight(m, self.take", "self.take", "0"),
            "never free again": Mutant("in_flight(m, self.take", "given", "0"),
            "given at once": Mutant("in_flight(m, self.take", "given", "self.give"),
            "a bit too narrow":
                Mutant("in_flight(m, self.take", "limit=self.depth", "limit=self.depth - 1"),
        },
    )
    for depth in (16, 32, 64)
]
