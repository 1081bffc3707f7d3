"""Runs SUPPRESS: of boxes that overlap, the best one stays."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from falconet.isa import INSTRUCTION_BITS, Arch, Suppression
from falconet.isa import Suppress as Instruction
from falconet_hw.detect.forms import (
    RECORD_LATENCY,
    TABLE_LATENCY,
    OptionsLayout,
    RecordLayout,
    RecordPortSignature,
    TableReadSignature,
)
from falconet_hw.detect.overlap import Overlap
from falconet_hw.detect.penalty import Penalty
from falconet_hw.detect.records import better
from falconet_hw.layout import instruction_layout
from falconet_hw.stream.delay import delay

__all__ = ["Suppress"]

_DEPTH = RECORD_LATENCY + Overlap.LATENCY  # cycles from a row's number to the decision


class Suppress(wiring.Component):
    """Non-maximum suppression of the records, in place.

    ::

        row -> memory -> Overlap with the reference -> gone / worse -> memory, behind those
                      +-> delay ------------------+            |        that stay
                                                       best so far -> next reference

    The first pass looks for the best record, each further one also drops or decays what overlaps
    the best one of the pass before. A pass reads the records left, one a cycle; it writes those
    that are left then, but for the best, to the rows from ``kept + 1`` on, which have been read.
    A record that needs a Penalty stops the pass: those behind it are given up and read again, so
    that they arrive when it is done.

    Cycles from ``start`` to ``done``: 4, and for each pass 13 and the records left at its
    beginning, and ``PENALTY_LATENCY[mode] + 1`` for each pair that needs a Penalty (24, 30 and 39).
    There is a pass for each record that stays, and one more when nothing survives the last. None
    of K suppressed and all wanted: ``4 + 13 * K + K * (K + 1) / 2``.

    Members
    -------
    start : In(1)
    instr : In(512)
        Holds still until ``done``, like ``count_i``.
    count_i : In(range(candidates + 1))
        Records that there are.
    table : Out(TableReadSignature())
    port : Out(RecordPortSignature(arch))
    done : Out(1)
    count_o : Out(range(candidates + 1))
        Records that stay, from ``done`` on.
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        count = range(arch.candidates + 1)
        super().__init__({
            "start": In(1),
            "instr": In(INSTRUCTION_BITS),
            "count_i": In(count),
            "table": Out(TableReadSignature()),
            "port": Out(RecordPortSignature(arch)),
            "done": Out(1),
            "count_o": Out(count),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        arch, port, kept = self.arch, self.port, self.count_o
        instr = data.View(instruction_layout(Instruction), self.instr)
        greedy = instr.mode == Suppression.GREEDY.value
        limits = Signal(OptionsLayout(), reset_less=True)
        room = Signal.like(instr.limit, reset_less=True)

        # Reading: rows of the pass from `row` on.
        row = Signal(range(arch.candidates), reset_less=True)
        end = Signal.like(kept, reset_less=True)
        reading = Signal()
        again = Signal()
        flush = Signal()
        at = Signal.like(kept, reset_less=True)  # row of the record that is decided next
        chain = Signal(_DEPTH)
        m.d.comb += port.read_row.eq(row)
        m.d.sync += chain.eq(Mux(flush, 0, Cat(reading, chain)))
        following = Signal.like(kept)
        m.d.comb += following.eq(Mux(again, at, row) + 1)
        with m.If(reading | again):
            m.d.sync += [row.eq(following), reading.eq(following != end)]

        later = Signal(reset_less=True)  # there is a reference: it is not the first pass
        # Deciding: record, hit and valid belong together.
        record, reference, best = (
            Signal(RecordLayout(), name=name, reset_less=True)
            for name in ("record", "reference", "best")
        )
        m.submodules.overlap = overlap = Overlap()
        m.submodules.penalty = penalty = Penalty(
            arch=arch, lead=_DEPTH - 1,  # the next record comes two cycles after done
        )
        delayed = data.View(RecordLayout(), delay(
            m, port.read_data.as_value(), Overlap.LATENCY - 1, name="delayed",
        ))
        busy = Signal()
        settled = Signal()
        spared = Signal()
        related = Signal(reset_less=True)
        for name in ("x1", "y1", "x2", "y2"):
            m.d.comb += [
                overlap.i_box[name].eq(port.read_data[name]),
                overlap.i_reference[name].eq(reference[name]),
            ]
        m.d.sync += related.eq(
            later & (instr.agnostic | (delayed.label == reference.label))
        )
        hit = related & Mux(
            instr.mode == Suppression.SOFT_GAUSSIAN.value, overlap.o_inter.any(), overlap.o_over
        )
        arrived = chain[-1]
        m.d.comb += [
            overlap.threshold.eq(limits.threshold),
            flush.eq(arrived & hit & ~greedy),
            again.eq(penalty.soon),
            penalty.start.eq(flush),
            penalty.mode.eq(instr.mode),
            penalty.score_min.eq(limits.score_min),
            penalty.threshold.eq(limits.threshold),
            penalty.record.eq(record),
            penalty.reference.eq(reference),
            penalty.inter.eq(overlap.o_inter),
            penalty.union.eq(overlap.o_union),
            penalty.table.data.eq(self.table.data),
        ]
        with m.If(~flush & ~busy):
            m.d.sync += record.eq(delayed)
        with m.If(flush):
            m.d.sync += [busy.eq(1), reading.eq(0)]
        with m.If(penalty.done):
            m.d.sync += [busy.eq(0), record.score.eq(penalty.score)]
        m.d.sync += [spared.eq(penalty.done & ~penalty.gone), settled.eq(penalty.done)]
        stays = spared | (arrived & ~hit)

        # Keeping: the best one so far in a register, the others in memory.
        have = Signal(reset_less=True)
        wins = Signal()
        last = Signal()
        write = Signal()
        free = Signal.like(kept, reset_less=True)
        write_row = Signal.like(port.write_row, reset_less=True)
        write_data = Signal(RecordLayout(), reset_less=True)
        m.d.comb += [
            wins.eq(~have | better(record, best)),
            last.eq(at == end),
            port.write.eq(write), port.write_row.eq(write_row), port.write_data.eq(write_data),
        ]
        m.d.sync += [
            at.eq(at + (settled | (arrived & ~flush))),
            write.eq(stays & have), write_row.eq(free),
            write_data.eq(Mux(wins | last, best, record)),
        ]
        with m.If(stays):
            m.d.sync += [have.eq(1), free.eq(free + have)]
            with m.If(wins):
                m.d.sync += best.eq(record)

        m.d.comb += self.table.row.eq(Arch.TABLE_OPTIONS)
        wait = Signal(range(TABLE_LATENCY + 1), reset_less=True)
        with m.FSM(init="IDLE"):
            with m.State("IDLE"):
                m.d.sync += wait.eq(TABLE_LATENCY)
                with m.If(self.start):
                    m.next = "OPTIONS"
            with m.State("OPTIONS"):
                options = data.View(OptionsLayout(), self.table.data)
                m.d.sync += [
                    limits.eq(options), wait.eq(wait - 1),
                    room.eq(Mux(options.maximum < instr.limit, options.maximum, instr.limit)),
                    kept.eq(0), end.eq(self.count_i), later.eq(0),
                ]
                with m.If(wait == 0):
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += [row.eq(kept), at.eq(kept), free.eq(kept + 1), have.eq(0)]
                with m.If((kept == room) | (kept == end)):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
                with m.Else():
                    m.d.sync += reading.eq(1)
                    m.next = "PASS"
            with m.State("PASS"):
                m.d.comb += self.table.row.eq(penalty.table.row)
                with m.If(last):
                    m.d.sync += [
                        reference.eq(best), later.eq(1), end.eq(free), kept.eq(kept + have),
                        write.eq(have), write_row.eq(kept),
                    ]
                    m.next = "NEXT"
                    with m.If(~have):
                        m.d.sync += end.eq(kept)
        return m
