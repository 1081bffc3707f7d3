"""Scores that are high enough: reads the words of a head and compares all lanes at once."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from falconet.isa import INSTRUCTION_BITS, Arch, Scan
from falconet_hw.engine.loops import LoopNest, accumulate
from falconet_hw.layout import BLOCK, PIXEL, WORD_ADDRESS, field_shape, instruction_layout
from falconet_hw.stream.fifo import Fifo
from falconet_hw.stream.in_flight import in_flight

__all__ = ["HitFinder", "HitLayout"]

_WORDS = 16  # asked for or waiting for their hits to be taken; 9 keep the port busy
_LOOPS = {"x": PIXEL, "b": BLOCK, "y": PIXEL}


class HitLayout(data.StructLayout):
    """A stored score ``q`` of at least ``q_min``, its channel and its cell."""

    def __init__(self) -> None:
        super().__init__({
            "q": signed(8), "channel": field_shape(Scan, "n_channels"), "x": PIXEL, "y": PIXEL,
        })


class HitFinder(Component):
    """Reads all words of a head's scores and gives the hits in them, rows in order.

    One word a cycle; a word with hits is queued, and its hits leave one in two cycles. Up to 16
    words are asked for or queued, so nothing that is read is ever refused.

    Members
    -------
    start: In(1)
        Begin ``instr``, a Scan, which is stable until all hits are taken, and so is ``q_min``.
    q_min: In(signed(9))
    reads: Out(stream.Signature(WORD_ADDRESS))
        Word addresses, from a register.
    answer: In(1), read_data: In(8 * lanes)
        The words, in order, for one cycle.
    hits: Out(stream.Signature(HitLayout()))
    busy: Out(1)
        From the cycle after ``start`` to the last hit's transfer.
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "start": In(1),
            "instr": In(INSTRUCTION_BITS),
            "q_min": In(signed(9)),
            "reads": Out(stream.Signature(WORD_ADDRESS)),
            "answer": In(1),
            "read_data": In(8 * arch.lanes),
            "hits": Out(stream.Signature(HitLayout())),
            "busy": Out(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = self.arch.lanes
        scan = data.View(instruction_layout(Scan), self.instr)
        m.submodules.queue = queue = Fifo(data.StructLayout({
            "hits": lanes, "word": 8 * lanes, "x": PIXEL, "y": PIXEL, "b": BLOCK,
        }), depth=_WORDS)

        m.submodules.requests = requests = LoopNest(_LOOPS)
        m.submodules.answers = answers = LoopNest(_LOOPS)
        for nest in requests, answers:
            m.d.comb += nest.start.eq(self.start)
            for name in _LOOPS:
                m.d.comb += getattr(nest, f"n_{name}").eq(scan[f"n_{name}"])

        dropped = self._find(m, scan, answers, queue)
        popped = self._pick(m, queue)
        self._ask(m, scan, requests, dropped, popped)

        unread = Signal()
        with m.If(self.start):
            m.d.sync += unread.eq(1)
        with m.Elif(answers.step & answers.last(*_LOOPS)):
            m.d.sync += unread.eq(0)
        m.d.comb += self.busy.eq(unread | queue.level.any() | queue.o.valid)
        return m

    def _ask(
        self, m: Module, scan: Any, nest: LoopNest, dropped: Signal, popped: Signal,
    ) -> None:
        """The addresses, as long as there is room."""
        active = Signal()
        go = Signal()
        held = in_flight(m, go, dropped + popped, limit=_WORDS, name="held")
        m.d.comb += [
            self.reads.valid.eq(active & (held != _WORDS)),
            go.eq(self.reads.valid & self.reads.ready),
            nest.step.eq(go),
        ]
        row = Signal(WORD_ADDRESS, reset_less=True)
        block = Signal(WORD_ADDRESS, reset_less=True)
        at = Signal(WORD_ADDRESS, reset_less=True)
        following = Signal(WORD_ADDRESS)
        m.d.comb += [
            following.eq(
                Mux(nest.last_x, Mux(nest.last_b, row, block), at)
                + Mux(nest.last_x, Mux(nest.last_b, scan.score_y_step, scan.score_b_step), 1)
            ),
            self.reads.payload.eq(at),
        ]
        with m.If(self.start):
            m.d.sync += [active.eq(1), *(r.eq(scan.score_base) for r in (row, block, at))]
        with m.Elif(go):
            m.d.sync += at.eq(following)
            with m.If(nest.last_x):
                m.d.sync += block.eq(following)
                with m.If(nest.last_b):
                    m.d.sync += row.eq(following)
            with m.If(nest.last(*_LOOPS)):
                m.d.sync += active.eq(0)

    def _find(self, m: Module, scan: Any, nest: LoopNest, queue: Fifo) -> Signal:
        """Words with hits go into the queue; the result: one had none."""
        lanes = self.arch.lanes
        came = Signal()
        word = Signal(8 * lanes, reset_less=True)
        high = Signal(lanes, reset_less=True)
        m.d.sync += [
            came.eq(self.answer),
            word.eq(self.read_data),
            high.eq(Cat(
                self.read_data.word_select(i, 8).as_signed() >= self.q_min for i in range(lanes)
            )),
        ]
        rest = scan.n_channels[: (lanes - 1).bit_length()]
        used = Signal(lanes)  # in the last block
        entry = queue.i.payload
        m.d.comb += [
            nest.step.eq(came),
            used.eq(Cat((rest == 0) | (rest > i) for i in range(lanes))),
            entry.hits.eq(high & (used | (~nest.last_b).replicate(lanes))),
            entry.word.eq(word),
            queue.i.valid.eq(came & entry.hits.any()),
        ]
        for name, width in _LOOPS.items():
            index = accumulate(m, nest.level(name), 1, shape=width, name=f"index_{name}")
            m.d.comb += entry[name].eq(index)
        dropped = Signal()
        m.d.sync += dropped.eq(came & ~entry.hits.any())
        return dropped

    def _pick(self, m: Module, queue: Fifo) -> Signal:
        """Hits out of the queue's words: one cycle to find the next one, one to give it away.

        The result: a word has no more.
        """
        lanes = self.arch.lanes
        entry = queue.o.payload
        taken = Signal(lanes)
        picked = Signal()
        more = Signal(reset_less=True)
        popped = Signal()
        lane = Signal(range(lanes), reset_less=True)
        left = Signal(lanes)
        lowest = Signal(lanes)
        m.d.comb += [
            left.eq(entry.hits & ~taken),
            lowest.eq(Cat(left[i] & ~left[:i].any() for i in range(lanes))),
            self.hits.valid.eq(picked),
            self.hits.payload.q.eq(entry.word.word_select(lane, 8)),
            self.hits.payload.channel.eq(Cat(lane, entry.b)),
            self.hits.payload.x.eq(entry.x),
            self.hits.payload.y.eq(entry.y),
            queue.o.ready.eq(picked & self.hits.ready & ~more),
        ]
        m.d.sync += popped.eq(queue.o.ready)
        with m.If(picked):
            with m.If(self.hits.ready):
                m.d.sync += picked.eq(0)
                with m.If(~more):
                    m.d.sync += taken.eq(0)
        with m.Elif(queue.o.valid):
            m.d.sync += [
                picked.eq(1),
                taken.eq(taken | lowest),
                more.eq((left & ~lowest).any()),
                lane.eq(Cat(
                    Cat(lowest[i] for i in range(lanes) if i >> bit & 1).any()
                    for bit in range((lanes - 1).bit_length())
                )),
            ]
        return popped
