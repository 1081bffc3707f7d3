"""Streams that wait: a queue in LUT RAM and a register slice, both with registered ready."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.hdl import ShapeLike
from amaranth.lib import stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

__all__ = ["Fifo", "RegisterSlice"]


class Fifo(Component):
    """First in, first out: ``depth`` entries in LUT RAM and one in the output register.

    One entry a cycle, latency two cycles. ``i.ready``, ``o.valid`` and ``o.payload`` are
    registers.

    Parameters
    ----------
    shape: ShapeLike
    depth: int
        A power of two.

    Members
    -------
    i: In(stream.Signature(shape))
    o: Out(stream.Signature(shape))
    level: Out(range(depth + 1))
        Entries in the memory, the output register not counted.
    """

    def __init__(self, shape: ShapeLike, *, depth: int) -> None:
        self.shape, self.depth = shape, depth
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "level": Out(range(depth + 1)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.shape, depth=self.depth, init=[])
        wp = memory.write_port()
        rp = memory.read_port(domain="comb")
        level = Signal(range(self.depth + 1))
        payload = Signal.like(self.o.payload, reset_less=True)
        push = Signal()
        pop = Signal()
        m.d.comb += [
            self.level.eq(level),
            self.i.ready.eq(~level[exact_log2(self.depth)]),  # level < depth
            push.eq(self.i.valid & self.i.ready),
            pop.eq(level.any() & (~self.o.valid | self.o.ready)),
            wp.en.eq(push),
            wp.data.eq(self.i.payload),
            self.o.payload.eq(payload),
        ]
        m.d.sync += [
            level.eq(level + push - pop),
            wp.addr.eq(wp.addr + push),
            rp.addr.eq(rp.addr + pop),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(pop):
            m.d.sync += [self.o.valid.eq(1), payload.eq(rp.data)]
        return m


class RegisterSlice(Component):
    """Two entries of registers that cut every combinational path of a stream.

    One entry a cycle, latency one cycle.

    Parameters
    ----------
    shape: ShapeLike

    Members
    -------
    i: In(stream.Signature(shape))
    o: Out(stream.Signature(shape))
    """

    def __init__(self, shape: ShapeLike) -> None:
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        first = Signal.like(self.o.payload, name="first", reset_less=True)
        spare = Signal.like(self.o.payload, name="spare", reset_less=True)
        spare_valid = Signal()
        m.d.comb += [self.i.ready.eq(~spare_valid), self.o.payload.eq(first)]
        with m.If(~spare_valid):
            m.d.sync += spare.eq(self.i.payload)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid | spare_valid),
                spare_valid.eq(0),
            ]
            with m.If(spare_valid):
                m.d.sync += first.eq(spare)
            with m.Else():
                m.d.sync += first.eq(self.i.payload)
        with m.Else():
            m.d.sync += spare_valid.eq(self.i.valid | spare_valid)
        return m
