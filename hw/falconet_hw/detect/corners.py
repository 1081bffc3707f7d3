"""From what is stored about a box to its record."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from falconet.isa import INSTRUCTION_BITS, Arch, Scan
from falconet_hw.detect.decode import CoordinateUnit
from falconet_hw.detect.forms import AnchorLayout, EntryLayout, RecordLayout
from falconet_hw.detect.softmax import WeighedLayout
from falconet_hw.layout import instruction_layout
from falconet_hw.stream.delay import delay
from falconet_hw.stream.in_flight import in_flight

__all__ = ["BoxDecoder"]

# Steps of a box, in this order. The low bits of a coordinate's step: centre, then the rest.
_ANCHOR, _OBJECTNESS, _SCORE = 1, 2, 3
_X, _Y = 4, 8
_LAST = _Y + 3


class BoxDecoder(Component):
    """Scores and decodes a box with one look-up and one multiplication a cycle, in 11 steps.

    A box's row counts from that of the instruction's stripe; its record's from that of the level.

    =====  =========================================  ============================
    step   form 0                                     form 1
    =====  =========================================  ============================
    1      the anchor's row
    2      objectness of the table
    3      score * objectness
    4      centre of the anchor, x                    the same
    5      + offset                                   - extent(q0): x1
    6      - extent(q2) / 2: x1                       centre of the anchor, x
    7      + extent(q2): x2                           + extent(q2): x2
    8-11   the same for y
    =====  =========================================  ============================

    A box in 11 cycles and one for each ``hold``; ``table_latency + 14`` cycles from the last step
    to the record. Two records may wait to be taken; the next box stops before its third step.

    Members
    -------
    instr: In(512)
        A Scan, stable while boxes are under way, and so is ``score_min``.
    score_min: In(SCORE_BITS)
        Records with lower scores are dropped.
    boxes: In(stream.Signature(WeighedLayout(arch)))
    row: Out(8), row_data: In(128)
        Row of the detect table, and what it holds, ``table_latency`` cycles later.
    hold: In(1)
        The row is not read in this cycle.
    records: Out(stream.Signature(RecordLayout()))
    busy: Out(1)
    """

    def __init__(self, *, arch: Arch, table_latency: int) -> None:
        self.arch, self.table_latency = arch, table_latency
        row = 8 * arch.ROW_BYTES
        super().__init__({
            "instr": In(INSTRUCTION_BITS),
            "score_min": In(arch.SCORE_BITS),
            "boxes": In(stream.Signature(WeighedLayout(arch))),
            "row": Out(8),
            "row_data": In(row),
            "hold": In(1),
            "records": Out(stream.Signature(RecordLayout())),
            "busy": Out(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        scan = data.View(instruction_layout(Scan), self.instr)
        m.submodules.unit = unit = CoordinateUnit()

        # Steps.
        weighed = Signal(WeighedLayout(self.arch), reset_less=True)
        box = weighed.stored
        step = Signal(4)
        go = Signal()
        begin = Signal()
        end = Signal()
        # Records from their third step to their transfer.
        waiting = in_flight(m, begin, end, limit=2, name="waiting")
        m.d.comb += [
            go.eq(step.any() & ~self.hold & ~((step == _SCORE) & waiting[1])),
            begin.eq(go & (step == _SCORE)),
            self.boxes.ready.eq(~step.any() | (go & (step == _LAST))),
        ]
        with m.If(self.boxes.ready):
            m.d.sync += [
                weighed.eq(self.boxes.payload),
                box.y.eq(self.boxes.payload.stored.y + scan.y0),
                step.eq(Mux(self.boxes.valid, _ANCHOR, 0)),
            ]
        with m.Elif(go):
            m.d.sync += step.eq(step + 1)
        q = Signal(8)
        with m.Switch(step):
            with m.Case(_OBJECTNESS):
                m.d.comb += q.eq(box.objectness)
            with m.Case(_SCORE):
                m.d.comb += q.eq(box.q)
            for at, i in (_X, 0), (_Y, 1):
                with m.Case(at, at + 1):
                    m.d.comb += q.eq(box.box[i])
                with m.Case(at + 2, at + 3):
                    m.d.comb += q.eq(box.box[i + 2])
        # What the unit gets that is not of the table: a cell, a size, a score.
        given = Signal(16)
        is_size = step[0] & scan.bins.any()
        m.d.comb += given.eq(Mux(
            step[2:].any(),
            Mux(is_size, weighed.sizes[Cat(step[3], step[1])], Mux(step[3], box.y, box.x)),
            weighed.score,
        ))
        anchors = self.arch.TABLE_ANCHORS
        m.d.comb += self.row.eq(Mux(step == _ANCHOR, anchors | box.anchor, (q ^ 0x80)[1:]))

        self._operands(m, scan, unit, step, go, delay(m, q[0], self.table_latency, name="odd"),
                       delay(m, given, self.table_latency, name="given"))

        # The step at the unit's inputs is two bits of axis and two of what it does there.
        latency = self.table_latency + unit.LATENCY
        late = delay(m, step, latency, name="late")
        came = delay(m, go, latency, name="came", reset=True)
        axis = delay(m, step[3], self.table_latency + unit.CLAMP_CYCLE, name="axis")
        m.d.comb += [
            unit.i_lo.eq(Mux(axis, scan.y_lo, scan.x_lo)),
            unit.i_hi.eq(Mux(axis, scan.y_hi, scan.x_hi)),
        ]
        made = Signal(RecordLayout(), reset_less=True)
        record = Signal(RecordLayout(), reset_less=True)
        full = Signal()
        keep = Signal(reset_less=True)
        for at, names in (_X, ("x1", "x2")), (_Y, ("y1", "y2")):
            with m.If(came & (late == Mux(scan.form, at + 1, at + 2))):
                m.d.sync += made[names[0]].eq(unit.o_value)
            with m.If(came & (late == at + 3)):
                m.d.sync += made[names[1]].eq(unit.o_value)
        with m.If(came & (late == _SCORE)):
            m.d.sync += made.score.eq(unit.o_value)
        m.d.sync += keep.eq(made.score >= self.score_min)
        m.d.comb += [
            self.records.payload.eq(record),
            end.eq(Mux(self.records.valid, self.records.ready, full & ~keep)),
            self.busy.eq(step.any() | waiting.any()),
        ]
        with m.If(self.records.ready):
            m.d.sync += self.records.valid.eq(0)
        with m.If(full & ~self.records.valid):
            m.d.sync += [full.eq(0), self.records.valid.eq(keep), record.eq(made)]
        cell = {n: delay(m, box[n], latency, name=n) for n in ("label", "anchor", "x", "y")}
        with m.If(came & (late == _LAST)):
            m.d.sync += [
                full.eq(1), made.level.eq(scan.level), *(made[n].eq(v) for n, v in cell.items()),
            ]
        return m

    def _operands(
        self, m: Module, scan: Any, unit: CoordinateUnit, step: Signal, go: Signal, odd: Signal,
        given: Signal,
    ) -> None:
        """What the unit gets when the row of the table is there."""
        early = delay(m, step, self.table_latency - 1, name="early")
        kinds = Signal(data.StructLayout({
            "anchor": 1, "objectness": 1, "score": 1, "centre": 1, "offset": 1, "extent": 1,
            "minus": 1, "half": 1, "axis": 1, "valid": 1, "given": 1,
        }), reset_less=True)
        coordinate, part = early[2:].any(), early[:2]
        centre = coordinate & ((part == 0) | (scan.form & (part == 2)))
        offset = coordinate & ~scan.form & (part == 1)
        m.d.sync += [
            kinds.valid.eq(delay(m, go, self.table_latency - 1, name="valid")),
            kinds.anchor.eq(early == _ANCHOR),
            kinds.objectness.eq(early == _OBJECTNESS),
            kinds.score.eq(early == _SCORE),
            kinds.centre.eq(centre),
            kinds.offset.eq(offset),
            kinds.extent.eq(coordinate & ~centre & ~offset),
            kinds.minus.eq(Mux(scan.form, part == 1, part == 2)),
            kinds.half.eq(~scan.form),
            kinds.axis.eq(early[3]),
            kinds.given.eq(centre | (coordinate & scan.bins.any())
                           | ((early == _SCORE) & scan.softmax)),
        ]
        anchor = Signal(AnchorLayout(), reset_less=True)
        with m.If(kinds.anchor):
            m.d.sync += anchor.eq(self.row_data)
        entry = data.View(data.ArrayLayout(EntryLayout(), 2), self.row_data)[odd]
        objectness = Signal(self.arch.SCORE_BITS, reset_less=True)
        with m.If(kinds.objectness):
            m.d.sync += objectness.eq(Mux(scan.objectness, entry.objectness, 1))

        size = Mux(kinds.axis, anchor.height, anchor.width)
        stride = Mux(kinds.axis, scan.stride_y, scan.stride_x)
        in_strides = kinds.centre | (kinds.offset & scan.grid)
        half_score = Mux(scan.objectness, 16, 0)
        m.d.comb += [
            unit.i_valid.eq(kinds.valid),
            unit.i.a.eq(Mux(
                kinds.given, given, Mux(
                    kinds.offset, entry.centre, Mux(kinds.score, entry.score, entry.size),
                ),
            )),
            unit.i.b.eq(Mux(kinds.score, objectness, Mux(in_strides, stride, size))),
            unit.i.c.eq(Mux(kinds.centre, Mux(kinds.axis, anchor.cy, anchor.cx), 0)),
            unit.i.shift.eq(Mux(
                kinds.extent, scan.size_shift, Mux(
                    kinds.offset, scan.centre_shift, Mux(kinds.score, half_score, 0),
                ),
            )),
            unit.i.extent.eq(kinds.extent),
            unit.i.first.eq(kinds.centre | kinds.score),
            unit.i.minus.eq(kinds.minus),
            unit.i.half.eq(kinds.half & kinds.minus),
            unit.i.raw.eq(kinds.score),
        ]
