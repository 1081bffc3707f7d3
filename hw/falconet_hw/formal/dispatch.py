"""Dispatch hands out every instruction once, in order, when its waits are met; and always does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from amaranth import Array, Module, Mux, Signal
from amaranth.hdl import Assert, Assume
from amaranth.lib import data
from amaranth.lib.wiring import Component, In

from falconet.isa import INSTRUCTION_BITS, End, Engine, instruction_classes, preset
from falconet_hw import dispatch
from falconet_hw.formal.inside import Inside
from falconet_hw.formal.proof import Mutant, Proof
from falconet_hw.formal.streams import before
from falconet_hw.layout import instruction_layout

__all__ = ["PROOFS", "DispatchProof", "QueueProof"]

_WAITS = [f"wait_{e.name.lower()}" for e in Engine]
_BITS = 20  # of a number of instructions that does not wrap: more than the 16 of a wait


class QueueProof(Component):
    """An engine's queue: an instruction chosen by ``pick`` is offered once, in order, when it may.

    ``done`` are the instructions retired by each engine and ``need`` those that the chosen one
    waits for, as numbers that do not wrap. It is offered only when ``need <= done``; and when it
    is the first and nothing halts, two cycles after that, if the machine is not 2**15 or more
    ahead. An offer stays until taken or halted.

    Members
    -------
    word, valid, ready, halt, pick : In
    retire : In(5)
        Each engine retires at most one instruction a cycle.
    need : In(20).array(5)
        Of the instruction at the input; ``wait_*`` is ``need`` modulo 2**16. It is at most
        2**15 ahead of what has retired when the instruction enters.
    """

    def __init__(self, queue: Any) -> None:
        self.queue = queue
        super().__init__({
            "word": In(INSTRUCTION_BITS), "valid": In(1), "ready": In(1), "halt": In(1),
            "pick": In(1), "retire": In(len(Engine)), "need": In(_BITS).array(len(Engine)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut, depth = self.queue, self.queue.arch.queue_depth
        inside = Inside(dut)
        m.submodules.dut = inside.module
        done = [Signal(_BITS, name=f"done{e}") for e in Engine]
        need = [Signal(_BITS, name=f"need{e}") for e in Engine]
        enter, leave = Signal(), Signal()
        width = len(inside["word"])
        m.d.comb += [
            dut.i.payload.eq(self.word), dut.i.valid.eq(self.valid), dut.halt.eq(self.halt),
            dut.o.ready.eq(self.ready), enter.eq(self.valid & dut.i.ready),
            leave.eq(dut.o.valid & self.ready),
            *(dut.retired[e].eq(done[e][:16]) for e in Engine),
        ]
        m.d.sync += [done[e].eq(done[e] + self.retire[e]) for e in Engine]
        m.d.comb += [Assume(done[e] < (1 << _BITS) - (1 << 16)) for e in Engine]

        count = Signal(range(depth + 1))
        chosen, ahead, word = Signal(), Signal.like(count), Signal(width)
        m.d.sync += count.eq(count + enter - leave)
        with m.If(chosen & leave):
            m.d.sync += [ahead.eq(ahead - 1), chosen.eq(ahead != 0)]
        header = data.View(instruction_layout(End), self.word)
        with m.If(enter & self.pick & ~chosen):
            m.d.sync += [
                chosen.eq(1), word.eq(self.word), ahead.eq(count - leave),
                *(need[e].eq(self.need[e]) for e in Engine),
            ]
            m.d.comb += [
                Assume((header[_WAITS[e]] == self.need[e][:16])
                       & (self.need[e] <= done[e] + (1 << 15)))
                for e in Engine
            ]
        offered = chosen & (ahead == 0) & dut.o.valid
        # Met, and still so when it is looked at: what has retired is less than 2**15 ahead.
        may = Signal()
        m.d.comb += may.eq(1)
        for e in Engine:
            m.d.comb += Assert(~offered | (need[e] <= done[e]))
            with m.If((need[e] > done[e]) | (done[e] - need[e] >= (1 << 15) - 2)):
                m.d.comb += may.eq(0)
        waiting = Signal(2)
        able = chosen & (ahead == 0) & may & ~self.halt
        m.d.sync += waiting.eq(Mux(able & ~dut.o.valid, waiting + 1, 0))
        m.d.comb += [
            Assert(count <= depth), Assert(~dut.o.valid | (count != 0)),
            Assert(dut.i.ready == (count != depth)),
            Assert(~offered | (dut.o.payload == word)),
            Assert(~chosen | (ahead < count)),
            Assert(waiting <= 2),
        ]

        # For the induction.
        taken = before(m, leave, "taken")
        able_before = before(m, able, "able")
        port = inside["memory"].read_port(domain="comb")
        head, tail = inside["head"], inside["tail"]
        fits = data.View(instruction_layout(End), word)
        m.d.comb += [
            port.addr.eq(head + ahead),
            Assert((tail - head - count)[:len(head)] == 0),
            Assert(~chosen | (port.data == word)),
            *(Assert(~chosen | (fits[_WAITS[e]] == need[e][:16])) for e in Engine),
            *(Assert(~chosen | (need[e] <= done[e] + (1 << 15))) for e in Engine),
            Assert((waiting == 0) | dut.o.valid | before(m, leave, "left") | ~able_before),
            Assert(~taken | ~dut.o.valid),
        ]
        return m
