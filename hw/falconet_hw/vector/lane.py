"""One lane of the vector engine: products of two taps per DSP48E1, sums, maximum, digits."""

from __future__ import annotations

from typing import Any, ClassVar

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from falconet.isa import Arch
from falconet_hw.stream.delay import delay

__all__ = ["LaneControl", "VectorLane"]


class LaneControl(data.StructLayout):
    """Controls of a lane. Each belongs to the ``x`` of ``CYCLE[name]`` cycles before.

    ``max_enable``, ``max_first``: ``x`` is a value; it is the first of its window. ``product``:
    the weights of taps 0 and 1 are ``best`` and 0. ``hold``: the sums go on; else sum ``t`` starts
    from sum ``t - 1`` if bit ``t`` of ``shift``, else from 0. ``digits``, ``max``: what ``acc`` is.
    """

    CYCLE: ClassVar[dict[str, int]] = {
        "max_enable": 0, "max_first": 0, "product": 0, "hold": 3, "shift": 3, "digits": 4, "max": 4,
    }

    def __init__(self, arch: Arch) -> None:
        super().__init__({
            "max_enable": 1, "max_first": 1, "product": 1, "hold": 1, "shift": arch.taps,
            "digits": 1, "max": 1,
        })


class VectorLane(wiring.Component):
    """``taps`` sums of one lane; one ``x`` a cycle, ``acc`` ``LATENCY`` cycles later.

    ``A[t] = (A[t] if hold else A[t-1] if shift[t] else 0) + x * w[t]``, ``A[-1] = 0``; and
    ``acc = A[taps-1]``; with ``digits``, ``A[taps-1] + A[0] + 2**7 A[taps-2] + 2**14 A[taps-3]``;
    with ``max``, ``best``, the maximum of ``x`` since ``max_first``. All modulo 2**acc_bits.
    ``x = 0`` with ``hold`` changes nothing. With ``product`` ``w[0]`` is ``best`` and ``w[1]`` 0:
    behind one ``max_first`` that is the ``x`` of it, so that two operands are multiplied. That
    weight may be -128: alone in its multiplier it cannot reach into a neighbour's field.

    With ``digits`` no more than two products are in ``A[0]``: it fits 16 bits.

    Cycle of each register after ``x``: 1 DSP inputs, 2 product, 3 DSP output, 4 sums, 5 digits,
    6 ``acc``.

    Members
    -------
    x : In(signed(8))
    w : In(8 * taps)
        The weights of ``x``, packed in pairs (see falconet.isa.pack_pair).
    control : In(LaneControl)
    acc : Out(signed(acc_bits))
    """

    LATENCY = 6

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "x": In(signed(8)),
            "w": In(8 * arch.taps),
            "control": In(LaneControl(arch)),
            "acc": Out(signed(arch.acc_bits)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        c, taps, bits = self.control, self.arch.taps, self.arch.acc_bits

        def reg(shape: Any, value: Any, name: str) -> Signal:
            s = Signal(shape, reset_less=True, name=name)
            m.d.sync += s.eq(value)
            return s

        x = reg(signed(8), self.x, "x_in")
        best = Signal(signed(8), reset_less=True)
        sums = [Signal(signed(bits), name=f"sum{t}", reset_less=True) for t in range(taps)]
        for p in range(taps // 2):
            b0, b1 = self.w[16 * p : 16 * p + 8], self.w[16 * p + 8 : 16 * p + 16]
            if p == 0:
                b0 = Mux(c.product, best.as_unsigned(), b0)
                b1 = Mux(c.product, best[7].replicate(8), b1)
            pair = reg(signed(25), Cat(b0, b0[7].replicate(9), b1).as_signed(), f"pair{p}_in")
            product = reg(signed(33), pair * x, f"pair{p}_product")
            out = reg(signed(33), product, f"pair{p}_out")
            low = out[:16].as_signed()
            # The borrow of a negative low field is paid back as a carry into the sum.
            high = Cat(out[16], out[17:32]).as_signed()
            for t, carry, term in ((2 * p, (), low), (2 * p + 1, (Const(1, 1),), high)):
                fresh = Mux(c.shift[t], sums[t - 1], 0) if t else Const(0, signed(bits))
                start = Mux(c.hold, sums[t], fresh).as_unsigned()
                total = term + Cat(*carry, start).as_signed()
                m.d.sync += sums[t].eq(total[len(carry) :])

        with m.If(c.max_enable):
            m.d.sync += best.eq(Mux(c.max_first | (self.x > best), self.x, best))
        largest = delay(m, best, 3, name="best")

        digits = Signal(bits - 7, reset_less=True)
        m.d.sync += digits.eq(Mux(c.digits, sums[-2] + (sums[-3] << 7), 0))
        added = Mux(c.digits, sums[0][:16].as_signed(), 0)
        last = reg(signed(bits), Mux(c.max, largest, sums[-1]) + added, "last")
        m.d.comb += self.acc.eq(reg(signed(bits), last + (digits << 7), "acc_out"))
        return m
