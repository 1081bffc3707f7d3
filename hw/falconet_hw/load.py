"""The load engine: DDR to scratchpad, weight memories and tables."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from amaranth.utils import exact_log2

from falconet.isa import INSTRUCTION_BITS, Arch, Dst, Load, LoadImage
from falconet_hw.axi import ErrorLayout, ReadClientSignature, SegmentsLayout
from falconet_hw.box import Box, BoxWalker
from falconet_hw.burst import BurstSplitter, word_beats
from falconet_hw.fifo import Fifo
from falconet_hw.layout import LoadBus, WriteBus, instruction_layout
from falconet_hw.load_port import Gather, LoadPort
from falconet_hw.load_window import WindowRow, Windows

__all__ = ["LoadEngine"]

_AHEAD = 4  # instructions whose bursts may be raised while an earlier one's words are written


class LoadEngine(Component):
    """Runs Load and LoadImage: a request side that raises bursts, and a receive side.

    ::

        instr -+-> BoxWalker -> BurstSplitter -> LoadPort 0, 1 -> m0, m1
               |                                       |
               |                                    Gather
               |                                       v
               +-> Fifo -> BoxWalker -------------> Windows -> write, load

    The request side runs up to 5 instructions ahead. Words come at up to one a cycle: 16 bytes a
    cycle need both ports, and each keeps room for 8 bursts of full length, 128 cycles of DDR
    latency at full rate. A row of a LoadImage costs ``n_x`` cycles, a run of a Load ``run``; a run
    of ``lanes`` = 16 at an address that is no multiple of 16 one more.

    The opcode is taken to be Load's or LoadImage's. Words for an unknown ``dst`` are offered on
    ``load`` too. An instruction may be accepted in the cycle in which another retires.

    Parameters
    ----------
    arch: Arch

    Members
    -------
    instr: In(stream.Signature(512))
    segments: In(SegmentsLayout())
    m0, m1: Out(ReadClientSignature())
        Consecutive bursts go to port 0 and port 1 in turn.
    write: Out(stream.Signature(WriteBus(arch)))
        Words for the scratchpad, behind a registered queue of 16 words.
    load, load_valid: Out(LoadBus(arch)), Out(1)
        Words for the other memories, from the same queue; always accepted.
    start: Out(1)
        One cycle per instruction, the one after it was accepted.
    retire: Out(1)
        One cycle per instruction, in order, the one after its last word was accepted.
    busy: Out(1)
        Instructions have been accepted and not retired.
    stop: In(1)
        Some block has an error: begin no new word and retire nothing. To be held until reset. Data
        of bursts that are raised is always accepted. An error of a read master must arrive here
        within 4 cycles, so that no instruction that read wrong data retires.
    error: Out(ErrorLayout())
        WINDOW; the engine raises no burst any more, and acts as if stopped.
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "instr": In(stream.Signature(INSTRUCTION_BITS)),
            "segments": In(SegmentsLayout()),
            "m0": Out(ReadClientSignature()),
            "m1": Out(ReadClientSignature()),
            "write": Out(stream.Signature(WriteBus(arch))),
            "load": Out(LoadBus(arch)),
            "load_valid": Out(1),
            "start": Out(1),
            "retire": Out(1),
            "busy": Out(1),
            "stop": In(1),
            "error": Out(ErrorLayout()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        arch = self.arch
        ddr = data.StructLayout({"segment": 2, "beats": 17})
        m.submodules.requests = requests = BoxWalker(32, ddr)
        m.submodules.ahead = ahead = Fifo(Box(16, WindowRow(arch)), depth=_AHEAD)
        m.submodules.rows = rows = BoxWalker(16, WindowRow(arch))
        m.submodules.splitter = splitter = BurstSplitter(arch=arch)
        m.submodules.port0 = port0 = LoadPort(arch=arch)
        m.submodules.port1 = port1 = LoadPort(arch=arch)
        m.submodules.gather = gather = Gather(arch=arch)
        m.submodules.windows = windows = Windows(arch=arch)

        self._decode(m, requests.boxes.payload, ahead.i.payload)
        accept, ending = Signal(), Signal()
        m.d.comb += [
            self.instr.ready.eq(requests.boxes.ready & ahead.i.ready),
            requests.boxes.valid.eq(self.instr.valid & ahead.i.ready),
            ahead.i.valid.eq(self.instr.valid & requests.boxes.ready),
            accept.eq(self.instr.valid & self.instr.ready),
        ]

        # Requests: bursts go to the ports in turn.
        run = requests.runs.payload
        turn = Signal()
        m.d.comb += [
            splitter.segments.eq(self.segments),
            splitter.runs.valid.eq(requests.runs.valid),
            requests.runs.ready.eq(splitter.runs.ready),
            splitter.runs.payload.segment.eq(run.common.segment),
            splitter.runs.payload.beats.eq(run.common.beats),
            splitter.runs.payload.offset.eq(run.at),
            splitter.runs.payload.tag.eq(1),
            self.error.eq(splitter.error),
            splitter.bursts.ready.eq(Mux(turn, port1.cmd.ready, port0.cmd.ready)),
        ]
        for port, mine in ((port0, ~turn), (port1, turn)):
            m.d.comb += [
                port.cmd.payload.eq(splitter.bursts.payload),
                port.cmd.valid.eq(splitter.bursts.valid & mine),
            ]
        m.d.sync += turn.eq(turn ^ (splitter.bursts.valid & splitter.bursts.ready))
        connect(m, port0.master, flipped(self.m0))
        connect(m, port1.master, flipped(self.m1))

        # Words.
        connect(m, ahead.o, rows.boxes)
        connect(m, rows.runs, windows.rows)
        connect(m, port0.parcels, gather.p0)
        connect(m, port1.parcels, gather.p1)
        connect(m, gather.words, windows.words)
        out = windows.out
        stopped, on_chip = Signal(), Signal()
        m.d.sync += stopped.eq(self.stop | self.error.valid)
        m.d.comb += [
            windows.stop.eq(stopped),
            on_chip.eq(out.payload.dst == Dst.SCRATCHPAD),
            self.write.valid.eq(out.valid & on_chip),
            self.write.payload.addr.eq(out.payload.addr),
            self.write.payload.data.eq(out.payload.data),
            self.load_valid.eq(out.valid & ~on_chip),
            self.load.dst.eq(out.payload.dst),
            self.load.addr.eq(out.payload.addr),
            self.load.data.eq(out.payload.data),
            out.ready.eq(~on_chip | self.write.ready),
            ending.eq(out.valid & out.ready & out.payload.last),
        ]

        under_way = Signal(6)
        m.d.sync += [
            self.start.eq(accept),
            self.retire.eq(ending & ~stopped),
            under_way.eq(under_way + accept - self.retire),
        ]
        m.d.comb += self.busy.eq(under_way.any())
        return m

    def _decode(self, m: Module, request: Any, rows: Any) -> None:
        """Fill in what each side needs to know of the instruction that is offered."""
        load = data.View(instruction_layout(Load), self.instr.payload)
        image = data.View(instruction_layout(LoadImage), self.instr.payload)
        row = rows.common
        m.d.comb += [
            request.base.eq(load.offset),
            request.common.segment.eq(load.segment),
            row.step.eq(self.arch.lanes),
            row.dst.eq(load.dst),
        ]
        with m.If(load.opcode == LoadImage.opcode):
            m.d.comb += [
                request.base.eq(image.offset),
                request.common.segment.eq(image.segment),
                request.common.beats.eq((image.row_bytes - 1) >> exact_log2(self.arch.DATA_BYTES)),
                request.n1.eq(image.n_rows), request.n2.eq(1), request.step1.eq(image.pitch),
                rows.n1.eq(image.n_rows), rows.n2.eq(1),
                rows.base.eq(image.base), rows.step1.eq(image.row_step),
                row.image.eq(1), row.dst.eq(Dst.SCRATCHPAD), row.n.eq(image.n_x),
                row.step.eq(image.step), row.pad_left.eq(image.pad_left), row.pad.eq(image.pad),
                row.row_bytes.eq(image.row_bytes),
            ]
        with m.Else():
            m.d.comb += [
                request.common.beats.eq(word_beats(self.arch, load.run)),
                request.n1.eq(load.n1), request.n2.eq(load.n2),
                request.step1.eq(load.ddr_step1), request.step2.eq(load.ddr_step2),
                rows.n1.eq(load.n1), rows.n2.eq(load.n2),
                rows.base.eq(load.base), rows.step1.eq(load.step1), rows.step2.eq(load.step2),
                row.n.eq(load.run),
            ]
