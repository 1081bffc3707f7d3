"""MARK: the landmarks of the boxes that stay."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from falconet.isa import INSTRUCTION_BITS, Arch
from falconet.isa import Mark as Instruction
from falconet_hw.detect.decode import CoordinateUnit
from falconet_hw.detect.forms import (
    RECORD_LATENCY,
    TABLE_LATENCY,
    AnchorLayout,
    EntryLayout,
    RecordPortSignature,
    TableReadSignature,
)
from falconet_hw.layout import PIXEL, WORD_ADDRESS, instruction_layout
from falconet_hw.stream.delay import delay

__all__ = ["Mark"]


class Mark(Component):
    """Decodes the landmarks of one MARK, one record after the other.

    Without stalls ``4 * count + 2`` cycles from ``start`` to ``done``, and for each record of the
    level ``18 + 16 * R + (read_latency + 1) * words`` more, where R is the rows of its landmarks
    and ``words`` those of the scratchpad that they lie in.

    Parameters
    ----------
    arch: Arch
    read_latency: int

    Members
    -------
    start: In(1)
        A pulse of one cycle.
    instr: In(512)
        A Mark; it and ``count``, the number of records, are stable from ``start`` to ``done``.
    count: In(range(candidates + 1))
    done: Out(1)
        A pulse of one cycle, after the last row was written.
    read_req: Out(stream.Signature(WORD_ADDRESS))
        Word addresses, from a register.
    read_data: In(8 * lanes)
        Valid exactly ``read_latency`` cycles after the request's transfer; always accepted.
    table: Out(TableReadSignature())
    port: Out(RecordPortSignature(arch))
    """

    def __init__(self, *, arch: Arch, read_latency: int = 4) -> None:
        self.arch, self.read_latency = arch, read_latency
        super().__init__({
            "start": In(1),
            "instr": In(INSTRUCTION_BITS),
            "count": In(range(arch.candidates + 1)),
            "done": Out(1),
            "read_req": Out(stream.Signature(WORD_ADDRESS)),
            "read_data": In(8 * arch.lanes),
            "table": Out(TableReadSignature()),
            "port": Out(RecordPortSignature(arch)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = self.arch.lanes
        mark = data.View(instruction_layout(Instruction), self.instr)
        m.submodules.unit = unit = CoordinateUnit()

        record = self.port.read_data
        anchor = data.View(AnchorLayout(), self.table.data)
        index = Signal(range(self.arch.candidates + 1), reset_less=True)
        row = Signal.like(self.port.write_row, reset_less=True)
        rows = Signal(4)
        kept = Signal(AnchorLayout(), reset_less=True)
        number = Signal(4, reset_less=True)
        x = Signal(PIXEL, reset_less=True)
        y = Signal(PIXEL, reset_less=True)
        at = Signal(WORD_ADDRESS, reset_less=True)
        word = Signal(8 * lanes, reset_less=True)
        lane = Signal(exact_log2(lanes), reset_less=True)
        slot = Signal.like(mark.n_values, name="slot", reset_less=True)  # then the rest of the row
        second = Signal(reset_less=True)
        values = Signal()
        read = Signal()
        found = Signal()
        transfer = Signal()
        final = Signal()
        m.d.comb += [
            rows.eq((mark.n_values + 7) >> 3),
            self.port.read_row.eq(index),
            self.port.write_row.eq(row),
            self.read_req.payload.eq(at),
            transfer.eq(self.read_req.valid & self.read_req.ready),
        ]
        record_came = delay(m, read, RECORD_LATENCY, name="read", reset=True)
        anchor_came = delay(m, found, TABLE_LATENCY + 2, name="found", reset=True)
        word_came = delay(m, transfer, self.read_latency, name="asked", reset=True)
        written = delay(m, final, TABLE_LATENCY + unit.LATENCY + 2, name="final", reset=True)

        with m.If(self.port.write):
            m.d.sync += row.eq(row + 1)
        m.d.sync += self.done.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [index.eq(0), row.eq(mark.limit)]
                with m.If(self.start):
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += [slot.eq(0), second.eq(0)]
                with m.If(index == self.count):
                    m.d.sync += self.done.eq(1)
                    m.next = "IDLE"
                with m.Else():
                    m.d.comb += read.eq(1)
                    m.next = "RECORD"
            with m.State("RECORD"):
                m.d.sync += [
                    number.eq(record.anchor), x.eq(record.x), y.eq(record.y),
                    at.eq(mark.base + record.x),
                ]
                with m.If(record_came):
                    m.next = "OTHER"
                    with m.If(record.level == mark.level):
                        m.d.comb += found.eq(1)
                        m.next = "ANCHOR"
            with m.State("OTHER"):
                m.d.sync += [index.eq(index + 1), row.eq(row + rows)]
                m.next = "NEXT"
            with m.State("ANCHOR"):
                m.d.sync += [kept.eq(anchor), lane.eq(anchor.lane)]
                with m.If(anchor_came):
                    m.d.sync += at.eq(at + anchor.mark)
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.sync += [at.eq(at + unit.o_product), self.read_req.valid.eq(1)]
                m.next = "WORD"
            with m.State("WORD"):
                m.d.sync += word.eq(self.read_data)
                with m.If(transfer):
                    m.d.sync += [self.read_req.valid.eq(0), at.eq(at + mark.b_step)]
                with m.If(word_came):
                    m.next = "VALUES"
            with m.State("VALUES"):
                m.d.comb += values.eq(1)
                m.d.sync += second.eq(~second)
                with m.If(second):
                    m.d.sync += [slot.eq(slot + 1), lane.eq(lane + 1)]
                    with m.If(slot[:3].all() & (slot[3:] + 1 == rows)):
                        m.d.comb += final.eq(1)
                        m.next = "WRITE"
                    with m.Elif(lane.all() & (slot + 1 < mark.n_values)):
                        m.d.sync += self.read_req.valid.eq(1)
                        m.next = "WORD"
            with m.State("WRITE"):
                with m.If(written):
                    m.d.sync += index.eq(index + 1)
                    m.next = "NEXT"

        q = word.word_select(lane, 8)
        of_table = Signal(8, reset_less=True)
        m.d.sync += of_table.eq(Mux(values, (q ^ 0x80)[1:], self.arch.TABLE_ANCHORS | number))
        m.d.comb += self.table.row.eq(of_table)

        # One cycle for the anchor's centre, one for the offset from it; else the word's row.
        latency = TABLE_LATENCY + 1
        centre = delay(m, values & ~second, latency, name="centre")
        offset = delay(m, values & second, latency, name="offset")
        axis = delay(m, slot[0], latency, name="axis")
        odd = delay(m, q[0], latency, name="odd")
        entry = data.View(data.ArrayLayout(EntryLayout(), 2), self.table.data)[odd]
        stride = Mux(axis, mark.stride_y, mark.stride_x)
        size = Mux(axis, kept.height, kept.width)
        m.d.comb += [
            unit.i_valid.eq(centre | offset),
            unit.i.a.eq(Mux(offset, entry.centre, Mux(centre & ~axis, x, y))),
            unit.i.b.eq(Mux(
                offset, Mux(mark.grid, stride, size), Mux(centre, stride, mark.y_step),
            )),
            unit.i.c.eq(Mux(centre, Mux(axis, kept.cy, kept.cx), 0)),
            unit.i.shift.eq(Mux(offset, mark.centre_shift, 0)),
            unit.i.first.eq(centre),
            unit.i_lo.eq(-(1 << self.arch.BOX_BITS - 1)),
            unit.i_hi.eq((1 << self.arch.BOX_BITS - 1) - 1),
        ]

        latency += unit.LATENCY
        blank = delay(m, slot >= mark.n_values, latency, name="blank")
        eighth = delay(m, slot[:3].all(), latency, name="eighth")
        made = Signal(8 * self.arch.ROW_BYTES, reset_less=True)
        came = delay(m, values & second, latency, name="came", reset=True)
        with m.If(came):
            m.d.sync += made.eq(Cat(made, Mux(blank, 0, unit.o_value))[16:])
        m.d.sync += self.port.write.eq(came & eighth)
        m.d.comb += self.port.write_data.as_value().eq(made)
        return m
