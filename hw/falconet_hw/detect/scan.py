"""SCAN: the heads of one level to candidates."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from falconet.isa import INSTRUCTION_BITS, Arch
from falconet_hw.detect.corners import BoxDecoder
from falconet_hw.detect.forms import (
    TABLE_LATENCY,
    OptionsLayout,
    RecordLayout,
    TableReadSignature,
)
from falconet_hw.detect.hits import HitFinder
from falconet_hw.detect.logits import BoxFetcher
from falconet_hw.detect.softmax import Softmax
from falconet_hw.layout import WORD_ADDRESS
from falconet_hw.stream.delay import delay
from falconet_hw.stream.fifo import RegisterSlice

__all__ = ["Scan"]


class Scan(Component):
    """Finds, scores and decodes the candidates of one SCAN; :class:`TopK` keeps the best.

    ::

        read_data -> HitFinder -> BoxFetcher -> Softmax -> BoxDecoder -> records
        read_req  <-----+-------------+-----------+
        table     <-------------------+-----------+-----------+

    Without stalls one cycle a word of scores and, beside that, ``max(12, read_latency + 8,
    anchor + 2)`` a hit. From ``start`` to ``done`` no more than 60 cycles, those of all words and
    those of all hits; how much of it overlaps depends on where the hits are.

    Parameters
    ----------
    arch: Arch
    read_latency: int

    Members
    -------
    start: In(1)
        A pulse of one cycle.
    instr: In(512)
        A Scan, stable from ``start`` to ``done``.
    done: Out(1)
        A pulse of one cycle, after the last record was accepted.
    read_req: Out(stream.Signature(WORD_ADDRESS))
        Word addresses, from a register.
    read_data: In(8 * lanes)
        Valid exactly ``read_latency`` cycles after the request's transfer; always accepted.
    table: Out(TableReadSignature())
    records: Out(stream.Signature(RecordLayout()))
        In no particular order, from a register.
    """

    def __init__(self, *, arch: Arch, read_latency: int = 4) -> None:
        self.arch, self.read_latency = arch, read_latency
        super().__init__({
            "start": In(1),
            "instr": In(INSTRUCTION_BITS),
            "done": Out(1),
            "read_req": Out(stream.Signature(WORD_ADDRESS)),
            "read_data": In(8 * arch.lanes),
            "table": Out(TableReadSignature()),
            "records": Out(stream.Signature(RecordLayout())),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        arch = self.arch
        latency = TABLE_LATENCY + 1  # with the register of the row's number
        m.submodules.finder = finder = HitFinder(arch=arch)
        m.submodules.fetcher = fetcher = BoxFetcher(arch=arch, table_latency=latency)
        m.submodules.decoder = decoder = BoxDecoder(arch=arch, table_latency=latency)
        connect(m, finder.hits, fetcher.hits)
        m.submodules.softmax = softmax = Softmax(arch=arch, table_latency=latency)
        connect(m, fetcher.boxes, softmax.boxes)
        connect(m, softmax.weighed, decoder.boxes)
        connect(m, decoder.records, flipped(self.records))

        options = data.View(OptionsLayout(), self.table.data)
        q_min = Signal(signed(9), reset_less=True)
        score_min = Signal(self.arch.SCORE_BITS, reset_less=True)
        begin = Signal()
        running = Signal()
        idle = Signal()
        m.d.comb += [
            begin.eq(delay(m, self.start, latency, name="start", reset=True)),
            idle.eq(~(finder.busy | fetcher.busy | decoder.busy)),
            finder.q_min.eq(q_min),
            decoder.score_min.eq(score_min),
        ]
        done = Signal(reset_less=True)
        m.d.sync += done.eq(running & idle)
        m.d.comb += self.done.eq(done)
        with m.If(begin):
            m.d.sync += [
                running.eq(1), q_min.eq(options.q_min), score_min.eq(options.score_min),
            ]
        with m.Elif(idle):
            m.d.sync += running.eq(0)
        for block in finder, fetcher:
            m.d.comb += block.start.eq(begin)
        for block in finder, fetcher, softmax, decoder:
            m.d.comb += block.instr.eq(self.instr)

        row = Signal(8, init=arch.TABLE_OPTIONS, reset_less=True)
        m.d.sync += row.eq(Mux(running, Mux(
            fetcher.ask, arch.TABLE_ANCHORS | fetcher.anchor,
            Mux(softmax.ask, softmax.row, decoder.row),
        ), arch.TABLE_OPTIONS))
        m.d.comb += [
            self.table.row.eq(row),
            decoder.hold.eq(fetcher.ask | softmax.ask),
            fetcher.anchor_row.eq(self.table.data),
            decoder.row_data.eq(self.table.data),
            softmax.row_data.eq(self.table.data),
        ]
        self._share(m, finder, fetcher, softmax)
        return m

    def _share(self, m: Module, finder: HitFinder, fetcher: BoxFetcher, softmax: Softmax) -> None:
        """One read port for all; the finder goes last. While a box waits the fetcher reads nothing.
        """
        fetch = Signal()
        m.submodules.request = request = RegisterSlice(
            data.StructLayout({"addr": WORD_ADDRESS, "fetch": 1})
        )
        came = Signal(2)
        m.d.comb += [
            fetch.eq(fetcher.reads.valid | softmax.reads.valid),
            request.i.valid.eq(finder.reads.valid | fetch),
            request.i.payload.addr.eq(Mux(fetch, Mux(
                softmax.reads.valid, softmax.reads.payload, fetcher.reads.payload,
            ), finder.reads.payload)),
            request.i.payload.fetch.eq(fetch),
            fetcher.reads.ready.eq(request.i.ready),
            softmax.reads.ready.eq(request.i.ready),
            finder.reads.ready.eq(request.i.ready & ~fetch),
            self.read_req.valid.eq(request.o.valid),
            self.read_req.payload.eq(request.o.payload.addr),
            request.o.ready.eq(self.read_req.ready),
        ]
        m.d.comb += came.eq(
            (self.read_req.valid & self.read_req.ready) << request.o.payload.fetch
        )
        asked = delay(m, came, self.read_latency, name="asked", reset=True)
        m.d.comb += [
            finder.answer.eq(asked[0]),
            fetcher.answer.eq(asked[1] & ~fetcher.boxes.valid),
            softmax.answer.eq(asked[1] & fetcher.boxes.valid),
            *(b.read_data.eq(self.read_data) for b in (finder, fetcher, softmax)),
        ]
