"""Pixels become weights: halves, bytes, addresses and the end of an instruction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.hdl import Assert, Assume
from amaranth.lib.wiring import Component, In
from wide import WIDE

from falconet.isa import Arch, Dst, preset
from falconet_hw.dma import load_pair
from falconet_hw.dma.load_window import LoadWord
from falconet_hw.stream.delay import delay
from formal.inside import Inside
from formal.proof import Mutant, Proof

__all__ = ["PROOFS", "PairsProof"]


class PairsProof(Component):
    """Each two words leave as the weights of their bytes, two and three cycles after the second.

    The words of a run are counted. What is made is taken apart as falconet.isa.unpack_pair does,
    on integers that do not wrap: byte ``i`` of half ``h`` is input lane ``h * lanes / 2 + i``, and
    the weights are those bytes, -127 where they are -128. Half ``h`` of pair ``j`` lies ``2 * j +
    h`` lane words behind the run's first; with half as many rows as lanes ``j + h * rows``.
    Nothing else is made; ``busy`` from the cycle after the second word to that of the last half.

    Members
    -------
    valid, word : In
        As they come to the component.
    """

    def __init__(self, pairs: Any) -> None:
        self.pairs, self.arch = pairs, pairs.arch
        super().__init__({"valid": In(1), "word": In(LoadWord(pairs.arch))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut, word, lanes = self.pairs, self.word, self.arch.lanes
        inside = Inside(dut)
        m.submodules.dut = inside.module
        m.d.comb += [dut.valid.eq(self.valid), dut.word.eq(word)]

        count = Signal(range(lanes))  # words of the run that came
        begin = Signal.like(word.addr, reset_less=True)  # its address
        older = Signal(8 * lanes, reset_less=True)  # the last of them
        with m.If(self.valid):
            m.d.sync += [count.eq(count + 1), older.eq(word.data)]
            with m.If(count == 0):
                m.d.sync += begin.eq(word.addr)
        second = Signal()
        m.d.comb += [
            Assume(~self.valid | (count == 0) | (word.addr == (begin + count)[:16])),
            second.eq(self.valid & count[0]),
        ]
        asked = [second]
        for i in (1, 2, 3):
            asked.append(delay(m, asked[-1], 1, name=f"asked{i}", reset=True))
        m.d.comb += [
            Assert(dut.made == (asked[2] | asked[3])),
            Assert(~(asked[2] & asked[3])),
            Assert(dut.busy == (asked[1] | asked[2] | asked[3])),
            Assert(~dut.made | (dut.weight.dst == Dst.WEIGHTS)),
        ]
        for h in (0, 1):
            self._half(m, h, asked[2 + h], older, begin, count)
        self._invariant(m, inside, older, begin, count)
        return m

    def _half(self, m: Module, h: int, now: Value, older: Value, begin: Value, count: Value
              ) -> None:
        """``weight`` is half ``h`` of the pair that came ``2 + h`` cycles ago, if it is due."""
        arch, weight = self.arch, self.pairs.weight
        at = slice(4 * arch.lanes * h, 4 * arch.lanes * (h + 1))

        def then(value: Value, name: str) -> Any:
            return delay(m, value, 2 + h, name=f"{name}{h}")

        words = then(older[at], "first"), then(self.word.data[at], "second")
        pair = count[1:]
        place = pair + h * arch.rows if arch.word_steps > 1 else Cat(Const(h, 1), pair)
        address = then((begin + place)[:16], "address")
        last = then(self.word.last & h, "last")
        m.d.comb += Assert(~now | ((weight.addr == address) & (weight.last == last)))
        for i in range(arch.lanes // 2):
            b0, b1 = (weight.data.word_select(2 * i + k, 8).as_signed() for k in (0, 1))
            for k, got in enumerate((b0, b1 + (b0 < 0))):
                pixel = words[k].word_select(i, 8).as_signed()
                want = Signal(signed(9), name=f"want{h}_{i}_{k}")
                m.d.comb += [
                    want.eq(Mux(pixel < -127, -127, pixel)), Assert(~now | (got == want)),
                ]

    def _invariant(self, m: Module, inside: Inside, older: Value, begin: Value, count: Value
                   ) -> None:
        """What the component keeps while it waits for the second word of a pair."""
        half = 4 * self.arch.lanes
        kept = Cat(inside["first0"], inside["second0"])
        m.d.comb += [
            *(Assert(turn == count[0]) for turn in inside["odd"]),
            Assert(~count[0] | (kept == older)),
            Assert(len(kept) == 2 * half),
        ]
        wait = count[0]
        if self.arch.word_steps == 1:
            m.d.comb += Assert(~wait | (inside.signal("place") == (begin + count - 1)[:16]))
            return
        place = inside.signal("place")
        m.d.comb += [
            Assert(inside.signal("pair") == count[1:]),
            Assert(~wait | (place == (begin + count[1:])[:16])),
            Assert(wait | (count == 0) | (place == (begin + count[1:] - 1)[:16])),
        ]


_MUTANTS = {
    "-128 as it is": Mutant("low.eq(", "w0[0] | least0", "w0[0]"),
    "-128 of the second as it is": Mutant("high.eq(", "least1,", "0,"),
    "-128 without its borrow": Mutant("high.eq(", "~w0[7]", "w0[7] | 1"),
    "-127 counts as -128": Mutant("least1 = ", "0x80", "0x81"),
    "no borrow": Mutant("high.eq(", "w1 - w0[7]", "w1"),
    "the borrow of the second's sign": Mutant("high.eq(", "w1 - w0[7]", "w1 - w1[7]"),
    "the second half twice": Mutant("w0.eq(Mux", "first0, second0", "second0, second0"),
    "the halves in the wrong order": Mutant("w0.eq(Mux", "odd[2], first0", "~odd[2], first0"),
    "the first half of the second twice": Mutant("second1 = ", "data[half:]", "data[:half]"),
    "the next word in place of the first": Mutant("m.If(~odd[1])", "~odd[1]", "1"),
    "made for every word": Mutant("both.eq(", "self.valid & odd[0]", "self.valid"),
    "made too early": Mutant("self.made.eq(", "halves, 1", "halves, 0"),
    "one half alone": Mutant("halves.eq(", "both | follows", "both"),
    "not busy with the last half": Mutant("busy.eq(", "both | halves", "both | follows"),
    "ends with the first half": Mutant("ends = ", "last, 3", "last, 2"),
    "ends with every pair": Mutant("ends = ", "both & self.word.last", "both"),
    "another memory": Mutant("weight.dst.eq(", "Dst.WEIGHTS", "Dst.VECTOR"),
}

_SQUARE_MUTANTS = {
    "both halves in one place": Mutant("Mux(odd, place, delay", "Mux(odd", "Mux(1"),
    "the place of the next pair": Mutant("with m.If(~odd):", "~odd", "1"),
}

_WIDE_MUTANTS = {
    "the second half next to the first": Mutant("place + Mux(odd", "self.arch.rows", "1"),
    "pairs in one place": Mutant("place.eq(Mux(pair", "place + 1", "place"),
    "runs behind each other": Mutant("place.eq(Mux(pair", "pair == 0", "0"),
    "pairs counted by words": Mutant("pair.eq(", "pair + 1", "pair + 2"),
}

_SHOWS = (
    "two words of a run leave as the weights of their bytes, -128 as -127, two and three cycles "
    "after the second came, where MAC reads them; nothing else is made; `busy` meanwhile"
)


def _of(arch: Arch) -> Callable[[Any], PairsProof]:
    return lambda module: PairsProof(module.Pairs(arch=arch))


PROOFS = [
    Proof(
        "pairs_8", load_pair, "`load_pair.Pairs`", _SHOWS, "8 rows, 8 lanes, all values",
        "addresses of a run count up", _of(preset("tiny")), 8, 4, _MUTANTS | _SQUARE_MUTANTS,
    ),
    Proof(
        "pairs_8_16", load_pair, "`load_pair.Pairs`", _SHOWS, "8 rows, 16 lanes, all values",
        "addresses of a run count up", _of(WIDE), 22, 4, _MUTANTS | _WIDE_MUTANTS,
    ),
]
