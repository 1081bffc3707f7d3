"""What is kept and what was seen is counted right; what there is room for is written."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.hdl import Assert, Assume
from amaranth.lib.wiring import Component, In

from falconet.isa import preset
from falconet_hw.detect import topk
from falconet_hw.detect.forms import RecordLayout
from formal.inside import Inside
from formal.proof import Mutant, Proof
from formal.streams import before

__all__ = ["PROOFS", "TopKProof"]


class TopKProof(Component):
    """Two counts, one of which ends at the number of rows; the rows of the first records.

    Members
    -------
    clear, valid : In(1)
    record, read : In(RecordLayout())
        Offered; of the memory, any.
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        super().__init__({
            "clear": In(1), "valid": In(1),
            "record": In(RecordLayout()), "read": In(RecordLayout()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut, rows = self.dut, self.dut.arch.candidates
        inside = Inside(dut)
        m.submodules.dut = inside.module
        port = dut.port
        taken = self.valid & dut.i.ready
        m.d.comb += [
            dut.clear.eq(self.clear), dut.i.valid.eq(self.valid), dut.i.payload.eq(self.record),
            port.read_data.eq(self.read),
            Assume(~self.clear | (dut.idle & ~self.valid)),
        ]
        seen, kept = Signal(32), Signal(range(rows + 1))
        room = kept != rows
        with m.If(self.clear):
            m.d.sync += [seen.eq(0), kept.eq(0)]
        with m.Elif(taken):
            m.d.sync += [seen.eq(seen + 1), kept.eq(kept + room)]
        appended = before(m, taken & room, "appended")
        m.d.comb += [
            Assert(dut.seen == seen), Assert(dut.count == kept), Assert(kept <= rows),
            Assert(~dut.idle | (inside.in_state("TAKE") & ~port.write)),
            Assert(~appended | (
                port.write & (port.write_row == before(m, kept, "row"))
                & (port.write_data.as_value() == before(m, self.record, "record"))
            )),
        ]
        return m


PROOFS = [
    Proof(
        "topk", topk, "`detect.topk.TopK`",
        "what was taken since `clear` is counted, and what is kept, up to all rows; a record for "
        "which there is room is written in the next cycle, unchanged, to the row behind the last; "
        "idle means nothing to write", "64 rows",
        "`clear` only while idle, with no record offered",
        lambda module: TopKProof(module.TopK(arch=preset("tiny"))), 8, 1,
        {
            "some not seen":
                Mutant("self.seen.eq(self.seen", "self.seen + 1", "self.seen + ~self.count[0]"),
            "some not kept": Mutant("self.seen.eq(self.seen", "count + ~full", "count"),
            "not written": Mutant("write.eq(~full)", "~full", "0"),
            "always the same row": Mutant("item.eq(self.i.payload)", "self.count", "0"),
            "another record": Mutant("item.eq(self.i.payload)", "self.i.payload", "read"),
            "the child in its place": Mutant("write_item.eq(1)", "write_item.eq(1)",
                                             "write_item.eq(0)"),
            "idle too early": Mutant("self.idle.eq(", " & ~write", ""),
            "seen not cleared": Mutant("with m.If(self.clear)", "self.clear", "0"),
        },
    ),
]
