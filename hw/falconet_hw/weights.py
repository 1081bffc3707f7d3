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
from falconet_hw.delay import delay

__all__ = ["CHAIN", "WeightMemory", "WeightSlice", "byte_place"]

CHAIN = 4
"""Multipliers in a chain, and so slices of the weight memory. Input lane ``i`` belongs to slice
(and chain position) ``i // (lanes // CHAIN)``, chain ``i % (lanes // CHAIN)``."""


def byte_place(arch: Arch, byte: int) -> tuple[int, int, int]:
    """(slice, output pair, first bit) where byte ``(pair * lanes + i) * 2 + k`` of a word lies."""
    chains = arch.lanes // CHAIN
    index, k = divmod(byte, 2)
    pair, i = divmod(index, arch.lanes)
    return i // chains, pair, 16 * (i % chains) + 8 * k


class WeightSlice(data.ArrayLayout):
    """What one slice reads: for each pair of output lanes the bytes of its input lanes."""

    def __init__(self, arch: Arch) -> None:
        super().__init__(16 * arch.lanes // CHAIN, arch.lanes // 2)


class WeightMemory(wiring.Component):
    """``weight_words`` words of ``lanes**2`` bytes; one write of a lane word and one read a cycle.

    One memory per slice and pair of output lanes, with an own write enable: half a lane word.
    With 16 lanes it is 64 bits wide, a RAMB36 of 512 x 72. A word read by an ``addr`` that comes
    two or more cycles after a lane word's ``load`` has it.

    Members
    -------
    load : In(LoadSignature(arch))
        Taken if ``dst`` is WEIGHTS: lane word ``j`` of weight word ``w`` at ``w * lanes + j``
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
        arch, n_row = self.arch, ceil_log2(self.arch.lanes)
        hit = self.load.valid & (self.load.dst == Dst.WEIGHTS)
        row = self.load.addr[:n_row]
        w_addr = delay(m, self.load.addr[n_row:][: len(self.addr)], 1, name="w_addr")
        w_data = delay(m, self.load.data, 1, name="w_data")
        half = len(w_data) // 2
        r_addr = self.addr
        for s in range(CHAIN):
            if s:
                r_addr = delay(m, r_addr, 1, name=f"r_addr{s}")
            for j in range(arch.lanes // 2):
                memory = Memory(shape=half, depth=arch.weight_words, init=[],
                                attrs={"ram_style": "block"})
                m.submodules[f"memory{s}_{j}"] = memory
                wp, rp = memory.write_port(), memory.read_port()
                upper, part = divmod(s, 2)
                enable = delay(m, hit & (row == 2 * j + upper), 1, name=f"w_en{s}_{j}")
                m.d.comb += [
                    wp.en.eq(enable), wp.addr.eq(w_addr),
                    wp.data.eq(w_data.word_select(part, half)),
                    rp.en.eq(1), rp.addr.eq(r_addr),
                    self.data[s][j].eq(delay(m, rp.data, 1, name=f"word{s}_{j}")),
                ]
        return m
