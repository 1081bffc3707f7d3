"""The detect engine: table, records, and the three blocks that work on them."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from falconet.isa import INSTRUCTION_BITS, Arch, Instruction
from falconet.isa import Mark as MarkInstruction
from falconet.isa import Scan as ScanInstruction
from falconet.isa import Suppress as SuppressInstruction
from falconet_hw.bus import LoadSignature
from falconet_hw.detect.forms import RECORD_LATENCY
from falconet_hw.detect.mark import Mark
from falconet_hw.detect.records import RecordMemory
from falconet_hw.detect.scan import Scan
from falconet_hw.detect.suppress import Suppress
from falconet_hw.detect.table import Table
from falconet_hw.detect.topk import TopK
from falconet_hw.engine.shell import EngineShell, read_ports
from falconet_hw.layout import WORD_ADDRESS, instruction_layout
from falconet_hw.stream.delay import delay

__all__ = ["DetectEngine"]


class DetectEngine(EngineShell):
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
    read_req, read_data: see :func:`read_ports`
    load: In(LoadSignature(arch))
        Destination DETECT; others are ignored.
    record_req: In(stream.Signature(WORD_ADDRESS))
        Lane words of the records, of row ``Arch.candidates`` the counts. Ready while no instruction
        is under way: the record memory has one read port.
    record_data: Out(8 * lanes)
    """

    def __init__(self, *, arch: Arch, read_latency: int = 4) -> None:
        if read_latency < RECORD_LATENCY + 2:
            raise ValueError(f"read_latency={read_latency} must be at least {RECORD_LATENCY + 2}")
        self.read_latency = read_latency
        super().__init__(arch, {
            **read_ports(arch),
            "load": In(LoadSignature(arch)),
            "record_req": In(stream.Signature(WORD_ADDRESS)),
            "record_data": Out(8 * arch.lanes),
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
        blocks: dict[type[Instruction], Any] = {
            ScanInstruction: scan, SuppressInstruction: suppress, MarkInstruction: mark,
        }
        mine = {
            cls: Signal(name=f"is_{cls.mnemonic.lower()}", reset_less=True) for cls in blocks
        }
        is_scan, is_suppress, is_mark = mine.values()
        running = Signal()
        go = Signal()
        done = Signal()
        ended = Signal()
        count = Signal.like(topk.count)
        m.d.comb += [
            running.eq(~self.instr.ready),
            done.eq(ended & (topk.idle | ~is_scan)),
            topk.clear.eq(go & is_scan & instr.first),
            suppress.count_i.eq(count), mark.count.eq(count),
        ]
        self.follow(m, delay(m, done, 1, name="ended", reset=True))
        for cls, block in blocks.items():
            starts = Signal(name=f"start_{cls.mnemonic.lower()}")
            m.d.sync += [mine[cls].eq(instr.opcode == cls.opcode), starts.eq(go & mine[cls])]
            m.d.comb += [block.start.eq(starts), block.instr.eq(word)]
        idle, idle_too = self._hold(m, word)
        m.d.comb += self.instr.ready.eq(idle)
        with m.FSM() as fsm:
            with m.State("IDLE"):
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

        still_idle = Mux(idle, ~self.instr.valid, fsm.ongoing("RUN") & done)
        m.d.sync += [idle.eq(still_idle), idle_too.eq(still_idle | ResetSignal())]

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

    def _hold(self, m: Module, word: Signal) -> tuple[Signal, Signal]:
        """Take up an instruction while there is none; two registers of that meaning, since one has
        too many sinks: the way of the reset tells them apart."""
        idle = Signal(init=1)
        idle_too = Signal(init=1, reset_less=True)
        half = INSTRUCTION_BITS // 2
        with m.If(idle):
            m.d.sync += word[:half].eq(self.instr.payload[:half])
        with m.If(idle_too):
            m.d.sync += word[half:].eq(self.instr.payload[half:])
        return idle, idle_too

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
