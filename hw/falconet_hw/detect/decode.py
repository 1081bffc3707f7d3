"""The arithmetic of coordinates (docs/arithmetic.md, Boxes): one multiplier and one sum."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from falconet_hw.stream.delay import add_with_carry, delay

__all__ = ["CoordinateUnit", "StepLayout"]

_PRODUCT = signed(34)  # uint16 * uint16 and the largest rounding constant
_TOTAL = signed(20)  # two terms of 18 bits and two of 16


class StepLayout(data.StructLayout):
    """One step of :class:`CoordinateUnit`.

    ``a * b + c``, rounded to the nearest multiple of 2**shift (ties up) and divided by that, is
    the term: saturated to 18 bits signed or, of an ``extent`` (never negative), to 16 unsigned.
    ``c`` is given with ``shift`` 0 only. The sum is the term (``first``), or what it was plus the
    term or, if ``minus``, minus half of it (``half``) or all of it.
    """

    def __init__(self) -> None:
        super().__init__({
            "a": signed(17), "b": unsigned(16), "c": signed(16), "shift": 5,
            "extent": 1, "first": 1, "minus": 1, "half": 1, "raw": 1,
        })


class CoordinateUnit(Component):
    """Sums of scaled products, one step a cycle, no stall, ``LATENCY`` cycles.

    Cycle of each register, counted from the input: 1-3 the multiplier's operands, product and
    sum with ``c`` or the rounding constant; 4, 5 shift by 8s and by 1s; 6, 7 saturation; 8 the
    sum; 9 comparisons with ``lo`` and ``hi``; 10 the value. Only ``valid`` steps change the sum.

    Members
    -------
    i_valid: In(1)
    i: In(StepLayout())
    i_lo, i_hi: In(signed(16))
        Must come ``CLAMP_CYCLE`` cycles after the step.
    o_product: Out(signed(34))
        ``a * b + c``, ``PRODUCT_LATENCY`` cycles after the step.
    o_value: Out(16)
        The sum clamped to [lo, hi], or its low bits if ``raw``.
    """

    PRODUCT_LATENCY = 3
    CLAMP_CYCLE = 8
    LATENCY = 10

    def __init__(self) -> None:
        super().__init__({
            "i_valid": In(1),
            "i": In(StepLayout()),
            "i_lo": In(signed(16)),
            "i_hi": In(signed(16)),
            "o_product": Out(_PRODUCT),
            "o_value": Out(16),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()

        def reg(shape: Any, value: Any, name: str) -> Signal:
            s = Signal(Shape.cast(shape), reset_less=True, name=name)
            m.d.sync += s.eq(value)
            return s

        def shifted(value: Value, amount: Value, unit: int) -> Value:
            for k, bit in enumerate(amount):
                value = Mux(bit, value >> (unit << k), value)
            return value

        step = self.i
        a = reg(signed(17), step.a, "a")
        b = reg(signed(17), step.b, "b")
        c = reg(signed(16), step.c, "c")
        shift1 = reg(5, step.shift, "shift1")
        product = reg(_PRODUCT, a * b, "product")
        # c is 0 where there is something to round
        half = Cat(shift1 == i + 1 for i in range(31))
        addend = reg(signed(32), c | Cat(half, 0).as_signed(), "addend")
        p = reg(_PRODUCT, product + addend, "p")
        m.d.comb += self.o_product.eq(p)

        shift3 = delay(m, shift1, 2, name="shift")
        p4 = reg(_PRODUCT, shifted(p, shift3[3:], 8), "p4")
        shift4 = reg(3, shift3[:3], "shift4")
        p5 = reg(_PRODUCT, shifted(p4, shift4, 1), "p5")

        extent5 = delay(m, step.extent, 5, name="extent")
        high = p5[17:]
        over = Mux(extent5, high.any() | p5[16], high.any() & ~high.all())
        over6 = reg(1, over, "over6")
        p6 = reg(signed(18), p5[:18], "p6")
        most6 = reg(signed(18), Mux(extent5, 0xFFFF, Cat((~p5[-1]).replicate(17), p5[-1])), "most6")
        term = Mux(over6, most6, p6)
        half6, minus6 = delay(m, Cat(step.half, step.minus), 6, name="kind")
        term7 = reg(signed(18), Mux(half6, term[1:], term) ^ minus6.replicate(18), "term7")
        minus7 = reg(1, minus6, "minus7")

        first7 = delay(m, step.first, 7, name="first")
        valid7 = delay(m, self.i_valid, 7, name="valid")
        total = Signal(_TOTAL, reset_less=True)
        with m.If(valid7):
            m.d.sync += total.eq(add_with_carry(Mux(first7, 0, total), term7, minus7))

        raw8 = delay(m, step.raw, 8, name="raw")
        low9 = reg(1, ~raw8 & (total < self.i_lo), "low9")
        high9 = reg(1, ~raw8 & (total > self.i_hi), "high9")
        total9 = reg(16, total[:16], "total9")
        lo9 = reg(16, self.i_lo, "lo9")
        hi9 = reg(16, self.i_hi, "hi9")
        m.d.comb += self.o_value.eq(reg(16, Mux(low9, lo9, Mux(high9, hi9, total9)), "value"))
        return m
