"""Fetch against a memory that answers bursts in order, late and with pauses."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from amaranth.sim import Simulator

from falconet.isa import End, ErrorCode, Segment, Store, preset
from falconet_hw.control.fetch import Fetch

ARCH = preset("tiny")
BASE = 0x1234_0000


def simulate(dut: Fetch, bench: Any, memory: bytes, seed: int, seen: list[int]) -> None:
    """Run ``bench`` with ``memory`` at BASE; the first byte of each instruction goes to seen."""
    rng = random.Random(seed)

    async def reader(ctx: Any) -> None:
        beats: deque[int] = deque()
        read = dut.read
        while True:
            ctx.set(read.cmd.ready, rng.random() < 0.5 and len(beats) < 32)
            offered = bool(beats) and rng.random() < 0.7
            ctx.set(read.data.valid, offered)
            if offered:
                ctx.set(read.data.payload.data, beats[0])
            if ctx.get(read.cmd.valid) and ctx.get(read.cmd.ready):
                at = ctx.get(read.cmd.payload.addr) - BASE
                n = ctx.get(read.cmd.payload.len) + 1
                assert 0 <= at and at + 8 * n <= len(memory)
                words = [int.from_bytes(memory[at + 8 * i :][:8], "little") for i in range(n)]
            else:
                words = []
            if offered and ctx.get(read.data.ready):
                beats.popleft()
            beats.extend(words)
            await ctx.tick()

    async def taker(ctx: Any) -> None:
        while True:
            ctx.set(dut.instr.ready, rng.random() < 0.6)
            if ctx.get(dut.instr.valid) and ctx.get(dut.instr.ready):
                seen.append(ctx.get(dut.instr.payload))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(reader, background=True)
    sim.add_testbench(taker, background=True)
    sim.add_testbench(bench)
    sim.run()


async def begin(ctx: Any, dut: Fetch, offset: int, length: int, size: int) -> None:
    ctx.set(dut.segments[Segment.CODE].base, BASE)
    ctx.set(dut.segments[Segment.CODE].size, size)
    ctx.set(dut.offset, offset)
    ctx.set(dut.length, length)
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)


def program(n: int) -> list[bytes]:
    return [Store(run=1 + i, base=i, ddr_step1=i).encode() for i in range(n)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("offset", [0, 64, 8, 120])
@pytest.mark.parametrize("extra", [0, 5])
def test_program_until_end(offset: int, extra: int) -> None:
    """Whatever LENGTH says beyond END, nothing behind it is handed over."""
    instructions = program(9)
    code = bytes(offset) + b"".join([*instructions, End().encode(), *program(extra + 1)])
    code += bytes(-len(code) % 128)
    dut, seen = Fetch(arch=ARCH), []

    async def bench(ctx: Any) -> None:
        await begin(ctx, dut, offset, 10 + extra, len(code))
        await ctx.tick().until(dut.ended)
        for _ in range(150):
            await ctx.tick()
            assert not ctx.get(dut.error.valid)

    simulate(dut, bench, code, offset + extra, seen)
    assert seen == [int.from_bytes(i, "little") for i in instructions]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("length", [0, 1, 6])
def test_no_end(length: int) -> None:
    code = b"".join(program(8))
    dut, seen = Fetch(arch=ARCH), []

    async def bench(ctx: Any) -> None:
        await begin(ctx, dut, 0, length, len(code))
        await ctx.tick().until(dut.error.valid)
        for _ in range(100):
            assert ctx.get(dut.error.code) == ErrorCode.NO_END and not ctx.get(dut.ended)
            await ctx.tick()

    simulate(dut, bench, code, length, seen)
    assert len(seen) == length


@pytest.mark.timeout(60)
@pytest.mark.parametrize("offset, size, first_outside", [
    (0, 256, 256), (64, 256, 256), (0, 0, 0), (0xFFFF_FFC0, 256, 0xFFFF_FFC0),
])
def test_window(offset: int, size: int, first_outside: int) -> None:
    code = b"".join(program(8))
    dut, seen = Fetch(arch=ARCH), []

    async def bench(ctx: Any) -> None:
        await begin(ctx, dut, offset, 8, size)
        await ctx.tick().until(dut.error.valid)
        assert ctx.get(dut.error.code) == ErrorCode.WINDOW
        assert ctx.get(dut.error.address) == (BASE + first_outside) % 2**32
        await ctx.tick().repeat(100)

    simulate(dut, bench, code[:size], 1, seen)
    assert len(seen) == max(0, size - offset) // 64


def test_stop() -> None:
    code = b"".join(program(8))
    dut, seen = Fetch(arch=ARCH), []

    async def bench(ctx: Any) -> None:
        await begin(ctx, dut, 0, 8, len(code))
        while not seen:
            await ctx.tick()
        ctx.set(dut.stop, 1)
        await ctx.tick()
        n = len(seen)
        await ctx.tick().repeat(100)
        assert len(seen) == n

    simulate(dut, bench, code, 2, seen)
