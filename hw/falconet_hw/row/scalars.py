"""What ROW's last pass needs of a pixel, worked out bit by bit: quotients, roots, products."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from falconet.isa import Arch
from falconet_hw.row.row_loops import RowSettings

__all__ = ["Divider", "Linear", "Product", "RowScalars", "SumShapes"]

_MEAN = 20  # fraction bits of a mean
_SHIFT_LAST = 12  # of a norm


class SumShapes:
    """Widths of a pixel's sums."""

    EXPONENTIALS = 35
    DISTANCES = signed(21)
    SQUARES = 28
    SPREAD = 48


class Linear(data.StructLayout):
    """Softmax: the output stage's multiplier ``a`` and ``shift``. Norms: ``(a d + b) >> shift``."""

    def __init__(self) -> None:
        super().__init__({"a": 17, "b": signed(28), "shift": 6})


class Product(wiring.Component):
    """``total`` plus or minus ``x * y``, a bit of ``y`` a cycle; also left shifts of ``total``.

    All modulo ``2**bits``. Nothing else is asked of it while it is busy.

    Members
    -------
    set, value : In
        ``total`` becomes ``value``.
    start, x, y, minus : In
        The product is added from the next cycle on; ``busy`` while it is.
    shift2, shift8 : In(1)
        ``total`` moves left by so many bits.
    total : Out(bits)
    busy : Out(1)
    """

    def __init__(self, *, bits: int = SumShapes.SPREAD, y_bits: int = 21) -> None:
        super().__init__({
            "set": In(1), "value": In(bits),
            "start": In(1), "x": In(bits), "y": In(y_bits), "minus": In(1),
            "shift2": In(1), "shift8": In(1),
            "total": Out(bits), "busy": Out(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        x = Signal.like(self.x, name="x_left", reset_less=True)
        y = Signal.like(self.y, name="y_right")
        minus = Signal(reset_less=True)
        total = Signal.like(self.total, name="sum", reset_less=True)
        m.d.comb += [self.busy.eq(y.any()), self.total.eq(total)]
        term = x & y[0].replicate(len(x)) ^ minus.replicate(len(x))
        with m.If(self.set):
            m.d.sync += total.eq(self.value)
        with m.Elif(self.shift8):
            m.d.sync += total.eq(total << 8)
        with m.Elif(self.shift2):
            m.d.sync += total.eq(total << 2)
        with m.Elif(self.busy):
            # -p is ~p + 1.
            added = Cat(1, total) + Cat(minus, term)
            m.d.sync += total.eq(added[1:])
        with m.If(self.start):
            m.d.sync += [x.eq(self.x), y.eq(self.y), minus.eq(self.minus)]
        with m.Else():
            m.d.sync += [x.eq(x << 1), y.eq(y >> 1)]
        return m


class Divider(wiring.Component):
    """Restoring division and square root, a bit of the result a cycle.

    Division: after ``i`` steps ``quotient`` is ``floor(2**i * rest / divisor)`` of the ``rest``
    and ``divisor`` that were set, ``rest < divisor``. Root: each step takes two bits of the
    radicand, the highest first; the root of what was taken is ``quotient``.

    Members
    -------
    set, rest, divisor : In
        Begin anew, with a quotient of 0.
    step : In(1)
    root, pair : In
        The step is one of a root; the two bits.
    quotient : Out(28)
    """

    def __init__(self) -> None:
        super().__init__({
            "set": In(1), "rest": In(22), "divisor": In(SumShapes.EXPONENTIALS),
            "step": In(1), "root": In(1), "pair": In(2),
            "quotient": Out(28),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bits = SumShapes.EXPONENTIALS
        rest = Signal(bits, reset_less=True)
        divisor = Signal(bits, name="by", reset_less=True)
        quotient = Signal.like(self.quotient, name="found", reset_less=True)
        before = Mux(self.root, Cat(self.pair, rest), Cat(0, rest))[: bits + 1]
        taken = Mux(self.root, Cat(Const(1, 2), quotient), divisor)
        less = Signal(signed(bits + 2))
        m.d.comb += [less.eq(before - taken), self.quotient.eq(quotient)]
        with m.If(self.set):
            m.d.sync += [rest.eq(self.rest), divisor.eq(self.divisor), quotient.eq(0)]
        with m.Elif(self.step):
            m.d.sync += [
                rest.eq(Mux(less[-1], before, less)), quotient.eq(Cat(~less[-1], quotient)),
            ]
        return m


class RowScalars(wiring.Component):
    """From a pixel's sums to the numbers that its last pass applies.

    One pixel's sums may wait, one is worked on, one result waits: ``full`` until ``used``.

    Cycles from ``sums_valid`` to ``full`` if there is no work: a softmax at most 51, usually 22 to
    35; a norm at most ``2 log2(255 N) + log2(N) + 100``.

    Members
    -------
    settings : In(RowSettings())
    layer, softmax : In(1)
        What ``settings.mode`` is.
    sums_valid : In(1)
        The sums of a pixel are complete, in this cycle; not while others wait.
    exponentials, distances, squares : In
        See docs/arithmetic.md: S; S1 and S2.
    used : In(1)
    full : Out(1)
    linear : Out(Linear())
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "settings": In(RowSettings()), "layer": In(1), "softmax": In(1),
            "sums_valid": In(1),
            "exponentials": In(SumShapes.EXPONENTIALS),
            "distances": In(SumShapes.DISTANCES),
            "squares": In(SumShapes.SQUARES),
            "used": In(1), "full": Out(1), "linear": Out(Linear()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s, n = self.settings, self.settings.n_channels
        m.submodules.product = product = Product()
        m.submodules.divider = divider = Divider()

        sums = {name: Signal.like(getattr(self, name), name=f"{name}_sum", reset_less=True)
                for name in ("exponentials", "distances", "squares")}
        pending = Signal()
        with m.If(self.sums_valid):
            m.d.sync += [pending.eq(1), *(v.eq(getattr(self, k)) for k, v in sums.items())]
        negative = Signal(reset_less=True)
        size = Signal(20, reset_less=True)  # |S1|
        size_now = Mux(sums["distances"][-1], -sums["distances"], sums["distances"])[:20]
        left = Signal(6, reset_less=True)  # steps of the divider
        shift = Signal(6, reset_less=True)
        coarse4 = Signal(5, reset_less=True)  # 4 j
        mean = Signal(28, reset_less=True)
        a = Signal(17, reset_less=True)
        m.d.comb += divider.pair.eq(product.total[-2:])
        # What is set is overridden below where it differs.
        m.d.comb += [
            divider.rest.eq(s.scale), divider.divisor.eq(divider.quotient),
            product.value.eq(s.epsilon), product.x.eq(Cat(Const(0, 8), sums["squares"])),
            product.y.eq(n),
        ]
        full = Signal()
        m.d.comb += self.full.eq(full)
        with m.If(self.used):
            m.d.sync += full.eq(0)

        with m.FSM(name="work"):
            with m.State("IDLE"):
                m.d.sync += [
                    shift.eq(s.shift), size.eq(size_now), negative.eq(sums["distances"][-1]),
                ]
                with m.If(pending):
                    m.d.sync += pending.eq(self.sums_valid)
                    m.d.comb += [divider.set.eq(1), product.set.eq(1), product.start.eq(1)]
                    with m.If(self.softmax):
                        m.d.comb += divider.divisor.eq(sums["exponentials"])
                        m.next = "QUOTIENT"
                    with m.Else():
                        m.d.comb += [
                            divider.rest.eq(size_now), divider.divisor.eq(Cat(Const(0, 8), n)),
                        ]
                        m.d.sync += [left.eq(8 + _MEAN), coarse4.eq(0)]
                        m.next = "SQUARES"
            with m.State("QUOTIENT"):
                m.d.comb += divider.step.eq(~(divider.quotient[16] | (shift == Arch.SHIFT_MAX)))
                with m.If(divider.step):
                    m.d.sync += shift.eq(shift + 1)
                with m.Else():
                    m.d.sync += a.eq(divider.quotient)
                    m.next = "DONE"
            with m.State("SQUARES"):  # the divider works at the mean meanwhile
                m.d.comb += divider.step.eq(left.any())
                m.d.sync += left.eq(left - left.any())
                with m.If(~product.busy):
                    m.d.comb += [
                        product.x.eq(Cat(Const(0, 8), size)), product.y.eq(size),
                        product.minus.eq(1), product.start.eq(self.layer),
                    ]
                    m.next = "MEAN"
            with m.State("MEAN"):
                m.d.comb += divider.step.eq(left.any())
                m.d.sync += [left.eq(left - left.any()), mean.eq(divider.quotient)]
                with m.If(~product.busy & ~left.any()):
                    m.next = "COARSE"
            with m.State("COARSE"):
                m.d.comb += divider.set.eq(1)
                m.d.comb += [divider.rest.eq(0), divider.divisor.eq(0)]
                m.d.sync += left.eq(SumShapes.SPREAD // 2)
                with m.If(~product.total[-8:].any() & (coarse4 != 20)):
                    m.d.comb += product.shift8.eq(1)
                    m.d.sync += coarse4.eq(coarse4 + 4)
                with m.Else():
                    m.next = "ROOT"
            with m.State("ROOT"):
                m.d.comb += [
                    divider.root.eq(1), divider.step.eq(left.any()), product.shift2.eq(1),
                ]
                m.d.sync += [left.eq(left - 1), shift.eq(0)]
                with m.If(~left.any()):
                    m.d.comb += divider.set.eq(1)  # by the root
                    m.d.sync += left.eq(coarse4 + 7)
                    m.next = "FACTOR"
            with m.State("FACTOR"):
                m.d.comb += divider.step.eq(left.any())
                m.d.sync += [left.eq(left - 1), a.eq(divider.quotient)]
                with m.If(~left.any()):
                    with m.If(divider.quotient[13:].any() | (shift == _SHIFT_LAST)):
                        m.d.comb += [
                            product.set.eq(1), product.value.eq(1 << (_MEAN - 1)),
                            product.x.eq(mean), product.y.eq(divider.quotient[:17]),
                            product.start.eq(self.layer),
                        ]
                        m.next = "OFFSET"
                    with m.Else():
                        m.d.comb += divider.step.eq(1)
                        m.d.sync += [left.eq(3), shift.eq(shift + 4)]
            with m.State("OFFSET"):
                with m.If(~product.busy):
                    m.next = "DONE"
            with m.State("DONE"):
                offset = Mux(self.layer, product.total[_MEAN:], 0)
                half = Cat(Const(0, 3), shift[2:4] == 1, Const(0, 3), shift[2:4] == 2,
                           Const(0, 3), shift[2:4] == 3)
                with m.If(~full):
                    m.d.sync += [
                        full.eq(1), self.linear.a.eq(a), self.linear.shift.eq(shift),
                        self.linear.b.eq(Mux(negative, half + offset, half - offset)),
                    ]
                    m.next = "IDLE"
        return m
