"""The best candidates of all that SCAN finds."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from falconet.isa import Arch
from falconet_hw.detect.forms import RecordLayout, RecordPortSignature
from falconet_hw.detect.records import better

__all__ = ["TopK"]


class TopK(wiring.Component):
    """Keeps the ``K = arch.candidates`` best records in rows 0 to ``count - 1``, in any order.

    While there is room a record is appended, one a cycle. The first one for which there is none
    waits until the rows have been made a heap whose root, row 0, is the worst (Floyd, 1964): at
    most ``9 * K`` cycles, once. From then on a record that is not better than the root takes 3
    cycles; one that is replaces it and sinks, in at most ``7 * log2(K) + 8`` cycles. ``i.ready``
    is low meanwhile.

    Members
    -------
    clear : In(1)
        Forget everything. While ``idle``, and no record is offered.
    i : In(stream.Signature(RecordLayout()))
        No record twice.
    port : Out(RecordPortSignature(arch))
    count : Out(range(K + 1))
        Records that are kept.
    seen : Out(32)
        Records that were taken since ``clear``.
    idle : Out(1)
        All records that were taken are in memory, if they are kept.
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "clear": In(1),
            "i": In(stream.Signature(RecordLayout())),
            "port": Out(RecordPortSignature(arch)),
            "count": Out(range(arch.candidates + 1)),
            "seen": Out(32),
            "idle": Out(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        port, k, bits = self.port, self.arch.candidates, exact_log2(self.arch.candidates)
        item = Signal(RecordLayout(), reset_less=True)  # the one that looks for its place
        child = Signal(RecordLayout(), reset_less=True)  # the worse child; while idle, the root
        read = port.read_data
        row, hole, below, node = (
            Signal(bits, name=name, reset_less=True) for name in ("row", "hole", "below", "node")
        )
        full = self.count[bits]
        heap = Signal()
        ready = Signal()
        write = Signal()
        write_item = Signal(reset_less=True)
        write_row = Signal(bits, reset_less=True)
        right = Signal(reset_less=True)
        sink = Signal(reset_less=True)
        m.d.comb += [
            port.read_row.eq(row), port.write.eq(write), port.write_row.eq(write_row),
            port.write_data.eq(Mux(write_item, item, child)),
            self.i.ready.eq(ready & (heap | ~full)),
            self.idle.eq(ready & ~write),
        ]
        m.d.sync += [
            write.eq(0), write_row.eq(hole), write_item.eq(1),
            right.eq(better(child, read)), sink.eq(better(item, child)),
        ]

        with m.FSM(init="TAKE"):
            with m.State("TAKE"):
                m.d.comb += ready.eq(1)
                m.d.sync += [
                    item.eq(self.i.payload), write_row.eq(self.count), node.eq(k // 2 - 1),
                ]
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += [
                        self.seen.eq(self.seen + 1), self.count.eq(self.count + ~full),
                        write.eq(~full),
                    ]
                    with m.If(full):
                        m.next = "COMPARE"
                with m.Elif(self.i.valid):
                    m.next = "FETCH"
            # Is it better than the worst?
            with m.State("COMPARE"):
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.sync += [hole.eq(0), row.eq(1)]
                m.next = "TAKE"
                with m.If(sink):
                    m.next = "LEFT"
            # The next subtree that is to become a heap.
            with m.State("FETCH"):
                m.d.sync += [row.eq(node), hole.eq(node)]
                m.next = "FETCH1"
            with m.State("FETCH1"):
                m.next = "FETCH2"
            with m.State("FETCH2"):
                m.d.sync += row.eq(Cat(1, node))
                m.next = "FETCH3"
            with m.State("FETCH3"):
                m.d.sync += [item.eq(read), row.eq(row + 1)]
                m.next = "RIGHT"
            # One level down: the worse child rises if it is worse than the item.
            with m.State("LEFT"):
                m.d.sync += row.eq(row + 1)
                m.next = "RIGHT"
            with m.State("RIGHT"):
                m.next = "LOAD"
            with m.State("LOAD"):
                m.d.sync += child.eq(read)
                m.next = "CHILDREN"
            with m.State("CHILDREN"):
                m.next = "WORSE"
            with m.State("WORSE"):
                m.d.sync += below.eq(Cat(1, hole))
                with m.If(right & ~hole[: bits - 1].all()):  # node K / 2 - 1 has one child only
                    m.d.sync += [child.eq(read), below.eq(Cat(1, hole) + 1)]
                m.next = "ITEM"
            with m.State("ITEM"):
                m.next = "SINK"
            with m.State("SINK"):
                m.d.sync += [write.eq(sink), write_item.eq(0), row.eq(Cat(1, below))]
                m.next = "PUT"
                with m.If(sink):
                    m.d.sync += hole.eq(below)
                    with m.If(~below[bits - 1]):  # it has children
                        m.next = "LEFT"
            with m.State("PUT"):
                m.d.sync += [write.eq(1), node.eq(node - 1)]
                m.next = "ROOT"
                with m.If(~heap & node.any()):
                    m.next = "FETCH"
            with m.State("ROOT"):
                m.d.sync += [row.eq(0), heap.eq(1)]
                m.next = "ROOT1"
            with m.State("ROOT1"):
                m.next = "ROOT2"
            with m.State("ROOT2"):
                m.next = "ROOT3"
            with m.State("ROOT3"):
                m.d.sync += child.eq(read)
                m.next = "TAKE"
        with m.If(self.clear):
            m.d.sync += [self.count.eq(0), self.seen.eq(0), heap.eq(0)]
        return m
