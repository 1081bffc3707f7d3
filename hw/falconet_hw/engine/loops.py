"""Affine address generation: nested counters, offset accumulators, rings and padding.

Every register looks only at its own level: an offset is added to itself and starts anew when its
level wraps, and the offsets of all levels are summed in the feed-forward pipeline of
:class:`ViewAddress`. No carry chain crosses a level, and a level's enable is a handful of
registered ``last`` flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amaranth import Cat, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from falconet_hw.layout import PIXEL, WORD_ADDRESS
from falconet_hw.stream.delay import delay

__all__ = ["COORD", "Level", "LoopNest", "ViewAddress", "accumulate", "ring_accumulate"]

COORD = signed(18)
"""A row or column of the input: iy0 + y * stride + ky * dilation for all legal fields."""


@dataclass(frozen=True)
class Level:
    """One loop as its accumulators see it.

    ``start`` and ``advance`` say that at the end of this cycle the loop begins its first
    iteration, or goes on to the next; ``last`` that an advance begins it anew.
    """

    start: Value
    advance: Value
    last: Value


class LoopNest(wiring.Component):
    """Nested counters that step once a cycle.

    Parameters
    ----------
    widths: Mapping[str, int]
        Bits of each level's count, innermost level first.

    Members
    -------
    start : In(1)
        Go to the first iteration. Takes effect in the next cycle.
    step : In(1)
        Go to the next iteration; after the very last one the nest is at its first again.
    n_{level} : In(width)
        Iterations, at least 1; must be stable from ``start`` to the last step.
    last_{level} : Out(1)
        The level is in its last iteration (a register).
    advance_{level} : Out(1)
        ``step``, and all levels inside are in their last iteration.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        self.widths = dict(widths)
        members: dict[str, Any] = {"start": In(1), "step": In(1)}
        for name, width in self.widths.items():
            members[f"n_{name}"] = In(width)
            members[f"last_{name}"] = Out(1)
            members[f"advance_{name}"] = Out(1)
        super().__init__(members)

    def level(self, name: str) -> Level:
        return Level(self.start, getattr(self, f"advance_{name}"), getattr(self, f"last_{name}"))

    def last(self, *names: str) -> Value:
        """All these levels are in their last iteration."""
        return Cat(getattr(self, f"last_{name}") for name in names).all()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        inner: list[Value] = []
        for name, width in self.widths.items():
            n, last = getattr(self, f"n_{name}"), getattr(self, f"last_{name}")
            advance = getattr(self, f"advance_{name}")
            left = Signal(width, name=f"left_{name}", reset_less=True)
            m.d.comb += advance.eq(Cat(self.step, *inner).all())
            with m.If(self.start | advance):
                with m.If(self.start | last):
                    m.d.sync += [left.eq(n), last.eq(n == 1)]
                with m.Else():
                    m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
            inner.append(last)
        return m


def accumulate(
    m: Module, level: Level, step: Value, *, shape: Any = WORD_ADDRESS, init: Any = 0, name: str,
) -> Signal:
    """``init + step * iteration`` of a level, modulo the shape: a register."""
    total = Signal(shape, name=name, reset_less=True)
    with m.If(level.start | level.advance):
        m.d.sync += total.eq(Mux(level.start | level.last, init, total + step))
    return total


def ring_accumulate(
    m: Module, level: Level, step: Value, ring: Value, *, init: Any = 0, name: str,
) -> Signal:
    """``(init + step * iteration) mod ring`` of a level, or modulo 2**16 where ``ring`` is 0.

    ``init`` and ``step`` are smaller than a ring that is not 0. ``step`` and ``ring`` must be
    stable from two cycles before the first advance: what a wrap adds is computed in advance.
    """
    # Without a ring the two sums are equal.
    wrap_step = Signal(signed(17), name=f"{name}_wrap_step", reset_less=True)
    m.d.sync += wrap_step.eq(step - ring)
    total = Signal(WORD_ADDRESS, name=name, reset_less=True)
    straight = Signal(WORD_ADDRESS, name=f"{name}_straight")
    wrapped = Signal(signed(18), name=f"{name}_wrapped")
    m.d.comb += [straight.eq(total + step), wrapped.eq(total + wrap_step)]
    following = Mux(wrapped[-1], straight, wrapped[:16])
    with m.If(level.start | level.advance):
        m.d.sync += total.eq(Mux(level.start | level.last, init, following))
    return total


class ViewAddress(wiring.Component):
    """Word address of a view: ``base + (row0 + row1) mod ring + col0 + col1 + col2``.

    Also whether the coordinates ``y0 + y1``, ``x0 + x1`` lie outside ``[0, height) x [0, width)``.
    One address a cycle, ``LATENCY`` cycles later, no stall; all additions modulo 2**16.

    Members
    -------
    base, col0, col1, col2 : In(WORD_ADDRESS)
    row0, row1 : In(WORD_ADDRESS)
        Both smaller than ``ring`` unless that is 0, which means no ring.
    ring : In(WORD_ADDRESS)
        Like ``height`` and ``width`` it must come with the others and one cycle later.
    y0, y1, x0, x1 : In(COORD)
    height, width : In(PIXEL)
    addr : Out(WORD_ADDRESS)
    outside : Out(1)
    """

    LATENCY = 3

    def __init__(self) -> None:
        words = ("base", "col0", "col1", "col2", "row0", "row1", "ring")
        super().__init__({
            **{name: In(WORD_ADDRESS) for name in words},
            **{name: In(COORD) for name in ("y0", "y1", "x0", "x1")},
            "height": In(PIXEL),
            "width": In(PIXEL),
            "addr": Out(WORD_ADDRESS),
            "outside": Out(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()

        def reg(shape: Any, value: Any, name: str) -> Signal:
            s = Signal(Shape.cast(shape), name=name, reset_less=True)
            m.d.sync += s.eq(value)
            return s

        row1 = reg(17, self.row0 + self.row1, "row_sum")
        left = reg(16, self.base + self.col0, "left_sum")
        right = reg(16, self.col1 + self.col2, "right_sum")
        y = reg(COORD, self.y0 + self.y1, "y")
        x = reg(COORD, self.x0 + self.x1, "x")

        row2 = delay(m, row1, 1, name="row_straight")
        wrapped = reg(signed(18), row1 - self.ring, "row_wrapped")
        rest = reg(16, left + right, "rest")
        out_y = reg(1, y[-1] | (y[:-1] >= self.height), "out_y")
        out_x = reg(1, x[-1] | (x[:-1] >= self.width), "out_x")

        row = Mux(wrapped[-1], row2[:16], wrapped[:16])
        m.d.comb += [
            self.addr.eq(reg(16, rest + row, "sum")),
            self.outside.eq(reg(1, out_y | out_x, "out_yx")),
        ]
        return m
