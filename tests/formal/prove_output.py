"""Requantisation is its definition in docs/arithmetic.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from amaranth import Module, Mux, Signal, Value, signed
from amaranth.hdl import Assert, Assume
from amaranth.lib.wiring import Component, In

from falconet.isa import Arch, preset
from falconet_hw.engine import output
from falconet_hw.stream.delay import delay
from formal.inside import Inside
from formal.proof import Mutant, Proof

__all__ = ["PROOFS", "RequantProof"]


class RequantProof(Component):
    """``q = clamp(round(v * m / 2**shift) + zp, lo, hi)``, ``v = acc + bias``, for every cycle.

    ``round`` is not computed: ``rounded`` is any integer that satisfies the definition of half to
    even, ``|2**shift * rounded - v * m| <= 2**shift / 2``, and even if the two are equal.

    With ``cut`` the register of the product is free instead, and it is shown beside that the
    multiplier gets ``v`` and ``m``. Then ``round`` is computed by quotient and remainder, and shown
    to satisfy the definition.

    Members
    -------
    acc, bias, mult, mult_neg, shift, zp, lo, hi : In
        ``acc + bias`` fits ``acc_bits``, ``shift <= 47``, ``lo <= hi``.
    product, rounded : In
    """

    def __init__(self, lane: Any, *, cut: bool) -> None:
        self.lane, self.cut, arch = lane, cut, lane.arch
        self.product_bits = arch.acc_bits + arch.mult_bits
        number, byte = In(signed(arch.acc_bits)), In(signed(8))
        super().__init__({
            "acc": number, "bias": number,
            "mult": In(arch.mult_bits), "mult_neg": In(arch.mult_bits), "shift": In(6),
            "zp": byte, "lo": byte, "hi": byte,
            "product": In(signed(self.product_bits)),
            "rounded": In(signed(self.product_bits + 1)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut = self.lane
        inside = Inside(dut)
        m.submodules.dut = inside.module
        m.d.comb += [
            dut.i_acc.eq(self.acc), dut.i_params.bias.eq(self.bias),
            dut.i_params.mult.eq(self.mult), dut.i_params.mult_neg.eq(self.mult_neg),
            dut.i_params.shift.eq(self.shift),
            dut.i_zp.eq(delay(m, self.zp, dut.ZP_CYCLE, name="zp")),
            dut.i_lo.eq(delay(m, self.lo, dut.CLAMP_CYCLE, name="lo")),
            dut.i_hi.eq(delay(m, self.hi, dut.CLAMP_CYCLE, name="hi")),
        ]
        acc_bits = dut.arch.acc_bits
        v = Signal(signed(acc_bits))
        p = Signal(signed(self.product_bits))
        factor = Mux(v < 0, self.mult_neg, self.mult)
        m.d.comb += [
            v.eq(self.acc + self.bias), Assume(v == self.acc + self.bias),
            Assume(self.shift <= Arch.SHIFT_MAX), Assume(self.lo <= self.hi),
        ]
        if self.cut:
            m.d.comb += [
                p.eq(self.product),
                inside.cut("product").eq(delay(m, self.product, 3, name="product")),
                Assert(inside.signal("a") == delay(m, v, 2, name="v")),
                Assert(inside.signal("b") == delay(m, factor, 2, name="factor")),
            ]
        else:
            m.d.comb += p.eq(v * factor)
        rounded: Value = self.rounded
        if self.cut:
            rounded = Signal.like(self.rounded, name="computed")
            quotient, rest = p >> self.shift, p & ((1 << self.shift) - 1)
            half = (1 << self.shift) >> 1
            m.d.comb += rounded.eq(quotient + Mux(
                self.shift == 0, 0, (rest > half) | ((rest == half) & quotient[0])
            ))
        away = Signal(signed(self.product_bits + 50))
        unit = 1 << self.shift
        tie = (away == unit) | (-away == unit)
        nearest = (away <= unit) & (-away <= unit) & ~(tie & rounded[0])
        age = Signal(range(dut.LATENCY + 1), reset_less=True)
        m.d.sync += age.eq(age + (age != dut.LATENCY))
        m.d.comb += [
            away.eq(((rounded << self.shift) - p) << 1),
            # Without state and with free inputs, one cycle is as good as all.
            Assert((age != 0) | nearest) if self.cut else Assume(nearest),
        ]
        moved = rounded + self.zp
        q = Signal(signed(8))
        m.d.comb += q.eq(Mux(moved < self.lo, self.lo, Mux(moved > self.hi, self.hi, moved)))
        m.d.comb += Assert(
            (age != dut.LATENCY) | (dut.o_q == delay(m, q, dut.LATENCY, name="q"))
        )
        return m


_TINY = preset("tiny")


def _lane(arch: Arch, *, cut: bool) -> Callable[[Any], RequantProof]:
    return lambda module: RequantProof(module.OutputLane(arch=arch), cut=cut)


_MUTANTS = {
    "half up": Mutant("up = y7[0]", "(sticky7 | floor[0])", "1"),
    "half down": Mutant("up = y7[0]", "(sticky7 | floor[0])", "sticky7"),
    "half to odd": Mutant("up = y7[0]", "floor[0]", "~floor[0]"),
    "the zero point ignored": Mutant("t8 = reg", "self.i_zp", "self.i_zp * 0"),
    "bits lost on the last shift": Mutant("sticky7 = reg", " | low7", ""),
    "clamped from above alone": Mutant("reg(8, Mux(low9", "low9, lo9", "0, lo9"),
    "one more than hi": Mutant("high9 = reg", "t8 > self.i_hi", "t8 > self.i_hi + 1"),
    "the other multiplier": Mutant("b = reg", "v[-1], mult_neg", "~v[-1], mult_neg"),
    "the bias ignored": Mutant("v = reg", "self.i_acc + params.bias", "self.i_acc"),
    "the shift a stage late": Mutant("sh = [", "6 - k", "7 - k"),
}

_WIDE_MUTANTS = {
    **_MUTANTS,
    "bits lost on the first shift": Mutant("sticky6 = reg", "low5", "low5 & 0"),
    "an overflow not seen": Mutant("over7 = reg", " | high7", ""),
    "an early overflow not seen": Mutant("over6 = reg", "high5", "high5 & 0"),
    "an overflow of the wrong sign": Mutant("low9 = reg", "over8, negative8", "over8, ~negative8"),
    "eight bits kept": Mutant("keep = 1", "1 + 9", "1 + 8"),
}

_SHOWS = "`clamp(round(v * m / 2^shift) + zp, lo, hi)`, round half to even, a new value every cycle"
_ASSUMES = f"`acc + bias` fits, `shift <= {Arch.SHIFT_MAX}`, `lo <= hi`"
PROOFS = [
    Proof(
        "requant", output, "`output.OutputLane`", _SHOWS + "; the multiplier gets `v` and `m`",
        f"the machine's: {_TINY.acc_bits} and {_TINY.mult_bits} bits; the product of "
        f"{_TINY.acc_bits + _TINY.mult_bits} bits free",
        _ASSUMES + "; the register of the product is what the multiplier gives",
        _lane(_TINY, cut=True), 12, 11, _WIDE_MUTANTS,
    ),
    Proof(
        "requant_5_3", output, "`output.OutputLane`", _SHOWS,
        "accumulators of 5 bits, multipliers of 3, the multiplication included", _ASSUMES,
        _lane(replace(_TINY, acc_bits=5, mult_bits=3), cut=False), 12, 11, _MUTANTS,
    ),
]
