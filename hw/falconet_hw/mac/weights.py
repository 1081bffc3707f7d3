"""Weight memory of the MAC array, cut into slices that are read one cycle after the other."""

from __future__ import annotations

from typing import Any

from amaranth import Module
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from falconet.isa import Arch, Dst
from falconet_hw.bus import LoadSignature
from falconet_hw.stream.delay import delay

__all__ = ["CHAIN", "WeightMemory", "WeightSlice", "byte_place"]

CHAIN = 4
"""Multipliers in a chain, and so slices of the weight memory. Row ``i`` belongs to slice (and
chain position) ``i // (rows // CHAIN)``, chain ``i % (rows // CHAIN)``."""


def byte_place(arch: Arch, byte: int) -> tuple[int, int, int]:
    """(slice, output pair, first bit) where byte ``(pair * rows + i) * 2 + k`` of a word lies."""
    chains = arch.rows // CHAIN
    index, k = divmod(byte, 2)
    pair, i = divmod(index, arch.rows)
    return i // chains, pair, 16 * (i % chains) + 8 * k


class WeightSlice(data.ArrayLayout):
    """What one slice reads: for each pair of columns the bytes of its rows."""

    def __init__(self, arch: Arch) -> None:
        super().__init__(16 * arch.rows // CHAIN, arch.columns // 2)


class WeightMemory(wiring.Component):
    """``weight_words`` words of ``rows * columns`` bytes; a write (a lane word) and a read a cycle.

    One memory per slice and pair of columns, with an own write enable: half a lane word, or with
    half as many rows as columns a quarter. With 16 rows it is 64 bits wide, a RAMB36 of 512 x 72.
    A word read by an ``addr`` that comes two or more cycles after a lane word's ``load`` has it.

    Members
    -------
    load : In(LoadSignature(arch))
        Taken if ``dst`` is WEIGHTS: lane word ``j`` of weight word ``w`` at ``w * rows + j``
        (modulo the size).
    addr : In(range(weight_words))
    data : Out(ArrayLayout(WeightSlice, CHAIN))
        Slice ``s`` of the word, ``LATENCY + s`` cycles after ``addr``.
    """

    LATENCY = 2

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "load": In(LoadSignature(arch)),
            "addr": In(range(arch.weight_words)),
            "data": Out(data.ArrayLayout(WeightSlice(arch), CHAIN)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        arch, n_row = self.arch, ceil_log2(self.arch.rows)
        hit = self.load.valid & (self.load.dst == Dst.WEIGHTS)
        row = self.load.addr[:n_row]
        w_addr = delay(m, self.load.addr[n_row:][: len(self.addr)], 1, name="w_addr")
        w_data = delay(m, self.load.data, 1, name="w_data")
        width = self.data[0][0].shape().width
        per_word = len(w_data) // width
        r_addr = self.addr
        for s in range(CHAIN):
            if s:
                r_addr = delay(m, r_addr, 1, name=f"r_addr{s}")
            for j in range(arch.columns // 2):
                memory = Memory(shape=width, depth=arch.weight_words, init=[],
                                attrs={"ram_style": "block"})
                m.submodules[f"memory{s}_{j}"] = memory
                wp = memory.write_port()
                rp = memory.read_port()
                of_word, part = divmod(j * CHAIN + s, per_word)
                enable = delay(m, hit & (row == of_word), 1, name=f"w_en{s}_{j}")
                m.d.comb += [
                    wp.en.eq(enable), wp.addr.eq(w_addr),
                    wp.data.eq(w_data.word_select(part, width)),
                    rp.en.eq(1), rp.addr.eq(r_addr),
                    self.data[s][j].eq(delay(m, rp.data, 1, name=f"word{s}_{j}")),
                ]
        return m
