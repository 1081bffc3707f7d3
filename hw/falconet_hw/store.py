"""The store engine: scratchpad or records to DDR."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from amaranth.utils import exact_log2

from falconet.isa import INSTRUCTION_BITS, Arch, Segment, Src, Store
from falconet_hw.axi import ErrorLayout, SegmentsLayout, WriteClientSignature
from falconet_hw.box import Box, BoxRun, BoxWalker
from falconet_hw.burst import BurstSplitter, word_beats
from falconet_hw.delay import delay
from falconet_hw.fifo import Fifo, RegisterSlice
from falconet_hw.layout import instruction_layout

__all__ = ["StoreEngine", "WordReader", "WordRun"]

_AHEAD = 4  # instructions whose bursts may be raised before their words are read
_WORDS = 32


class WordRun(data.StructLayout):
    """``count`` words of one memory."""

    def __init__(self) -> None:
        super().__init__({"count": 16, "records": 1})


class WordReader(Component):
    """Reads runs of words from either memory, up to one a cycle, up to 32 on their way.

    Members
    -------
    runs: In(stream.Signature(BoxRun(16, WordRun())))
        Address of the first word.
    read_req, read_data, record_req, record_data:
        See :class:`StoreEngine`.
    words: Out(stream.Signature(8 * lanes))
    """

    def __init__(self, *, arch: Arch, read_latency: int) -> None:
        self.read_latency = read_latency
        super().__init__({
            "runs": In(stream.Signature(BoxRun(16, WordRun()))),
            "read_req": Out(stream.Signature(16)),
            "read_data": In(8 * arch.lanes),
            "record_req": Out(stream.Signature(16)),
            "record_data": In(8 * arch.lanes),
            "words": Out(stream.Signature(8 * arch.lanes)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        where = data.StructLayout({"addr": 16, "records": 1})
        m.submodules.request = request = RegisterSlice(where)
        m.submodules.queue = queue = Fifo(self.words.payload.shape(), depth=_WORDS)
        connect(m, queue.o, flipped(self.words))

        active, final, go = Signal(), Signal(), Signal()
        addr, left = Signal(16, reset_less=True), Signal(16, reset_less=True)
        records = Signal(reset_less=True)
        room = Signal(range(_WORDS + 1), init=_WORDS)
        asked, from_records = request.o, request.o.payload.records
        m.d.comb += [
            request.i.valid.eq(active & room.any()),
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
        m.d.sync += room.eq(room - go + (queue.o.valid & queue.o.ready))
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


class StoreEngine(Component):
    """Runs Store: one side raises bursts, the other reads the words that they need.

    ::

        instr -+-> BoxWalker -> BurstSplitter ------------> m0.cmd
               +-> Fifo -> BoxWalker -> WordReader -> beats -> m0.data

    One beat a cycle as long as the memory gives ``8 / lanes`` words a cycle; up to 5
    instructions may be under way. Segments CODE and INPUT are refused with WINDOW.

    Parameters
    ----------
    arch: Arch
    read_latency: int

    Members
    -------
    instr: In(stream.Signature(512))
    segments: In(SegmentsLayout())
    read_req: Out(stream.Signature(16))
        Word addresses, from a register.
    read_data: In(8 * lanes)
        Valid exactly ``read_latency`` cycles after the request's transfer; always accepted.
    record_req, record_data:
        The same for the records of the detect engine.
    m0: Out(WriteClientSignature())
    start: Out(1)
        One cycle per instruction, the one after it was accepted.
    retire: Out(1)
        One cycle per instruction, in order, the one after its last response.
    busy: Out(1)
        Instructions have been accepted and not retired.
    stop: In(1)
        Some block has an error, or all is about to be reset: retire nothing more. The write
        master takes no more bursts, and finishes by itself those that it has accepted.
    error: Out(ErrorLayout())
        WINDOW; the engine raises no burst any more, and acts as if stopped.
    """

    def __init__(self, *, arch: Arch, read_latency: int = 4) -> None:
        self.arch = arch
        self.read_latency = read_latency
        super().__init__({
            "instr": In(stream.Signature(INSTRUCTION_BITS)),
            "segments": In(SegmentsLayout()),
            "read_req": Out(stream.Signature(16)),
            "read_data": In(8 * arch.lanes),
            "record_req": Out(stream.Signature(16)),
            "record_data": In(8 * arch.lanes),
            "m0": Out(WriteClientSignature()),
            "start": Out(1),
            "retire": Out(1),
            "busy": Out(1),
            "stop": In(1),
            "error": Out(ErrorLayout()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        arch = self.arch
        parts = arch.lanes // arch.DATA_BYTES
        ddr = data.StructLayout({"segment": 2, "beats": 17})
        m.submodules.requests = requests = BoxWalker(32, ddr)
        m.submodules.ahead = ahead = Fifo(Box(16, WordRun()), depth=_AHEAD)
        m.submodules.rows = rows = BoxWalker(16, WordRun())
        m.submodules.reader = reader = WordReader(arch=arch, read_latency=self.read_latency)
        m.submodules.splitter = splitter = BurstSplitter(
            arch=arch, refused=(Segment.CODE, Segment.INPUT)
        )

        store = data.View(instruction_layout(Store), self.instr.payload)
        accept = Signal()
        m.d.comb += [
            self.instr.ready.eq(requests.boxes.ready & ahead.i.ready),
            requests.boxes.valid.eq(self.instr.valid & ahead.i.ready),
            ahead.i.valid.eq(self.instr.valid & requests.boxes.ready),
            accept.eq(self.instr.valid & self.instr.ready),
        ]
        request, row = requests.boxes.payload, ahead.i.payload
        m.d.comb += [
            request.base.eq(store.offset),
            request.n1.eq(store.n1), request.n2.eq(store.n2),
            request.step1.eq(store.ddr_step1), request.step2.eq(store.ddr_step2),
            request.common.segment.eq(store.segment),
            request.common.beats.eq(word_beats(arch, store.run)),
            row.base.eq(store.base),
            row.n1.eq(store.n1), row.n2.eq(store.n2),
            row.step1.eq(store.step1), row.step2.eq(store.step2),
            row.common.count.eq(store.run),
            row.common.records.eq(store.src == Src.RECORDS),
        ]

        run = requests.runs.payload
        m.d.comb += [
            splitter.segments.eq(self.segments),
            splitter.runs.valid.eq(requests.runs.valid),
            requests.runs.ready.eq(splitter.runs.ready),
            splitter.runs.payload.segment.eq(run.common.segment),
            splitter.runs.payload.beats.eq(run.common.beats),
            splitter.runs.payload.offset.eq(run.at),
            splitter.runs.payload.tag.eq(run.last),
            self.error.eq(splitter.error),
        ]
        connect(m, splitter.bursts, flipped(self.m0.cmd))

        connect(m, ahead.o, rows.boxes)
        connect(m, rows.runs, reader.runs)
        connect(m, reader.read_req, flipped(self.read_req))
        connect(m, reader.record_req, flipped(self.record_req))
        beat = self.m0.data
        word = reader.words
        part = Signal(exact_log2(parts))
        m.d.comb += [
            reader.read_data.eq(self.read_data),
            reader.record_data.eq(self.record_data),
            beat.valid.eq(word.valid),
            beat.payload.data.eq(word.payload.word_select(part, 64)),
            beat.payload.strb.eq(-1),
            word.ready.eq(beat.ready & (part == parts - 1)),
        ]
        with m.If(beat.valid & beat.ready):
            m.d.sync += part.eq(part + 1)

        stopped = Signal()
        under_way = Signal(6)
        m.d.sync += [
            stopped.eq(self.stop | self.error.valid),
            self.start.eq(accept),
            self.retire.eq(self.m0.done & self.m0.tag & ~stopped),
            under_way.eq(under_way + accept - self.retire),
        ]
        m.d.comb += self.busy.eq(under_way.any())
        return m
