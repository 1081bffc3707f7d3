"""Fetch: the program's instructions, from segment CODE to dispatch."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from falconet.isa import INSTRUCTION_BITS, Arch, End, ErrorCode, Segment
from falconet_hw.dma.axi import ErrorLayout, ReadClientSignature, SegmentsLayout
from falconet_hw.dma.burst import BurstSplitter
from falconet_hw.layout import DDR_ADDRESS, instruction_layout

__all__ = ["Fetch"]


class Fetch(Component):
    """Reads ``length`` instructions from byte ``offset`` of segment CODE, until END.

    Instructions are requested ahead, as far as the master's queue has room, and handed over at
    most every ninth cycle. END is kept, and what was requested beyond it is not taken.

    Parameters
    ----------
    arch: Arch

    Members
    -------
    start: In(1)
        Begin. Once after each reset.
    offset: In(32)
        A multiple of 8.
    length: In(32)
        Number of instructions, END included.
    segments: In(SegmentsLayout())
    read: Out(ReadClientSignature())
    instr: Out(stream.Signature(512))
        The instructions in order, without END.
    ended: Out(1)
        END has been seen. Stays until reset.
    stop: In(1)
        Request and hand over nothing more.
    error: Out(ErrorLayout())
        WINDOW where the program leaves segment CODE; NO_END where ``length`` instructions have
        been handed over (so at once if it is 0).
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "start": In(1),
            "offset": In(DDR_ADDRESS),
            "length": In(32),
            "segments": In(SegmentsLayout()),
            "read": Out(ReadClientSignature()),
            "instr": Out(stream.Signature(INSTRUCTION_BITS)),
            "ended": Out(1),
            "stop": In(1),
            "error": Out(ErrorLayout()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size, beat_bytes = self.arch.INSTRUCTION_BYTES, self.arch.DATA_BYTES
        n_beats = size // beat_bytes
        m.submodules.splitter = splitter = BurstSplitter(arch=self.arch)
        connect(m, splitter.bursts, flipped(self.read.cmd))

        # Requests: one run an instruction.
        runs = splitter.runs
        to_request = Signal(32, reset_less=True)
        requesting = Signal()
        m.d.comb += [
            splitter.segments.eq(self.segments),
            runs.payload.segment.eq(Segment.CODE),
            runs.payload.beats.eq(n_beats - 1),
            runs.valid.eq(requesting & ~self.stop),
        ]
        # The sum carries on in its top bit for good: the splitter refuses it once and for all.
        offset = Signal(DDR_ADDRESS.width + 1, reset_less=True)
        m.d.comb += runs.payload.offset.eq(offset)
        with m.If(runs.valid & runs.ready):
            m.d.sync += [
                offset.eq(offset + size), to_request.eq(to_request - 1),
                requesting.eq(to_request != 1),
            ]

        # Assembly: beat i of an instruction has its own 64 bits.
        words = [Signal(8 * beat_bytes, name=f"word{i}", reset_less=True) for i in range(n_beats)]
        slot = Signal(n_beats, init=1)
        full = Signal()
        beats = self.read.data
        m.d.comb += [beats.ready.eq(~full), self.instr.payload.eq(Cat(words))]
        with m.If(beats.valid & beats.ready):
            m.d.sync += [slot.eq(slot.rotate_left(1)), full.eq(slot[-1])]
        for here, word in zip(slot, words):
            with m.If(here & ~full):
                m.d.sync += word.eq(beats.payload.data)

        # Hand over.
        to_hand_over = Signal(32, reset_less=True)
        no_end = Signal()
        is_end = data.View(instruction_layout(End), self.instr.payload).opcode == End.opcode
        m.d.comb += self.instr.valid.eq(full & ~is_end & ~self.ended & ~no_end & ~self.stop)
        with m.If(full & is_end):
            m.d.sync += [self.ended.eq(1), requesting.eq(0)]
        with m.If(self.instr.valid & self.instr.ready):
            m.d.sync += [
                full.eq(0), to_hand_over.eq(to_hand_over - 1), no_end.eq(to_hand_over == 1),
            ]

        with m.If(self.start):
            m.d.sync += [
                offset.eq(self.offset), to_request.eq(self.length), to_hand_over.eq(self.length),
                requesting.eq(self.length != 0), no_end.eq(self.length == 0),
            ]

        refused = splitter.error
        m.d.comb += [
            self.error.valid.eq(refused.valid | no_end),
            self.error.code.eq(Mux(refused.valid, refused.code, ErrorCode.NO_END)),
            self.error.address.eq(Mux(refused.valid, refused.address, 0)),
        ]
        return m
