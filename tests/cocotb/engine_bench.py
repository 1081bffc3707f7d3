"""Plays dispatcher, scratchpad and LOAD to an engine, with stalls on every side."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from falconet.isa import Arch, Instruction

__all__ = ["EngineBench"]


class EngineBench:
    """One call of ``cycle`` is one clock cycle.

    Parameters
    ----------
    stall: float
        Probability that a stream stands still in a cycle; its neighbourhood changes with time.
    read_latency: int
    others: destinations of the load bus that the engine must ignore

    Attributes
    ----------
    memory: int [2**16, lanes], the scratchpad as it is read
    pending: instructions to be offered
    written: (addr, data) of all transfers on ``write``
    retired_at: words that had been written when each instruction retired
    """

    def __init__(
        self, dut: Any, arch: Arch, rng: random.Random, *, stall: float, read_latency: int,
        others: list[int],
    ) -> None:
        self.dut, self.arch, self.rng, self.stall, self.others = dut, arch, rng, stall, others
        words = np.random.default_rng(rng.randrange(1 << 30))
        self.memory = words.integers(-128, 128, (1 << 16, arch.lanes))
        self.reads: deque[int | None] = deque([None] * read_latency)
        self.pending: deque[Instruction] = deque()
        self.written: list[tuple[int, int]] = []
        self.retired_at: list[int] = []
        self.started = self.cycles = 0
        self.offered = False
        self.mood = [stall, stall]

    async def reset(self) -> None:
        for name in ("instr__valid", "load__valid", "read_req__ready", "write__ready",
                     "instr__payload", "load__dst", "load__addr", "load__data", "read_data"):
            getattr(self.dut, name).value = 0
        self.dut.rst.value = 1
        cocotb.start_soon(Clock(self.dut.clk, 10, "ns").start())
        for _ in range(4):
            await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0

    def load(self, dst: int, addr: int, data: bytes) -> None:
        d = self.dut
        d.load__valid.value, d.load__dst.value, d.load__addr.value = 1, dst, addr
        d.load__data.value = int.from_bytes(data, "little")

    async def fill(self, dst: int, data: bytes) -> None:
        """Write a memory from its beginning, a lane word a cycle."""
        lanes = self.arch.lanes
        for at in range(0, len(data), lanes):
            self.load(dst, at // lanes, data[at : at + lanes])
            await FallingEdge(self.dut.clk)
        self.dut.load__valid.value = 0

    async def cycle(self) -> None:
        """Inputs change at the falling edge; what transfers is known before the rising one."""
        await FallingEdge(self.dut.clk)
        d, rng = self.dut, self.rng
        self.cycles += 1
        if self.stall and rng.random() < 0.02:
            self.mood = [rng.choice([0, self.stall, 0.97]) for _ in range(2)]
        if not self.offered and self.pending and rng.random() >= self.stall:
            d.instr__payload.value = int.from_bytes(self.pending[0].encode(), "little")
            self.offered = True
        d.instr__valid.value = int(self.offered)
        if self.offered and d.instr__ready.value == 1:
            self.pending.popleft()
            self.offered = False

        word = self.reads.popleft()
        d.read_data.value = (
            rng.getrandbits(8 * self.arch.lanes) if word is None
            else int.from_bytes(self.memory[word].astype(np.int8).tobytes(), "little")
        )
        ready = rng.random() >= self.mood[0]
        d.read_req__ready.value = int(ready)
        transfer = ready and d.read_req__valid.value == 1
        self.reads.append(int(d.read_req__payload.value) if transfer else None)

        ready = rng.random() >= self.mood[1]
        d.write__ready.value = int(ready)
        if ready and d.write__valid.value == 1:
            payload = int(d.write__payload.value)
            self.written.append((payload & 0xFFFF, payload >> 16))
        if rng.random() < 0.1:
            self.load(rng.choice(self.others), rng.randrange(1 << 16),
                      rng.randbytes(self.arch.lanes))
        else:
            d.load__valid.value = 0

        await ReadOnly()
        self.started += int(d.start.value)
        if d.retire.value == 1:
            self.retired_at.append(len(self.written))
        if len(self.retired_at) < self.started - int(d.start.value):
            assert d.busy.value == 1

    async def play(
        self, program: list[Instruction], expected: list[list[tuple[int, int]]], limit: int,
    ) -> int:
        """Run ``program``; check every word, that each instruction retires with its last one, and
        that nothing else comes. The result is the number of cycles."""
        ends = np.cumsum([len(words) for words in expected]).tolist()
        self.written.clear()
        self.retired_at.clear()
        self.started = 0
        self.pending.extend(program)
        begin = self.cycles
        while len(self.retired_at) < len(program):
            await self.cycle()
            assert self.cycles - begin < limit, f"hangs after {self.retired_at} of {ends}"
        took = self.cycles - begin
        for _ in range(80):
            await self.cycle()
        await FallingEdge(self.dut.clk)
        got = iter(self.written)
        for k, words in enumerate(expected):
            for n, (addr, data) in enumerate(words):
                was = next(got, None)
                if was != (addr, data):
                    shown = "nothing" if was is None else f"{was[0]:04x} {was[1]:x}"
                    raise AssertionError(
                        f"word {n} of instruction {k}: got {shown}, want {addr:04x} {data:x}\n"
                        f"{program[k]}"
                    )
        assert next(got, None) is None
        assert self.retired_at == ends
        assert self.started == len(program)
        assert self.dut.busy.value == 0
        return took
