"""Bursts are what their runs ask for, and lie inside their segment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from amaranth import Array, Module, Mux, Signal
from amaranth.hdl import Assert, Assume
from amaranth.lib.wiring import Component, In

from falconet.isa import ErrorCode, Segment, preset
from falconet_hw.dma import burst
from falconet_hw.dma.axi import SegmentsLayout
from falconet_hw.dma.burst import Run
from formal.inside import Inside
from formal.proof import Mutant, Proof
from formal.streams import assert_steady

__all__ = ["PROOFS", "SplitterProof"]


class SplitterProof(Component):
    """What enters the splitter's register slice are the parts of the runs, in order.

    A run of ``beats + 1`` beats from ``offset`` is cut at the multiples of ``8 * burst_beats``
    bytes. A part from ``begin`` to ``end`` is good if the segment is allowed, ``end <= size`` and
    ``base + end <= 2**32``, all of them integers. Of what leaves the slice, which keeps the order
    (``slice_8``), good parts are offered; the first other one is the error, and stays there.

    Members
    -------
    segments, run, valid, ready : In
        What the splitter gets. The low three bits of an offset are 0.
    """

    def __init__(self, splitter: Any) -> None:
        self.splitter = splitter
        super().__init__({
            "segments": In(SegmentsLayout()), "run": In(Run()), "valid": In(1), "ready": In(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut, line = self.splitter, 8 * self.splitter.arch.burst_beats
        inside = Inside(dut)
        m.submodules.dut = inside.module
        m.d.comb += [
            dut.segments.eq(self.segments), dut.runs.payload.eq(self.run),
            dut.runs.valid.eq(self.valid), dut.bursts.ready.eq(self.ready),
            Assume(self.run.offset[:3] == 0),
        ]

        # What is left of the run under way, in bytes: [begin, begin + left).
        active, tag, allowed = Signal(), Signal(), Signal()
        begin, left = Signal(35), Signal(21)
        base, size = Signal(32), Signal(32)
        length, end, last = Signal(21), Signal(35), Signal()
        segment = self.segments[self.run.segment]
        part, into, out = inside["out"].i.payload, inside["out"].i, inside["out"].o
        step = into.valid & into.ready
        to_line = line - begin % line
        m.d.comb += [
            length.eq(Mux(left < to_line, left, to_line)),
            end.eq(begin + length), last.eq(length == left),
        ]
        with m.If(step):
            m.d.sync += [begin.eq(end), left.eq(left - length), active.eq(~last)]
        with m.If(self.valid & dut.runs.ready):
            m.d.sync += [
                active.eq(1), tag.eq(self.run.tag),
                begin.eq(self.run.offset), left.eq((self.run.beats + 1) << 3),
                base.eq(segment.base >> 12 << 12), size.eq(segment.size >> 7 << 7),
                allowed.eq(Array(s not in dut.refused for s in Segment)[self.run.segment]),
            ]
        good = allowed & (end <= size) & (base + end <= 1 << 32)
        address = (base + begin)[:32]
        m.d.comb += [
            Assert(into.valid == active),
            Assert(dut.runs.ready == (~active | (step & last))),
            Assert(~active | (part.bad == ~good)),
            Assert(~active | (part.burst.addr == address)),
            Assert(~active | (part.burst.len == (length >> 3) - 1)),
            Assert(~active | (part.burst.tag == (tag & last))),
            # So it crosses no line, and no page of 4 KiB.
            Assert(~active | (address % line + 8 * part.burst.len + 8 <= line)),
        ]
        error = dut.error
        failing = out.valid & out.payload.bad
        m.d.comb += [
            Assert(dut.bursts.valid == (out.valid & ~out.payload.bad)),
            Assert(~dut.bursts.valid | (dut.bursts.payload == out.payload.burst)),
            Assert(out.ready == (self.ready & ~out.payload.bad)),
            Assert(~error.valid | (failing & (error.code == ErrorCode.WINDOW)
                                   & (error.address == out.payload.burst.addr))),
        ]
        failed = Signal()
        m.d.sync += failed.eq(failing)
        m.d.comb += Assert(error.valid == failed)
        assert_steady(m, dut.bursts.valid, self.ready, dut.bursts.payload, "burst")

        # For the induction.
        slots = len(inside["slot"])
        position = begin >> 3
        lines = position >> slots
        m.d.comb += Assert(~active | (
            (left != 0) & (left[:3] == 0) & (begin[:3] == 0)
            & (inside["slot"] == position[:slots])
            & (inside["line"][:-1] == lines[:len(inside["line"]) - 1])
            & (inside["line"][-1] == (begin >> 32).any()) & (begin[34] == 0)
            & (inside["left"] == (begin % line + left - 1) // line)
            & (inside["final"] == last)
            & (inside["last_slot"] == (position + (left >> 3) - 1)[:slots])
            & (inside["tag"] == tag) & (inside["refused"] == ~allowed)
            & (inside["base"] << 12 == base) & (inside["size"] << 7 == size)
        ))
        m.d.comb += Assert(~active | (begin + left < (1 << 33) + (1 << 20)))
        return m


def _splitter(beats: int) -> Callable[[Any], SplitterProof]:
    arch = replace(preset("tiny"), burst_beats=beats)
    refused = (Segment.CODE, Segment.INPUT)
    return lambda module: SplitterProof(module.BurstSplitter(arch=arch, refused=refused))


_MUTANTS = {
    "the end of the window counts": Mutant("page[-1] |", ">= size", "> size"),
    "no carry of the address": Mutant("page[-1] |", "page[-1] | offset[-1]", "offset[-1]"),
    "no carry of the offset": Mutant("page[-1] |", "page[-1] | offset[-1]", "page[-1]"),
    "segments not refused": Mutant("page[-1] |", "| refused ", ""),
    "bursts of a beat less": Mutant("burst.len.eq", "burst_beats - 1", "burst_beats - 2"),
    "the first burst as long as the others": Mutant("burst.len.eq", "- slot", "- 0"),
    "a run from its line's begin": Mutant("slot.eq(run", "run.offset[_BEAT:]", "0"),
    "the tag on every burst": Mutant("burst.tag.eq", "tag & final", "tag"),
    "the last burst lost": Mutant("left.eq(span", "span[slot_bits:]", "run.beats >> slot_bits"),
    "a refused burst is offered": Mutant("self.bursts.valid.eq", " & ~out.o.payload.bad", ""),
    "what follows a refused burst is offered":
        Mutant("out.o.ready.eq", " & ~out.o.payload.bad", ""),
}

PROOFS = [
    Proof(
        f"bursts_{beats}", burst, "`burst.BurstSplitter`",
        "every run becomes its parts: address, length, tag, order, none lost; only a part inside "
        "its segment is offered, none crosses a line; the first other one is the error, and "
        "nothing follows; an offer stays until taken",
        f"the machine's; bursts of {beats} beats",
        "offsets are multiples of 8; the register slice keeps the order (`slice_8`)",
        _splitter(beats), 4, 1, _MUTANTS, quick=beats == 16,
    )
    for beats in (16, 4)
]
