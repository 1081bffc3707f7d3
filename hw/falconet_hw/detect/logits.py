"""From a score that is high enough to all that is stored about its box."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from falconet.isa import INSTRUCTION_BITS, Arch, Scan
from falconet_hw.detect.forms import AnchorLayout, RecordLayout
from falconet_hw.detect.hits import HitLayout
from falconet_hw.layout import PIXEL, WORD_ADDRESS, instruction_layout
from falconet_hw.stream.delay import delay

__all__ = ["BoxFetcher", "StoredLayout"]


class StoredLayout(data.StructLayout):
    """A box as the tensors have it: score, objectness, four coordinates; and whose it is.

    ``score_at``, ``lane``: where its anchor's classes begin; ``box_at``, ``box_lane``: its box.
    """

    def __init__(self, arch: Arch) -> None:
        super().__init__({
            "q": signed(8), "objectness": signed(8), "box": data.ArrayLayout(signed(8), 4),
            **{name: RecordLayout()[name].shape for name in ("anchor", "label")},
            "x": PIXEL, "y": PIXEL, "score_at": WORD_ADDRESS, "box_at": WORD_ADDRESS,
            "lane": exact_log2(arch.lanes), "box_lane": exact_log2(arch.lanes),
        })


class BoxFetcher(Component):
    """Splits a hit's channel into anchor and class and reads the words of its box.

    Two hits are under way. The first half takes ``anchor + 2`` cycles, or the rows from the hit
    before and 2; the second at least ``table_latency + read_latency + 4``, and one more with
    objectness.

    Members
    -------
    start: In(1)
        Begin ``instr``, a Scan, stable while there are hits.
    hits: In(stream.Signature(HitLayout()))
        In the order of rows.
    ask: Out(1), anchor: Out(4)
        A row of the detect table is wanted: an anchor's. Never refused.
    anchor_row: In(128)
        It, ``table_latency`` cycles later.
    reads: Out(stream.Signature(WORD_ADDRESS))
        Word addresses.
    answer: In(1), read_data: In(8 * lanes)
        The words, in order, for one cycle.
    boxes: Out(stream.Signature(StoredLayout(arch)))
    busy: Out(1)
    """

    def __init__(self, *, arch: Arch, table_latency: int) -> None:
        self.arch, self.table_latency = arch, table_latency
        super().__init__({
            "start": In(1),
            "instr": In(INSTRUCTION_BITS),
            "hits": In(stream.Signature(HitLayout())),
            "ask": Out(1),
            "anchor": Out(RecordLayout()["anchor"].shape),
            "anchor_row": In(8 * arch.ROW_BYTES),
            "reads": Out(stream.Signature(WORD_ADDRESS)),
            "answer": In(1),
            "read_data": In(8 * arch.lanes),
            "boxes": Out(stream.Signature(StoredLayout(arch))),
            "busy": Out(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        scan = data.View(instruction_layout(Scan), self.instr)

        stored = Signal(StoredLayout(self.arch), reset_less=True)
        fetching = Signal()

        # First half: anchor and class, and the rows of boxes and objectness.
        hit = Signal(HitLayout(), reset_less=True)
        anchor = Signal.like(self.anchor, reset_less=True)
        row = Signal(PIXEL, reset_less=True)
        box_row = Signal(WORD_ADDRESS, reset_less=True)
        objectness_row = Signal(WORD_ADDRESS, reset_less=True)
        score_row = Signal(WORD_ADDRESS, reset_less=True)
        held = Signal()
        split = Signal(reset_less=True)
        here = Signal(reset_less=True)
        rest = Signal(signed(len(hit.channel) + 1))
        m.d.comb += [
            rest.eq(hit.channel - scan.n_class),
            self.ask.eq(held & split & here & ~fetching),
            self.anchor.eq(anchor),
            self.hits.ready.eq(~held | self.ask),
        ]
        with m.If(self.hits.ready):
            m.d.sync += [
                held.eq(self.hits.valid), split.eq(0), here.eq(0),
                hit.eq(self.hits.payload), anchor.eq(0),
            ]
        with m.Else():
            m.d.sync += [split.eq(rest[-1]), here.eq(hit.y == row)]
            with m.If(~rest[-1]):
                m.d.sync += [hit.channel.eq(rest), anchor.eq(anchor + 1)]
        with m.If(self.start):
            m.d.sync += [
                row.eq(0), box_row.eq(scan.box_base), objectness_row.eq(scan.obj_base),
                score_row.eq(scan.score_base),
            ]
        with m.Elif(held & (hit.y != row)):
            m.d.sync += [
                row.eq(row + 1),
                box_row.eq(box_row + scan.box_y_step),
                objectness_row.eq(objectness_row + scan.obj_y_step),
                score_row.eq(score_row + scan.score_y_step),
            ]

        # Second half: the addresses, then the words.
        entry = data.View(AnchorLayout(), self.anchor_row)
        box_at = stored.box_at
        objectness_at = Signal(WORD_ADDRESS, reset_less=True)
        want_box = Signal()
        want_objectness = Signal()
        got_box = Signal()
        final = Signal()
        m.d.comb += [
            self.reads.valid.eq(want_box | want_objectness),
            self.reads.payload.eq(Mux(want_box, box_at, objectness_at)),
            final.eq(self.answer & (got_box | ~scan.objectness)),
            self.boxes.payload.eq(stored),
            self.busy.eq(held | fetching),
        ]
        with m.If(self.ask):
            m.d.sync += [
                fetching.eq(1),
                stored.q.eq(hit.q), stored.label.eq(hit.channel), stored.anchor.eq(anchor),
                stored.x.eq(hit.x), stored.y.eq(hit.y),
                box_at.eq(box_row + hit.x), objectness_at.eq(objectness_row + hit.x),
                stored.score_at.eq(score_row + hit.x),
            ]
        with m.If(self.reads.ready):
            m.d.sync += want_box.eq(0)
            with m.If(~want_box):
                m.d.sync += want_objectness.eq(0)
        with m.If(delay(m, self.ask, self.table_latency, name="ask", reset=True)):
            m.d.sync += [
                want_box.eq(1), want_objectness.eq(scan.objectness),
                box_at.eq(box_at + entry.box),
                objectness_at.eq(objectness_at + entry.objectness),
                stored.score_at.eq(stored.score_at + entry.mark),
                stored.lane.eq(entry.lane), stored.box_lane.eq(entry.box_lane),
            ]
        with m.If(self.answer):
            m.d.sync += got_box.eq(~final)
            with m.If(~got_box):
                lane = stored.anchor[: exact_log2(self.arch.lanes // 4)]
                m.d.sync += stored.box.eq(self.read_data.word_select(lane, 32))
            lane = stored.anchor[: exact_log2(self.arch.lanes)]
            m.d.sync += stored.objectness.eq(self.read_data.word_select(lane, 8))
        with m.If(self.boxes.ready & self.boxes.valid):
            m.d.sync += [self.boxes.valid.eq(0), fetching.eq(0)]
        with m.If(final):
            m.d.sync += self.boxes.valid.eq(1)
        return m
