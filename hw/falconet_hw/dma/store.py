"""The store engine: scratchpad or records to DDR."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from amaranth.utils import exact_log2

from falconet.isa import Arch, Segment, Src, Store
from falconet_hw.dma.axi import WriteClientSignature
from falconet_hw.dma.box import BoxRun
from falconet_hw.dma.front import DdrEngine, DdrFront, word_beats
from falconet_hw.engine.shell import read_ports
from falconet_hw.layout import BEAT, WORD_ADDRESS, field_shape, instruction_layout
from falconet_hw.stream.delay import delay
from falconet_hw.stream.fifo import Fifo, RegisterSlice
from falconet_hw.stream.in_flight import in_flight

__all__ = ["StoreEngine", "WordReader", "WordRun"]

_WORDS = 32


class WordRun(data.StructLayout):
    """``count`` words of one memory."""

    def __init__(self) -> None:
        super().__init__({"count": field_shape(Store, "run"), "records": 1})


class WordReader(Component):
    """Reads runs of words from either memory, up to one a cycle, up to 32 on their way.

    Members
    -------
    runs: In(stream.Signature(BoxRun(WORD_ADDRESS.width, WordRun())))
        Address of the first word.
    read_req, read_data, record_req, record_data:
        See :class:`StoreEngine`.
    words: Out(stream.Signature(8 * lanes))
    """

    def __init__(self, *, arch: Arch, read_latency: int) -> None:
        self.read_latency = read_latency
        super().__init__({
            "runs": In(stream.Signature(BoxRun(WORD_ADDRESS.width, WordRun()))),
            **read_ports(arch),
            **read_ports(arch, "record"),
            "words": Out(stream.Signature(8 * arch.lanes)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        where = data.StructLayout({"addr": WORD_ADDRESS, "records": 1})
        m.submodules.request = request = RegisterSlice(where)
        m.submodules.queue = queue = Fifo(self.words.payload.shape(), depth=_WORDS)
        connect(m, queue.o, flipped(self.words))

        active = Signal()
        final = Signal()
        go = Signal()
        addr = Signal(WORD_ADDRESS, reset_less=True)
        left = Signal.like(self.runs.payload.common.count, reset_less=True)
        records = Signal(reset_less=True)
        held = in_flight(m, go, queue.o.valid & queue.o.ready, limit=_WORDS, name="held")
        asked, from_records = request.o, request.o.payload.records
        m.d.comb += [
            request.i.valid.eq(active & (held != _WORDS)),
            request.i.payload.addr.eq(addr),
            request.i.payload.records.eq(records),
            go.eq(request.i.valid & request.i.ready),
            self.runs.ready.eq(~active | (go & final)),
            self.read_req.payload.eq(asked.payload.addr),
            self.read_req.valid.eq(asked.valid & ~from_records),
            self.record_req.payload.eq(asked.payload.addr),
            self.record_req.valid.eq(asked.valid & from_records),
            asked.ready.eq(Mux(from_records, self.record_req.ready, self.read_req.ready)),
            queue.i.valid.eq(delay(
                m, asked.valid & asked.ready, self.read_latency, name="asked", reset=True,
            )),
            queue.i.payload.eq(Mux(
                delay(m, from_records, self.read_latency, name="from_records", shared=True),
                self.record_data, self.read_data,
            )),
        ]
        with m.If(self.runs.ready):
            run = self.runs.payload
            m.d.sync += [
                active.eq(self.runs.valid), addr.eq(run.at),
                left.eq(run.common.count - 1), final.eq(run.common.count == 1),
                records.eq(run.common.records),
            ]
        with m.Elif(go):
            m.d.sync += [addr.eq(addr + 1), left.eq(left - 1), final.eq(left == 1)]
        return m


class StoreEngine(DdrEngine):
    """Runs Store: one side raises bursts, the other reads the words that they need.

    ::

        instr -> DdrFront -+-----------------------> m0.cmd
                           +-> WordReader -> beats -> m0.data

    One beat a cycle as long as the memory gives ``8 / lanes`` words a cycle; up to 5
    instructions may be under way. Segments CODE and INPUT are refused with WINDOW. ``retire`` is
    the cycle after an instruction's last response. Once stopped, the write master takes no more
    bursts, and finishes by itself those that it has accepted.

    Parameters
    ----------
    arch: Arch
    read_latency: int

    Members
    -------
    read_req, read_data: see :func:`read_ports`
        Word addresses of the scratchpad, from a register.
    record_req, record_data:
        The same for the records of the detect engine.
    m0: Out(WriteClientSignature())
    """

    def __init__(self, *, arch: Arch, read_latency: int = 4) -> None:
        self.read_latency = read_latency
        super().__init__(arch, {
            **read_ports(arch),
            **read_ports(arch, "record"),
            "m0": Out(WriteClientSignature()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        arch = self.arch
        parts = arch.lanes // arch.DATA_BYTES
        m.submodules.front = front = DdrFront(
            arch=arch, common=WordRun(), tag_runs=False, refused=(Segment.CODE, Segment.INPUT),
        )
        m.submodules.reader = reader = WordReader(arch=arch, read_latency=self.read_latency)

        self.lead(m, front, self.m0.done & self.m0.tag)
        store = data.View(instruction_layout(Store), self.instr.payload)
        ddr = front.transfers.payload.ddr
        chip = front.transfers.payload.chip
        m.d.comb += [
            ddr.base.eq(store.offset),
            ddr.n1.eq(store.n1), ddr.n2.eq(store.n2),
            ddr.step1.eq(store.ddr_step1), ddr.step2.eq(store.ddr_step2),
            ddr.common.segment.eq(store.segment),
            ddr.common.beats.eq(word_beats(arch, store.run)),
            chip.base.eq(store.base),
            chip.n1.eq(store.n1), chip.n2.eq(store.n2),
            chip.step1.eq(store.step1), chip.step2.eq(store.step2),
            chip.common.count.eq(store.run),
            chip.common.records.eq(store.src == Src.RECORDS),
        ]
        connect(m, front.bursts, flipped(self.m0.cmd))
        connect(m, front.rows, reader.runs)
        connect(m, reader.read_req, flipped(self.read_req))
        connect(m, reader.record_req, flipped(self.record_req))
        beat = self.m0.data
        word = reader.words
        part = Signal(exact_log2(parts))
        m.d.comb += [
            reader.read_data.eq(self.read_data),
            reader.record_data.eq(self.record_data),
            beat.valid.eq(word.valid),
            beat.payload.data.eq(word.payload.word_select(part, BEAT.width)),
            beat.payload.strb.eq(-1),
            word.ready.eq(beat.ready & (part == parts - 1)),
        ]
        with m.If(beat.valid & beat.ready):
            m.d.sync += part.eq(part + 1)
        return m
