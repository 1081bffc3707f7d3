"""Plays scratchpad and detect table to a block of the detect engine; heads at random.

The reference is docs/arithmetic.md (Detection) in plain Python.
"""

from __future__ import annotations

import random
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from falconet.isa import Arch, Instruction
from falconet_hw.detect.forms import TABLE_LATENCY

__all__ = ["Anchor", "DetectBench", "Entry", "Table", "clamp", "extent", "offset", "random_table"]


@dataclass
class Entry:
    """What a stored value means."""

    score: int
    objectness: int
    centre: int
    size: int


@dataclass
class Anchor:
    width: int
    height: int
    cx: int
    cy: int
    box: int
    objectness: int
    mark: int
    lane: int
    box_lane: int = 0


@dataclass
class Table:
    """The detect table; entry ``q + 128`` is that of ``q``."""

    entries: list[Entry]
    anchors: list[Anchor]
    score_min: int
    q_min: int

    def __getitem__(self, q: int) -> Entry:
        return self.entries[q + 128]

    def rows(self) -> list[int]:
        data = b"".join(struct.pack("<HHhH", *vars(e).values()) for e in self.entries)
        data += b"".join(struct.pack("<HHhhHHHBB", *vars(a).values()) for a in self.anchors)
        data += struct.pack("<HhIH6x", self.score_min, self.q_min, 1 << 15, 100)
        return [int.from_bytes(data[i : i + 16], "little") for i in range(0, len(data), 16)]


def random_table(rng: random.Random, density: float) -> Table:
    """Any values, extremes among them; about ``density`` of all ``q`` are hits."""

    def pick(lo: int, hi: int) -> int:
        return rng.choice([lo, hi, rng.randint(lo, hi), rng.randint(lo, hi), rng.randint(lo, hi)])

    u16, s16 = (0, 0xFFFF), (-0x8000, 0x7FFF)
    scores = sorted(pick(*u16) for _ in range(256))
    q_min = 128 - round(256 * density)
    score_min = scores[min(255, q_min + 128)]
    return Table(
        [Entry(s, pick(*u16), pick(*s16), pick(*u16)) for s in scores],
        [Anchor(pick(*u16), pick(*u16), pick(*s16), pick(*s16),
                *(rng.randrange(1 << 16) for _ in range(3)), 0) for _ in range(16)],
        rng.choice([0, score_min, min(0xFFFF, score_min + rng.randrange(9000)), 0xFFFF]), q_min,
    )


def clamp(value: int, lo: int, hi: int) -> int:
    return max(lo, min(hi, value))


def offset(entry: Entry, unit: int, shift: int) -> int:
    return clamp((entry.centre * unit + (1 << (shift - 1))) >> shift, -(1 << 17), (1 << 17) - 1)


def extent(entry: Entry, length: int, shift: int) -> int:
    return min((entry.size * length + (1 << (shift - 1))) >> shift, 0xFFFF)


class DetectBench:
    """One call of ``cycle`` is one clock cycle.

    Parameters
    ----------
    stall: float
        Probability that a stream stands still in a cycle; it changes with time.
    read_latency: int

    Attributes
    ----------
    memory: int [2**16, lanes], the scratchpad
    table: list of 128-bit rows
    """

    def __init__(
        self, dut: Any, arch: Arch, rng: random.Random, *, stall: float, read_latency: int,
    ) -> None:
        self.dut, self.arch, self.rng, self.stall = dut, arch, rng, stall
        words = np.random.default_rng(rng.randrange(1 << 30))
        self.memory = words.integers(-128, 128, (1 << 16, arch.lanes))
        self.table: list[int] = [0] * Arch.TABLE_ROWS
        self.read_latency = read_latency
        self.reads: deque[int | None] = deque([None] * read_latency)
        self.rows: deque[int] = deque([0] * TABLE_LATENCY)
        self.mood = [stall, stall]

    async def reset(self) -> None:
        for name in "start", "instr", "read_req__ready", "read_data", "table__data":
            getattr(self.dut, name).value = 0
        self.dut.rst.value = 1
        cocotb.start_soon(Clock(self.dut.clk, 10, "ns").start())
        for _ in range(20):
            await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0

    def ready(self, stream: int) -> bool:
        return self.rng.random() >= self.mood[stream]

    def cycle(self) -> bool:
        """What happens in this cycle, after its falling edge; whether the block is done."""
        d, rng = self.dut, self.rng
        if self.stall and rng.random() < 0.01:
            self.mood = [rng.choice([0, self.stall, 0.97]) for _ in range(2)]
        word = self.reads.popleft()
        d.read_data.value = (
            rng.getrandbits(8 * self.arch.lanes) if word is None
            else int.from_bytes(self.memory[word].astype(np.int8).tobytes(), "little")
        )
        ready = self.ready(0)
        d.read_req__ready.value = int(ready)
        transfer = ready and d.read_req__valid.value == 1
        self.reads.append(int(d.read_req__payload.value) if transfer else None)
        row = self.rows.popleft()
        d.table__data.value = self.table[row] if row < len(self.table) else rng.getrandbits(128)
        self.rows.append(int(d.table__row.value))
        return d.done.value == 1

    async def play(self, instr: Instruction, others: Callable[[], None], limit: int) -> int:
        """Run ``instr``; the result is the number of cycles from ``start`` to ``done``.

        ``others`` plays what else the block has, once a cycle.
        """
        d = self.dut
        await FallingEdge(d.clk)
        d.instr.value = int.from_bytes(instr.encode(), "little")
        d.start.value = 1
        for n in range(limit):
            done = self.cycle()
            others()
            if done:
                assert n
                return n
            await FallingEdge(d.clk)
            d.start.value = 0
        raise AssertionError(f"not done after {limit} cycles\n{instr}")
