"""SCAN: the heads of one level to candidates."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from falconet.isa import INSTRUCTION_BITS, Arch
from falconet_hw.delay import delay
from falconet_hw.detect.boxes import BoxDecoder
from falconet_hw.detect.fetch import BoxFetcher
from falconet_hw.detect.hits import HitFinder
from falconet_hw.detect.layout import (
    TABLE_LATENCY,
    OptionsLayout,
    RecordLayout,
    TableReadSignature,
)
from falconet_hw.fifo import RegisterSlice

__all__ = ["Scan"]


class Scan(Component):
    """Finds, scores and decodes the candidates of one SCAN; :class:`TopK` keeps the best.

    ::

        read_data -> HitFinder -> BoxFetcher -> BoxDecoder -> records
        read_req  <-----+-------------+
        table     <---------------------+------------+

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
    read_req: Out(stream.Signature(16))
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
            "read_req": Out(stream.Signature(16)),
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
        connect(m, fetcher.boxes, decoder.boxes)
        connect(m, decoder.records, flipped(self.records))

        options = data.View(OptionsLayout(), self.table.data)
        q_min = Signal(signed(9), reset_less=True)
        score_min = Signal(16, reset_less=True)
        begin, running, idle = Signal(), Signal(), Signal()
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
        for block in finder, fetcher, decoder:
            m.d.comb += block.instr.eq(self.instr)

        row = Signal(8, init=arch.TABLE_OPTIONS, reset_less=True)
        m.d.sync += row.eq(Mux(running, Mux(
            fetcher.ask, arch.TABLE_ANCHORS | fetcher.anchor, decoder.row,
        ), arch.TABLE_OPTIONS))
        m.d.comb += [
            self.table.row.eq(row),
            decoder.hold.eq(fetcher.ask),
            fetcher.anchor_row.eq(self.table.data),
            decoder.row_data.eq(self.table.data),
        ]
        self._share(m, finder, fetcher)
        return m

    def _share(self, m: Module, finder: HitFinder, fetcher: BoxFetcher) -> None:
        """One read port for both; the fetcher goes first."""
        m.submodules.request = request = RegisterSlice(
            data.StructLayout({"addr": 16, "fetch": 1})
        )
        came = Signal(2)
        m.d.comb += [
            request.i.valid.eq(finder.reads.valid | fetcher.reads.valid),
            request.i.payload.addr.eq(
                Mux(fetcher.reads.valid, fetcher.reads.payload, finder.reads.payload)
            ),
            request.i.payload.fetch.eq(fetcher.reads.valid),
            fetcher.reads.ready.eq(request.i.ready),
            finder.reads.ready.eq(request.i.ready & ~fetcher.reads.valid),
            self.read_req.valid.eq(request.o.valid),
            self.read_req.payload.eq(request.o.payload.addr),
            request.o.ready.eq(self.read_req.ready),
        ]
        m.d.comb += came.eq(
            (self.read_req.valid & self.read_req.ready) << request.o.payload.fetch
        )
        asked = delay(m, came, self.read_latency, name="asked", reset=True)
        for block, answer in zip((finder, fetcher), asked):
            m.d.comb += [block.answer.eq(answer), block.read_data.eq(self.read_data)]
