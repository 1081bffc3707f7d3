"""Room in a queue at the end of a pipeline."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.lib.wiring import Component, In, Out

from falconet_hw.stream.in_flight import in_flight

__all__ = ["Credits"]


class Credits(Component):
    """Counts the places of a queue that are promised to what is under way or used by what waits.

    Parameters
    ----------
    depth: int
        Places.

    Members
    -------
    take: In(1)
        One more is promised; only while ``room``.
    give: In(1)
        One is free again; counts two cycles later.
    room: Out(1)
        A register: not all are promised.
    """

    def __init__(self, *, depth: int) -> None:
        self.depth = depth
        super().__init__({"take": In(1), "give": In(1), "room": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        given = Signal()
        count = in_flight(m, self.take, given, limit=self.depth, name="count")
        following = Signal.like(count)
        m.d.comb += following.eq(count + self.take - given)
        m.d.sync += [given.eq(self.give), self.room.eq(following < self.depth)]
        return m
