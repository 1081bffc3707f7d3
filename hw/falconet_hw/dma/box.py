"""Boxes: the n2 x n1 runs of a strided copy, one address a cycle."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import ShapeLike
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from falconet.isa import Load
from falconet_hw.layout import field_shape

__all__ = ["Box", "BoxRun", "BoxWalker"]

_COUNT = field_shape(Load, "n1")


class Box(data.StructLayout):
    """``n2`` x ``n1`` runs (0 counts as 1), and what all of them have in common."""

    def __init__(self, width: int, common: ShapeLike) -> None:
        super().__init__({
            "n1": _COUNT, "n2": _COUNT,
            "base": width, "step1": width, "step2": width,
            "common": common,
        })


class BoxRun(data.StructLayout):
    """``at`` has a carry bit above: set for ever once a sum passes ``2**width``."""

    def __init__(self, width: int, common: ShapeLike) -> None:
        super().__init__({"at": width + 1, "last": 1, "common": common})


class BoxWalker(Component):
    """Run ``(i2, i1)`` of a box begins at ``base + i2 * step2 + i1 * step1``, ``i1`` innermost.

    One run a cycle, and a cycle without between two boxes; latency one cycle.

    Parameters
    ----------
    width: int
        Bits of an address.
    common: ShapeLike
        Handed on with every run of a box.

    Members
    -------
    boxes: In(stream.Signature(Box(width, common)))
    runs: Out(stream.Signature(BoxRun(width, common)))
    """

    def __init__(self, width: int, common: ShapeLike) -> None:
        self.width = width
        self.common = common
        super().__init__({
            "boxes": In(stream.Signature(Box(width, common))),
            "runs": Out(stream.Signature(BoxRun(width, common))),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        box, run = self.boxes.payload, self.runs.payload
        now = Signal(Box(self.width, self.common), reset_less=True)
        outer = Signal(self.width + 1, reset_less=True)
        inner = Signal(self.width + 1, reset_less=True)
        left1, left2 = (Signal(_COUNT, name=n, reset_less=True) for n in ("left1", "left2"))
        last1, last2, only1 = (
            Signal(name=n, reset_less=True) for n in ("last1", "last2", "only1")
        )
        valid = Signal()
        go = Signal()

        m.d.comb += [
            self.runs.valid.eq(valid),
            run.at.eq(inner), run.last.eq(last1 & last2), run.common.eq(now.common),
            go.eq(valid & self.runs.ready),
            self.boxes.ready.eq(~valid),
        ]
        total = Signal(self.width + 1)
        start, step = Mux(last1, outer, inner), Mux(last1, now.step2, now.step1)
        m.d.comb += total.eq(start[:-1] + step)
        moved = Cat(total[:-1], total[-1] | start[-1])

        with m.If(~valid):
            m.d.sync += [
                valid.eq(self.boxes.valid), now.eq(box),
                inner.eq(box.base), outer.eq(box.base),
                left1.eq(box.n1 - 1), last1.eq(box.n1 <= 1), only1.eq(box.n1 <= 1),
                left2.eq(box.n2 - 1), last2.eq(box.n2 <= 1),
            ]
        with m.Elif(go):
            m.d.sync += [valid.eq(~run.last), inner.eq(moved)]
            with m.If(last1):
                m.d.sync += [
                    outer.eq(moved),
                    left1.eq(now.n1 - 1), last1.eq(only1),
                    left2.eq(left2 - 1), last2.eq(left2 == 1),
                ]
            with m.Else():
                m.d.sync += [left1.eq(left1 - 1), last1.eq(left1 == 1)]
        return m
