"""The load engine: DDR to scratchpad, weight memories and tables."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Out, connect, flipped
from amaranth.utils import exact_log2

from falconet.isa import Arch, Dst, Load, LoadImage
from falconet_hw.bus import LoadSignature
from falconet_hw.dma.axi import ReadClientSignature
from falconet_hw.dma.front import DdrEngine, DdrFront, word_beats
from falconet_hw.dma.load_port import Gather, LoadPort
from falconet_hw.dma.load_window import WindowRow, Windows
from falconet_hw.layout import WriteBus, instruction_layout

__all__ = ["LoadEngine"]


class LoadEngine(DdrEngine):
    """Runs Load and LoadImage: a request side that raises bursts, and a receive side.

    ::

        instr -> DdrFront -+-> bursts -> LoadPort 0, 1 -> m0, m1
                           |                   |
                           |                Gather
                           |                   v
                           +-> rows -----> Windows -> write, load

    The request side runs up to 5 instructions ahead. Words come at up to one a cycle: 16 bytes a
    cycle need both ports, and each keeps room for 8 bursts of full length, 128 cycles of DDR
    latency at full rate. A row of a LoadImage costs ``n_x`` cycles, a run of a Load ``run``; a run
    of ``lanes`` = 16 at an address that is no multiple of 16 one more.

    The opcode is taken to be Load's or LoadImage's. Words for an unknown ``dst`` are offered on
    ``load`` too. An instruction may be accepted in the cycle in which another retires. ``retire``
    is the cycle after an instruction's last word was accepted.

    Once stopped, no new word begins. Data of bursts that are raised is always accepted. An error
    of a read master must arrive at ``stop`` within 4 cycles, so that no instruction that read
    wrong data retires.

    Parameters
    ----------
    arch: Arch

    Members
    -------
    m0, m1: Out(ReadClientSignature())
        Consecutive bursts go to port 0 and port 1 in turn.
    write: Out(stream.Signature(WriteBus(arch)))
        Words for the scratchpad, behind a registered queue of 16 words.
    load: Out(LoadSignature(arch))
        Words for the other memories, from the same queue; always accepted.
    """

    def __init__(self, *, arch: Arch) -> None:
        super().__init__(arch, {
            "m0": Out(ReadClientSignature()),
            "m1": Out(ReadClientSignature()),
            "write": Out(stream.Signature(WriteBus(arch))),
            "load": Out(LoadSignature(arch)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        arch = self.arch
        m.submodules.front = front = DdrFront(arch=arch, common=WindowRow(arch), tag_runs=True)
        m.submodules.port0 = port0 = LoadPort(arch=arch)
        m.submodules.port1 = port1 = LoadPort(arch=arch)
        m.submodules.gather = gather = Gather(arch=arch)
        m.submodules.windows = windows = Windows(arch=arch)
        self._decode(m, front.transfers.payload.ddr, front.transfers.payload.chip)

        # Bursts go to the ports in turn.
        bursts = front.bursts
        turn = Signal()
        m.d.comb += bursts.ready.eq(Mux(turn, port1.cmd.ready, port0.cmd.ready))
        for port, mine in ((port0, ~turn), (port1, turn)):
            m.d.comb += [
                port.cmd.payload.eq(bursts.payload),
                port.cmd.valid.eq(bursts.valid & mine),
            ]
        m.d.sync += turn.eq(turn ^ (bursts.valid & bursts.ready))
        connect(m, port0.master, flipped(self.m0))
        connect(m, port1.master, flipped(self.m1))

        # Words.
        connect(m, front.rows, windows.rows)
        connect(m, port0.parcels, gather.p0)
        connect(m, port1.parcels, gather.p1)
        connect(m, gather.words, windows.words)
        out = windows.out
        on_chip = Signal()
        ending = Signal()
        stopped = self.lead(m, front, ending)
        m.d.comb += [
            windows.stop.eq(stopped),
            on_chip.eq(out.payload.dst == Dst.SCRATCHPAD),
            self.write.valid.eq(out.valid & on_chip),
            self.write.payload.addr.eq(out.payload.addr),
            self.write.payload.data.eq(out.payload.data),
            self.load.valid.eq(out.valid & ~on_chip),
            self.load.dst.eq(out.payload.dst),
            self.load.addr.eq(out.payload.addr),
            self.load.data.eq(out.payload.data),
            out.ready.eq(~on_chip | self.write.ready),
            ending.eq(out.valid & out.ready & out.payload.last),
        ]
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
