"""Words of activations become words of weights, two by two."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2

from falconet.isa import Arch, Dst
from falconet_hw.dma.load_window import LoadWord
from falconet_hw.layout import WORD_ADDRESS
from falconet_hw.stream.delay import delay

__all__ = ["Pairs"]


def _packed(m: Module, w0: Value, w1: Value) -> Value:
    """pack_pair of two bytes, of which -128 counts as -127."""
    low = Signal(8)
    high = Signal(8)
    least0 = w0 == 0x80
    least1 = w1 == 0x80
    m.d.comb += [
        low.eq(Cat(w0[0] | least0, w0[1:])),
        # -128 + 1 - 1 is what it was.
        high.eq(Mux(least1, Cat(~w0[7], w1[1:]), w1 - w0[7])),
    ]
    return Cat(low, high)


class Pairs(Component):
    """The ``lanes`` words of a LOAD's run with ``pair``, one an output lane, become weight words.

    Of the words ``w0`` of lane ``2 * j`` and ``w1`` of lane ``2 * j + 1`` two are made: the first
    half of the bytes of both, then the second, each packed as falconet.isa.pack_pair says; -128
    counts as -127. With as many rows as lanes they lie next to each other, else the second is
    ``rows`` lane words (a weight word) behind the first.

    Words are always taken, with any pauses between them; two leave the second and third cycle after
    the odd one came. So one a cycle passes; there is no back-pressure.

    Parameters
    ----------
    arch: Arch

    Members
    -------
    valid, word: In(1), In(LoadWord(arch))
        ``lanes`` of a run, with addresses that count up; the last of an instruction is an odd one.
    made, weight: Out(1), Out(LoadWord(arch))
        Registers; ``last`` is that of the words.
    busy: Out(1)
        A register: words are made, or will be without another one coming.
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "valid": In(1), "word": In(LoadWord(arch)),
            "made": Out(1), "weight": Out(LoadWord(arch)),
            "busy": Out(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        half = 4 * self.arch.lanes
        data = self.word.data

        # Which of two comes next, in four registers that share the sinks; every second is the
        # complement, so that no tool makes one of them.
        odd = []
        for i in range(4):
            turn = Signal(name=f"turn{i}", init=i & 1)
            m.d.sync += turn.eq(turn ^ self.valid)
            odd.append(turn ^ (i & 1))

        # While w0 is awaited whatever is there is taken for it, and so for w1: they are the last
        # that came before the turn. In the cycle after it the second half follows the first.
        first0 = Signal(half, reset_less=True)
        second0 = Signal(half, reset_less=True)
        second1 = delay(m, data[half:], 1, name="second1")
        w0 = Signal(half, reset_less=True)
        w1 = Signal(half, reset_less=True)
        with m.If(~odd[0]):
            m.d.sync += first0.eq(data[:half])
        with m.If(~odd[1]):
            m.d.sync += second0.eq(data[half:])
        m.d.sync += [
            w0.eq(Mux(odd[2], first0, second0)),
            w1.eq(Mux(odd[3], data[:half], second1)),
        ]

        both = Signal()
        follows = delay(m, both, 1, name="both", reset=True)
        halves = Signal()
        ends = delay(m, both & self.word.last, 3, name="ends")
        address = delay(m, self._address(m, odd[0]), 1, name="address")
        weights = Cat(
            _packed(m, w0[i:i + 8], w1[i:i + 8]) for i in range(0, half, 8)
        )
        m.d.comb += [
            both.eq(self.valid & odd[0]),
            self.made.eq(delay(m, halves, 1, name="made", reset=True)),
            self.weight.dst.eq(Dst.WEIGHTS),
            self.weight.addr.eq(address),
            self.weight.data.eq(delay(m, weights, 1, name="weights")),
            self.weight.last.eq(ends),
            self.weight.pair.eq(1),
        ]
        m.d.sync += [halves.eq(both | follows), self.busy.eq(both | halves)]
        return m

    def _address(self, m: Module, odd: Value) -> Signal:
        """A register: of the half that ``w0`` and ``w1`` hold."""
        address = Signal(WORD_ADDRESS, reset_less=True)
        place = Signal(WORD_ADDRESS, reset_less=True)
        if self.arch.word_steps == 1:
            with m.If(~odd):
                m.d.sync += place.eq(self.word.addr)
            m.d.sync += address.eq(Mux(odd, place, delay(m, self.word.addr, 1, name="behind")))
            return address
        pair = Signal(ceil_log2(self.arch.lanes) - 1)
        with m.If(self.valid & odd):
            m.d.sync += pair.eq(pair + 1)
        with m.If(self.valid & ~odd):
            m.d.sync += place.eq(Mux(pair == 0, self.word.addr, place + 1))
        m.d.sync += address.eq(place + Mux(odd, 0, self.arch.rows))
        return address
