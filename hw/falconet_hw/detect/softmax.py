"""What takes more than one stored byte: a share of a softmax, an expectation over bins."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from falconet.isa import INSTRUCTION_BITS, Arch, Scan
from falconet_hw.detect.divide import Divide
from falconet_hw.detect.forms import EntryLayout
from falconet_hw.detect.logits import StoredLayout
from falconet_hw.layout import WORD_ADDRESS, field_shape, instruction_layout
from falconet_hw.stream.delay import delay

__all__ = ["Softmax", "WeighedLayout"]

_GROUP = field_shape(Scan, "n_class")
_TOTAL = 24  # 256 exponentials
_FRACTION = 16


class WeighedLayout(data.StructLayout):
    """A box that is stored, its score (with ``softmax``) and its four sizes (with ``bins``)."""

    def __init__(self, arch: Arch) -> None:
        super().__init__({
            "stored": StoredLayout(arch), "score": arch.SCORE_BITS,
            "sizes": data.ArrayLayout(16, 4),
        })


class Softmax(Component):
    """Shares and expectations of docs/arithmetic.md (Exponentials) for one box after the other.

    With neither ``softmax`` nor ``bins`` boxes pass in the same cycle. Else each waits for its
    groups, one after the other: ``softmax`` the classes and the background, ``bins`` four sides. A
    group of ``n`` in ``w`` words is read to a buffer, which finds its largest, and then weighed,
    backwards: the sum of the running sums is that of ``j * e_j``. The divider is at work while the
    next group is read; a word holds the end of one side and the begin of the next, and is read
    once. Cycles of a box::

        softmax   2 * n_class + 8 + table_latency + w * (read_latency + 2)
        bins      4 * max(19, 2 * bins + 7 + table_latency) + w * (read_latency + 2)

    and 21 for the last quotient.

    Members
    -------
    instr: In(512)
        A Scan, stable while boxes are under way and in the cycle before.
    boxes: In(stream.Signature(StoredLayout(arch)))
        None in the cycle after a transfer.
    reads: Out(stream.Signature(WORD_ADDRESS))
        Word addresses, from a register; only while a box waits.
    answer: In(1), read_data: In(8 * lanes)
        The word, for one cycle.
    ask: Out(1), row: Out(7)
        Row of the detect table that is wanted, from a register. Never refused.
    row_data: In(128)
        It, ``table_latency`` cycles later.
    weighed: Out(stream.Signature(WeighedLayout(arch)))
    """

    def __init__(self, *, arch: Arch, table_latency: int) -> None:
        self.arch, self.table_latency = arch, table_latency
        super().__init__({
            "instr": In(INSTRUCTION_BITS),
            "boxes": In(stream.Signature(StoredLayout(arch))),
            "reads": Out(stream.Signature(WORD_ADDRESS)),
            "answer": In(1),
            "read_data": In(8 * arch.lanes),
            "ask": Out(1),
            "row": Out(7),
            "row_data": In(8 * arch.ROW_BYTES),
            "weighed": Out(stream.Signature(WeighedLayout(arch))),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = self.arch.lanes
        scan = data.View(instruction_layout(Scan), self.instr)
        stored = self.boxes.payload
        results = Signal(WeighedLayout(self.arch), reset_less=True)

        plain = Signal()
        done = Signal()
        m.d.sync += plain.eq(~scan.softmax & ~scan.bins.any())
        m.d.comb += [
            self.weighed.valid.eq(self.boxes.valid & (plain | done)),
            self.boxes.ready.eq(self.weighed.ready & (plain | done)),
            self.weighed.payload.stored.eq(stored),
            self.weighed.payload.score.eq(results.score),
            self.weighed.payload.sizes.eq(results.sizes),
        ]

        # A group: of which box, where, how long.
        classes = Signal(reset_less=True)  # else a side
        side = Signal(2, reset_less=True)
        index = Signal(_GROUP, reset_less=True)
        last = Signal(_GROUP, reset_less=True)
        at = Signal(WORD_ADDRESS, reset_less=True)
        lane = Signal(exact_log2(lanes), reset_less=True)
        m.d.sync += last.eq(Mux(classes, scan.n_class, scan.bins) - 1)

        # Its bytes go into the buffer, one a cycle.
        word = Signal(8 * lanes, reset_less=True)
        walk = Signal()
        q = Signal(signed(8), reset_less=True)
        place = Signal.like(index, name="place", reset_less=True)
        most = Signal(signed(8), reset_less=True)
        m.submodules.buffer = buffer = Memory(shape=8, depth=1 << len(index), init=[],
                                              attrs={"ram_style": "distributed"})
        write = buffer.write_port()
        read = buffer.read_port(domain="comb")
        walked = delay(m, walk, 1, name="walk", reset=True)
        m.d.sync += [q.eq(word.word_select(lane, 8)), place.eq(index)]
        m.d.comb += [
            write.addr.eq(place), write.data.eq(q), write.en.eq(walked),
            read.addr.eq(index), self.reads.payload.eq(at),
        ]

        # From the buffer they go to the table, and what that says into the sums.
        weigh = Signal()
        first = Signal(reset_less=True)
        complete = Signal()
        dividing = Signal()
        divide = Signal()
        m.submodules.divide = divider = Divide(bits=_TOTAL + 2, fraction=_FRACTION)
        final = self._sum(m, scan, weigh, first, classes, index, most, read.data, divider)
        m.d.comb += [divide.eq(complete & ~dividing), divider.start.eq(divide)]
        quotient = divider.quotient
        made = delay(m, divide, divider.LATENCY + _FRACTION, name="divide", reset=True)
        of_classes = Signal(reset_less=True)
        with m.If(divide):
            m.d.sync += [dividing.eq(1), of_classes.eq(classes)]
        with m.Elif(made):
            m.d.sync += dividing.eq(0)
            with m.If(of_classes):
                m.d.sync += results.score.eq(quotient[:-1] | quotient[-1].replicate(_FRACTION))
            with m.Else():
                m.d.sync += results.sizes.eq(
                    Cat(results.sizes.as_value(), quotient[:_FRACTION])[_FRACTION:])
        with m.If(divide):
            m.d.sync += complete.eq(0)
        with m.Elif(final):
            m.d.sync += complete.eq(1)

        with m.If(walked & (q > most)):
            m.d.sync += most.eq(q)
        wrapped = Signal(reset_less=True)
        with m.FSM():
            with m.State("BOX"):
                m.d.sync += [
                    classes.eq(scan.softmax), side.eq(0), index.eq(0),
                    most.eq(Mux(scan.softmax, scan.background, -128)),
                    at.eq(Mux(scan.softmax, stored.score_at, stored.box_at)),
                    lane.eq(Mux(scan.softmax, stored.lane, stored.box_lane)),
                ]
                with m.If(self.boxes.valid & ~plain):
                    m.d.sync += self.reads.valid.eq(1)
                    m.next = "WORD"
            with m.State("WORD"):
                with m.If(self.reads.valid & self.reads.ready):
                    m.d.sync += [self.reads.valid.eq(0), at.eq(
                        at + Mux(classes, scan.score_b_step, scan.box_b_step))]
                m.d.sync += word.eq(self.read_data)
                with m.If(self.answer):
                    m.next = "WALK"
            with m.State("WALK"):
                m.d.comb += walk.eq(1)
                m.d.sync += [index.eq(index + 1), lane.eq(lane + 1), wrapped.eq(lane.all())]
                with m.If(index == last):
                    m.next = "TURN"
                with m.Elif(lane.all()):
                    m.d.sync += self.reads.valid.eq(1)
                    m.next = "WORD"
            with m.State("TURN"):
                m.d.sync += [index.eq(last + classes), first.eq(1)]
                m.next = "WEIGH"
            with m.State("WEIGH"):
                m.d.comb += weigh.eq(1)
                m.d.sync += [index.eq(index - 1), first.eq(0)]
                with m.If(~index.any()):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.sync += index.eq(0)
                with m.If(divide):
                    m.d.sync += [most.eq(-128), classes.eq(0), side.eq(side + ~classes)]
                    with m.If(classes & scan.bins.any()):
                        m.d.sync += [at.eq(stored.box_at), lane.eq(stored.box_lane)]
                        m.d.sync += self.reads.valid.eq(1)
                        m.next = "WORD"
                    with m.Elif(classes | side.all()):
                        m.next = "QUOTIENT"
                    with m.Elif(wrapped):
                        m.d.sync += self.reads.valid.eq(1)
                        m.next = "WORD"
                    with m.Else():
                        m.next = "WALK"
            with m.State("QUOTIENT"):
                with m.If(made):
                    m.d.sync += done.eq(1)
                    m.next = "GIVE"
            with m.State("GIVE"):
                with m.If(~self.boxes.valid):
                    m.d.sync += done.eq(0)
                    m.next = "BOX"
        return m

    def _sum(
        self, m: Module, scan: Any, weigh: Signal, first: Signal, classes: Signal, index: Signal,
        most: Signal, byte: Value, divider: Divide,
    ) -> Value:
        """Sums of a group's entries to the divider; the result: they are complete.

        Cycles: 1 the byte; 2 the number of its entry; then the table; 1 the entry; 2 the sum of
        the entries from the last to this one; 3 the sum of these sums.
        """
        q = Signal(8, reset_less=True)
        number = Signal(8, reset_less=True)
        m.d.sync += [
            q.eq(Mux(first & classes, scan.background, byte)),
            number.eq(q + ~most),  # 255 - (most - q)
        ]
        m.d.comb += [self.ask.eq(delay(m, weigh, 2, name="weigh", reset=True)),
                     self.row.eq(number[1:])]
        there = 2 + self.table_latency
        odd = delay(m, number[0], self.table_latency, name="odd")
        entry = Signal(16, reset_less=True)
        pair = data.View(data.ArrayLayout(EntryLayout(), 2), self.row_data)
        m.d.sync += entry.eq(Mux(classes, pair[odd].score, pair[odd].size))

        one = Cat(weigh, weigh & first, weigh & (index == self.boxes.payload.label),
                  weigh & ~index.any())
        valid, begin, mine, end = delay(m, one, there + 1, name="one", reset=True)
        numerator = Signal.like(divider.numerator, reset_less=True)
        total = Signal(_TOTAL, reset_less=True)
        with m.If(valid):
            m.d.sync += total.eq(Mux(begin, 0, total) + entry)
            with m.If(mine & classes):
                m.d.sync += numerator.eq(entry)
        added, begun, ended = delay(m, Cat(valid & ~classes, begin, end), 1, name="added",
                                    reset=True)
        with m.If(added):
            m.d.sync += numerator.eq(Mux(begun, 0, numerator) + Mux(ended, 0, total))
        m.d.comb += [
            divider.numerator.eq(numerator),
            divider.denominator.eq(Mux(classes, total, total << len(scan.bins))),
        ]
        return delay(m, ended, 1, name="ended", reset=True)
