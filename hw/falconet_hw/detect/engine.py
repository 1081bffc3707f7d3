"""The detect engine: table, records, and the three blocks that work on them."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from amaranth.utils import exact_log2

from falconet.isa import INSTRUCTION_BITS, Arch
from falconet.isa import Mark as MarkInstruction
from falconet.isa import Scan as ScanInstruction
from falconet.isa import Suppress as SuppressInstruction
from falconet_hw.bus import LoadSignature
from falconet_hw.delay import delay
from falconet_hw.detect.layout import RECORD_LATENCY
from falconet_hw.detect.mark import Mark
from falconet_hw.detect.records import RecordMemory
from falconet_hw.detect.scan import Scan
from falconet_hw.detect.suppress import Suppress
from falconet_hw.detect.table import Table
from falconet_hw.detect.topk import TopK
from falconet_hw.layout import instruction_layout

__all__ = ["DetectEngine"]


class DetectEngine(Component):
    """Runs SCAN, SUPPRESS and MARK (docs/isa.md), strictly one after the other.

    ::

        read_data -> Scan -> TopK -+
        read_req  <-- | -- Mark ---+- RecordMemory, counts -> record_data
                      |    |       |
        load -> Table +----+- Suppress

    An instruction takes the cycles of its block from ``start`` to ``done`` and 5 more.

    Parameters
    ----------
    arch: Arch
    read_latency: int
        Cycles from a transfer on ``read_req`` to its word on ``read_data``, and from one on
        ``record_req`` to ``record_data``.

    Members
    -------
    instr: In(stream.Signature(512))
        SCAN, SUPPRESS and MARK only.
    read_req: Out(stream.Signature(16))
    read_data: In(8 * lanes)
        Always accepted.
    load: In(LoadSignature(arch))
        Destination DETECT; others are ignored.
    record_req: In(stream.Signature(16))
        Lane words of the records, of row ``Arch.candidates`` the counts. Ready while no instruction
        is under way: the record memory has one read port.
    record_data: Out(8 * lanes)
    start, retire: Out(1)
        One cycle per instruction: taken from ``instr``; all it writes can be read.
    busy: Out(1)
        An instruction has started and not retired.
    """

    def __init__(self, *, arch: Arch, read_latency: int = 4) -> None:
        if read_latency < RECORD_LATENCY + 2:
            raise ValueError(f"read_latency={read_latency} must be at least {RECORD_LATENCY + 2}")
        self.arch, self.read_latency = arch, read_latency
        super().__init__({
            "instr": In(stream.Signature(INSTRUCTION_BITS)),
            "read_req": Out(stream.Signature(16)),
            "read_data": In(8 * arch.lanes),
            "load": In(LoadSignature(arch)),
            "record_req": In(stream.Signature(16)),
            "record_data": Out(8 * arch.lanes),
            "start": Out(1),
            "retire": Out(1),
            "busy": Out(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        arch, latency = self.arch, self.read_latency
        m.submodules.table = table = Table(arch=arch)
        m.submodules.records = records = RecordMemory(arch=arch)
        m.submodules.scan = scan = Scan(arch=arch, read_latency=latency)
        m.submodules.topk = topk = TopK(arch=arch)
        m.submodules.suppress = suppress = Suppress(arch=arch)
        m.submodules.mark = mark = Mark(arch=arch, read_latency=latency)
        connect(m, flipped(self.load), table.load)
        connect(m, scan.records, topk.i)

        # One instruction at a time; whose it is was decoded before its block starts.
        word = Signal(INSTRUCTION_BITS, reset_less=True)
        instr = data.View(instruction_layout(ScanInstruction), word)
        blocks = {ScanInstruction: scan, SuppressInstruction: suppress, MarkInstruction: mark}
        mine = {
            cls: Signal(name=f"is_{cls.mnemonic.lower()}", reset_less=True) for cls in blocks
        }
        is_scan, is_suppress, is_mark = mine.values()
        running, go, done, ended = Signal(), Signal(), Signal(), Signal()
        count = Signal.like(topk.count)
        m.d.comb += [
            self.start.eq(self.instr.valid & self.instr.ready),
            running.eq(~self.instr.ready),
            self.busy.eq(running | self.retire),
            done.eq(ended & (topk.idle | ~is_scan)),
            topk.clear.eq(go & is_scan & instr.first),
            suppress.count_i.eq(count), mark.count.eq(count),
        ]
        m.d.sync += self.retire.eq(done)
        for cls, block in blocks.items():
            starts = Signal(name=f"start_{cls.mnemonic.lower()}")
            m.d.sync += [mine[cls].eq(instr.opcode == cls.opcode), starts.eq(go & mine[cls])]
            m.d.comb += [block.start.eq(starts), block.instr.eq(word)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.instr.ready.eq(1)
                m.d.sync += word.eq(self.instr.payload)
                with m.If(self.instr.valid):
                    m.next = "DECODE"
            with m.State("DECODE"):
                m.next = "GO"
            with m.State("GO"):
                m.d.comb += go.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.sync += ended.eq(ended | scan.done | suppress.done | mark.done)
                with m.If(suppress.done):
                    m.d.sync += count.eq(suppress.count_o)
                with m.If(done):
                    m.d.sync += ended.eq(0)
                    m.next = "IDLE"
                    with m.If(is_scan):
                        m.d.sync += count.eq(topk.count)

        # What the blocks share.
        read_req, ports = self.read_req, [topk.port, suppress.port, mark.port]
        m.d.comb += [
            read_req.valid.eq(scan.read_req.valid | mark.read_req.valid),
            read_req.payload.eq(Mux(is_mark, mark.read_req.payload, scan.read_req.payload)),
            scan.read_req.ready.eq(read_req.ready), mark.read_req.ready.eq(read_req.ready),
            scan.read_data.eq(self.read_data), mark.read_data.eq(self.read_data),
            table.read.row.eq(Mux(
                is_mark, mark.table.row,
                Mux(is_suppress, suppress.table.row, scan.table.row),
            )),
            *(b.table.data.eq(table.read.data) for b in blocks.values()),
            *(p.read_data.eq(records.port.read_data) for p in ports),
        ]
        for name in ("write_row", "write_data", "write"):
            of_topk, of_suppress, of_mark = (getattr(p, name) for p in ports)
            m.d.comb += getattr(records.port, name).eq(
                Mux(is_mark, of_mark, Mux(is_suppress, of_suppress, of_topk))
            )
        counts = Cat(count, Const(0, 32 - len(count)), topk.seen)
        asked, row = self._read_records(m, records, counts)
        m.d.comb += [
            self.record_req.ready.eq(~running),
            # The last one asked for has its turn while the next instruction begins.
            records.port.read_row.eq(Mux(
                asked, row,
                Mux(is_mark, mark.port.read_row,
                    Mux(is_suppress, suppress.port.read_row, topk.port.read_row)),
            )),
        ]
        return m

    def _read_records(self, m: Module, records: RecordMemory, counts: Value
                      ) -> tuple[Value, Value]:
        """Answer ``record_req``; whether a row is to be read for it, and which."""
        arch = self.arch
        n_part = exact_log2(arch.row_words)
        after = self.read_latency - 2  # between the registers of address and word
        addr = delay(m, self.record_req.payload, 1, name="record_addr")
        row = addr[n_part:]
        of_memory = delay(m, records.port.read_data.as_value(), after - RECORD_LATENCY,
                          name="record")
        is_counts = delay(m, row[exact_log2(arch.candidates)], after, name="is_counts")
        part = delay(m, addr[:n_part], after, name="part")
        whole = Mux(is_counts, Cat(counts, Const(0, len(of_memory) - len(counts))), of_memory)
        word = Signal(8 * arch.lanes, reset_less=True)
        m.d.sync += word.eq(whole.word_select(part, len(word)))
        m.d.comb += self.record_data.eq(word)
        asked = delay(m, self.record_req.valid & self.record_req.ready, 1, name="record_asked")
        return asked, row
