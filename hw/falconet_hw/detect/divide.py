"""Quotients, a bit a cycle."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Divide"]


class Divide(wiring.Component):
    """``floor(2**fraction * numerator / denominator)``, by restoring division.

    Members
    -------
    start : In(1)
        One cycle; numerator and denominator are taken. A division under way is given up.
    numerator, denominator : In(bits)
        ``numerator <= denominator``, which is not 0.
    quotient : Out(fraction + 1)
        From ``LATENCY + fraction`` cycles after ``start`` until the next.
    """

    LATENCY = 2

    def __init__(self, *, bits: int, fraction: int) -> None:
        self.fraction = fraction
        super().__init__({
            "start": In(1),
            "numerator": In(bits),
            "denominator": In(bits),
            "quotient": Out(fraction + 1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rest = Signal(len(self.numerator) + 1, reset_less=True)  # below 2 * denominator
        denominator = Signal.like(self.denominator, reset_less=True)
        left = Signal(range(self.fraction + 2))
        quotient = Signal.like(self.quotient, reset_less=True)
        less = rest - denominator
        m.d.comb += self.quotient.eq(quotient)
        with m.If(self.start):
            m.d.sync += [
                rest.eq(self.numerator), denominator.eq(self.denominator),
                left.eq(self.fraction + 1),
            ]
        with m.Elif(left.any()):
            m.d.sync += [
                rest.eq(Cat(0, Mux(less < 0, rest, less))), quotient.eq(Cat(less >= 0, quotient)),
                left.eq(left - 1),
            ]
        return m
