"""Words of runs become the words that are written: addresses, overlapping windows, pad."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from amaranth.utils import exact_log2

from falconet.isa import Arch, Load, LoadImage
from falconet_hw.dma.box import BoxRun
from falconet_hw.dma.load_port import Word
from falconet_hw.layout import WORD_ADDRESS, field_shape
from falconet_hw.stream.credits import Credits
from falconet_hw.stream.delay import delay
from falconet_hw.stream.fifo import Fifo, RegisterSlice

__all__ = ["LoadWord", "WindowRow", "Windows"]

_DEPTH = 16


class WindowRow(data.StructLayout):
    """What the rows of one instruction have in common.

    ``image`` = 0: the words themselves (``step`` = lanes, ``pad_left`` = 0).
    """

    def __init__(self, arch: Arch) -> None:
        super().__init__({
            "dst": field_shape(Load, "dst"), "n": field_shape(Load, "run"),
            "image": 1, "step": range(arch.lanes + 1),
            **{name: field_shape(LoadImage, name) for name in ("pad_left", "row_bytes")},
            "pad": 8,
        })


class LoadWord(data.StructLayout):
    """A word on its way out; ``last`` of its instruction."""

    def __init__(self, arch: Arch) -> None:
        super().__init__({
            "dst": field_shape(Load, "dst"), "addr": WORD_ADDRESS, "data": 8 * arch.lanes,
            "last": 1,
        })


class Windows(Component):
    """One row a run: word ``i < n`` holds bytes ``[i * step, i * step + lanes)`` of the row.

    The row is ``pad_left`` bytes of pad, ``row_bytes`` bytes of the run, and pad without end. The
    run's words that no window needs are dropped. One word a cycle; words leave in order through a
    queue of 16.

    A window ends in word ``k`` of the run and may begin in word ``k - 1``, which is kept. Because
    ``step <= lanes``, ``k`` moves on by at most one from window to window. Words before the run
    and after its end are never asked for: the pad hides whatever is there.

    Members
    -------
    rows: In(stream.Signature(BoxRun(WORD_ADDRESS.width, WindowRow(arch))))
    words: In(stream.Signature(Word(arch)))
    out: Out(stream.Signature(LoadWord(arch)))
    stop: In(1)
        Begin no new word; from a register.
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "rows": In(stream.Signature(BoxRun(WORD_ADDRESS.width, WindowRow(arch)))),
            "words": In(stream.Signature(Word(arch))),
            "out": Out(stream.Signature(LoadWord(arch))),
            "stop": In(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes, bits = self.arch.lanes, exact_log2(self.arch.lanes)
        m.submodules.queue = queue = Fifo(LoadWord(self.arch), depth=_DEPTH)
        m.submodules.ahead = ahead = RegisterSlice(self.rows.payload.shape())
        connect(m, flipped(self.rows), ahead.i)
        row = ahead.o.payload.common

        active = Signal()
        draining = Signal()
        ended = Signal(reset_less=True)
        final = Signal(reset_less=True)
        now = Signal(WindowRow(self.arch), reset_less=True)
        last = Signal(reset_less=True)
        addr = Signal(WORD_ADDRESS, reset_less=True)
        left = Signal.like(row.n, reset_less=True)
        # Words of pad before the run's first.
        before = Signal(len(row.pad_left) - bits + 1, reset_less=True)
        phase = Signal(bits, reset_less=True)  # the window begins at byte phase + 1 of `kept`
        # Bytes of this window before the row's begin; from its own begin to the row's end.
        lead = Signal.like(row.pad_left, reset_less=True)
        rest = Signal(len(row.row_bytes) + 1, reset_less=True)
        kept = Signal(8 * lanes, reset_less=True)

        emit = Signal()
        take = Signal()
        done = Signal()
        outside = Signal(reset_less=True)  # no word is needed: before the run or after it
        move_on = Signal(reset_less=True)  # the next window ends in the next word
        moved = Signal(bits)
        m.submodules.credits = credits = Credits(depth=_DEPTH)
        m.d.comb += [
            credits.take.eq(emit), credits.give.eq(self.out.valid & self.out.ready),
            emit.eq(
                active & ~draining & credits.room & ~self.stop & (outside | self.words.valid)
            ),
            moved.eq(phase + now.step),
            take.eq(draining | (emit & ~outside & move_on)),
            self.words.ready.eq(take),
            done.eq(
                ((draining | (emit & final)) & take & self.words.valid & self.words.payload.end)
                | (emit & final & ended)
            ),
            ahead.o.ready.eq(~active | done),
        ]
        first_phase = ~row.pad_left[:bits]

        with m.If(take & self.words.valid):
            m.d.sync += kept.eq(self.words.payload.data)
        with m.If(ahead.o.ready):
            m.d.sync += [
                active.eq(ahead.o.valid), draining.eq(0), ended.eq(0),
                now.eq(row), last.eq(ahead.o.payload.last),
                addr.eq(ahead.o.payload.at),
                left.eq(row.n - 1), final.eq(row.n == 1),
                before.eq(row.pad_left[bits:]), outside.eq(row.pad_left[bits:].any()),
                phase.eq(first_phase),
                move_on.eq((first_phase + row.step)[bits:].any()),
                lead.eq(row.pad_left),
                rest.eq(Mux(row.image, row.row_bytes + row.pad_left, lanes)),
            ]
        with m.Elif(emit):
            m.d.sync += [
                draining.eq(final),
                ended.eq(ended | (take & self.words.payload.end)),
                addr.eq(addr + 1), left.eq(left - 1), final.eq(left == 1),
                before.eq(before - (move_on & before.any())),
                outside.eq((before > move_on) | ended | (take & self.words.payload.end)),
                phase.eq(moved), move_on.eq((moved + now.step)[bits:].any()),
            ]
            with m.If(now.image):
                m.d.sync += [
                    lead.eq(Mux(lead > now.step, lead - now.step, 0)),
                    rest.eq(Mux(rest > now.step, rest - now.step, 0)),
                ]

        # Two stages: the window to 4 bytes and the mask; the window to the byte and the pad.
        both = Cat(kept, self.words.payload.data)[8:]
        capped = Mux(rest >= lanes, lanes, rest[:bits])
        coarse = Signal(8 * (lanes + 3), reset_less=True)
        fine = Signal(2, reset_less=True)
        inside = Signal(lanes, reset_less=True)
        first = Signal(LoadWord(self.arch), reset_less=True)
        pad = Signal(8, reset_less=True)
        m.d.sync += [
            coarse.eq(Array(both[i:i + len(coarse)] for i in range(0, 8 * lanes, 32))[phase[2:]]),
            fine.eq(phase),
            inside.eq(Cat((j >= lead) & (j < capped) for j in range(lanes))),
            first.dst.eq(now.dst), first.addr.eq(addr), first.last.eq(last & final),
            pad.eq(now.pad),
        ]
        window = Array(coarse[i:i + 8 * lanes] for i in range(0, 32, 8))[fine]
        second = Signal(LoadWord(self.arch), reset_less=True)
        m.d.sync += [
            second.dst.eq(first.dst), second.addr.eq(first.addr), second.last.eq(first.last),
            second.data.eq(Cat(
                Mux(inside[j], window[8 * j:8 * j + 8], pad) for j in range(lanes)
            )),
        ]
        m.d.comb += [
            queue.i.valid.eq(delay(m, emit, 2, name="emit", reset=True)),
            queue.i.payload.eq(second),
        ]
        connect(m, queue.o, flipped(self.out))
        return m
