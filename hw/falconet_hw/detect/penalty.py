"""What an overlap costs a record, in the modes that need more of it than a comparison."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from falconet.isa import Arch, Suppression
from falconet_hw.detect.divide import Divide
from falconet_hw.detect.forms import TABLE_LATENCY, EntryLayout, RecordLayout, TableReadSignature
from falconet_hw.stream.delay import add_with_carry, delay

__all__ = ["PENALTY_LATENCY", "Penalty"]

_ONE = 1 << Arch.SCORE_BITS
_SQUARES = 2 * Arch.BOX_BITS + 3  # bits of d2 and c2
_IOU = Divide.LATENCY + Arch.SCORE_BITS  # cycle of the first quotient
_PRODUCT = 3  # cycles from the choice of the operands to the product
_SQUARE = 4 + _PRODUCT  # cycle of the first square
_WEIGHT = _IOU + 1 + TABLE_LATENCY + _PRODUCT  # cycle of the Gaussian weight

PENALTY_LATENCY = {
    Suppression.SOFT_LINEAR: _IOU + _PRODUCT + 2,
    Suppression.SOFT_GAUSSIAN: _WEIGHT + _PRODUCT + 2,
    Suppression.DIOU: 2 * _IOU + 2,
}
"""Cycles that a pair takes."""


class Penalty(wiring.Component):
    """The new score of a record, or that it is gone; docs/arithmetic.md, Suppression.

    First the IoU, by a bit-serial divider of 35 bits. Then SOFT_LINEAR multiplies the score,
    SOFT_GAUSSIAN interpolates in the table before, and DIOU divides again: the squares, which were
    added up during the first division. One multiplier serves all. ``PENALTY_LATENCY[mode]`` cycles
    from ``start`` to ``done``, one record at a time.

    Parameters
    ----------
    arch : Arch
    lead : int
        Cycles from ``soon`` to ``done``.

    Members
    -------
    start : In(1)
    mode : In(2)
        A Suppression, not GREEDY. This and what follows hold still until ``done``.
    score_min : In(SCORE_BITS)
    threshold : In(SCORE_BITS + 1)
    record, reference : In(RecordLayout())
    inter, union : In(32), In(33)
        Used with ``start`` only. Neither is 0.
    table : Out(TableReadSignature())
    soon, done : Out(1)
    gone : Out(1)
    score : Out(SCORE_BITS)
        Both with ``done``.
    """

    def __init__(self, *, arch: Arch, lead: int) -> None:
        self.lead = lead
        box = 2 * arch.BOX_BITS
        super().__init__({
            "start": In(1),
            "mode": In(2),
            "score_min": In(arch.SCORE_BITS),
            "threshold": In(arch.SCORE_BITS + 1),
            "record": In(RecordLayout()),
            "reference": In(RecordLayout()),
            "inter": In(box),
            "union": In(box + 1),
            "table": Out(TableReadSignature()),
            "soon": Out(1),
            "done": Out(1),
            "gone": Out(1),
            "score": Out(arch.SCORE_BITS),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        tick = Signal(range(max(PENALTY_LATENCY.values()) + 1))  # cycles since start
        with m.If(self.start):
            m.d.sync += tick.eq(1)
        with m.Elif(self.done):
            m.d.sync += tick.eq(0)
        with m.Elif(tick.any()):
            m.d.sync += tick.eq(tick + 1)
        with m.Switch(self.mode):
            for mode, latency in PENALTY_LATENCY.items():
                with m.Case(mode.value):
                    m.d.comb += [
                        self.soon.eq(tick == latency - self.lead), self.done.eq(tick == latency),
                    ]

        a, b = (Signal(signed(18), name=name, reset_less=True) for name in "ab")
        product = Signal(signed(36), reset_less=True)
        m.d.sync += product.eq(a * b)
        p = delay(m, product, 1, name="product")
        centres, diagonal = self._sums(m, tick, p)

        m.submodules.divide = divide = Divide(bits=_SQUARES, fraction=Arch.SCORE_BITS)
        quotient = divide.quotient
        iou = Signal.like(quotient, reset_less=True)
        again = tick == _IOU
        m.d.comb += [
            divide.start.eq(self.start | again),
            divide.numerator.eq(Mux(self.start, self.inter, centres)),
            divide.denominator.eq(Mux(self.start, self.union, diagonal)),
        ]
        with m.If(again):
            m.d.sync += iou.eq(quotient)

        index = iou[:-1] | iou[-1].replicate(Arch.SCORE_BITS)  # min(iou, 65535)
        entry = data.View(EntryLayout(), self.table.data.word_select(index[8], 64))
        weight = add_with_carry(entry.score, ~p[8:24], ~p[7])[:16]  # score - ((p + 128) >> 8)
        m.d.comb += self.table.row.eq(index[9:])
        side = self._side(m, tick)
        with m.Switch(self.mode):
            with m.Case(Suppression.SOFT_LINEAR.value):
                m.d.sync += [a.eq(self.record.score), b.eq(_ONE - quotient)]
            with m.Case(Suppression.SOFT_GAUSSIAN.value):
                m.d.sync += [a.eq(self.record.score), b.eq(weight)]
                with m.If(tick == _WEIGHT - _PRODUCT):
                    m.d.sync += [a.eq(entry.objectness), b.eq(index[:8])]
            with m.Default():
                m.d.sync += [a.eq(side), b.eq(side)]

        score = Signal.like(self.score, reset_less=True)
        surplus = Signal(signed(Arch.SCORE_BITS + 2), reset_less=True)
        m.d.sync += [
            score.eq(p[16:32] + p[15]), self.score.eq(score), self.gone.eq(score < self.score_min),
            surplus.eq(iou - quotient),
        ]
        with m.If(self.mode == Suppression.DIOU.value):
            m.d.sync += [
                self.score.eq(self.record.score), self.gone.eq(surplus > self.threshold),
            ]
        return m

    def _side(self, m: Module, tick: Signal) -> Signal:
        """What is squared, in order: 3 to 6 cycles after start, twice the distance of the centres
        and twice the size of the smallest box around both, along y; then along x."""
        at, to = self.record, self.reference
        ends = [Mux(tick[1], at[f"y{i}"], at[f"x{i}"]) for i in (1, 2)]
        ends_to = [Mux(tick[1], to[f"y{i}"], to[f"x{i}"]) for i in (1, 2)]
        n = Arch.BOX_BITS
        centre, centre_to = (
            Signal(signed(n + 1), name=name, reset_less=True) for name in ("centre", "centre_to")
        )
        first, last = (Signal(signed(n), name=name, reset_less=True) for name in ("first", "last"))
        m.d.sync += [
            centre.eq(ends[0] + ends[1]), centre_to.eq(ends_to[0] + ends_to[1]),
            first.eq(Mux(ends[0] < ends_to[0], ends[0], ends_to[0])),
            last.eq(Mux(ends[1] > ends_to[1], ends[1], ends_to[1])),
        ]
        side = Signal(signed(n + 2), reset_less=True)
        m.d.sync += side.eq(Mux(tick[0], centre - centre_to, Cat(0, last - first).as_signed()))
        return side

    def _sums(self, m: Module, tick: Signal, square: Any) -> tuple[Signal, Signal]:
        """d2 and c2 of docs/arithmetic.md, from the four squares."""
        older, newer = (Signal(_SQUARES, name=name, reset_less=True) for name in ("older", "newer"))
        with m.Switch(tick):
            with m.Case(_SQUARE, _SQUARE + 1):
                m.d.sync += [newer.eq(square), older.eq(newer)]
            with m.Case(_SQUARE + 2, _SQUARE + 3):
                m.d.sync += [newer.eq(older + square), older.eq(newer)]
        return older, newer
