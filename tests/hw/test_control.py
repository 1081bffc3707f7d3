"""START, RESET, errors and the end of a program, as docs/registers.md has them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from amaranth.sim import Simulator

from falconet.isa import Engine, ErrorCode, Status
from falconet_hw.control.run import Counters, MachineControl

N = 3


def simulate(bench: Callable[[Any, MachineControl], Any]) -> None:
    dut = MachineControl(n_sources=N)

    async def wrapped(ctx: Any) -> None:
        ctx.set(dut.quiet, 1)
        await ctx.tick().repeat(80)
        assert ctx.get(dut.status) == 0 and not ctx.get(dut.stop)
        await bench(ctx, dut)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(wrapped)
    sim.run()


async def pulse(ctx: Any, signal: Any) -> None:
    ctx.set(signal, 1)
    await ctx.tick()
    ctx.set(signal, 0)


async def until_go(ctx: Any, dut: MachineControl) -> None:
    """The order of things up to ``go``: stop, clear for 32 cycles, a pause, go."""
    seen = []
    for _ in range(200):
        state = ctx.get(dut.stop), ctx.get(dut.clear), ctx.get(dut.go)
        seen.append(state)
        if state[2]:
            break
        assert ctx.get(dut.status) == Status.BUSY
        await ctx.tick()
    assert seen[-1] == (0, 0, 1)
    assert seen.count((1, 1, 0)) == 32
    assert seen[-20:-1] == [(1, 0, 0)] * 19
    await ctx.tick()
    assert not ctx.get(dut.go) and ctx.get(dut.running)


def test_program_ends_when_the_bus_is_quiet() -> None:
    async def bench(ctx: Any, dut: MachineControl) -> None:
        for _ in range(2):
            await pulse(ctx, dut.start)
            await until_go(ctx, dut)
            ctx.set(dut.quiet, 0)
            await ctx.tick().repeat(5)
            await pulse(ctx, dut.start)  # ignored
            ctx.set(dut.finished, 1)
            await ctx.tick().repeat(5)
            assert ctx.get(dut.status) == Status.BUSY and ctx.get(dut.running)
            ctx.set(dut.quiet, 1)
            await ctx.tick().repeat(2)
            ctx.set(dut.finished, 0)
            for _ in range(10):
                assert ctx.get(dut.status) == Status.DONE and not ctx.get(dut.running)
                await ctx.tick()

    simulate(bench)


@pytest.mark.parametrize("seed", range(4))
def test_first_error_counts(seed: int) -> None:
    rng = random.Random(seed)

    async def bench(ctx: Any, dut: MachineControl) -> None:
        await pulse(ctx, dut.start)
        await until_go(ctx, dut)
        ctx.set(dut.quiet, 0)
        sources = rng.sample(range(N), 2)
        later = set(range(N)) - set(sources)
        codes = [rng.choice(list(ErrorCode)[1:]) for _ in range(N)]
        for i in range(N):
            ctx.set(dut.errors[i].code, codes[i])
            ctx.set(dut.errors[i].address, 1000 + i)
        for i in sources:
            ctx.set(dut.errors[i].valid, 1)
        ctx.set(dut.finished, 1)
        await ctx.tick()
        assert ctx.get(dut.stop) and not ctx.get(dut.running)
        for i in later:
            ctx.set(dut.errors[i].valid, 1)
        await pulse(ctx, dut.start)  # ignored
        await ctx.tick().repeat(30)
        assert ctx.get(dut.status) == Status.BUSY
        ctx.set(dut.quiet, 1)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.status) == Status.ERROR and ctx.get(dut.stop)
        assert ctx.get(dut.error_code) == codes[min(sources)]
        assert ctx.get(dut.error_info) == 1000 + min(sources)
        ctx.set(dut.finished, 0)
        await pulse(ctx, dut.start)
        for i in range(N):
            ctx.set(dut.errors[i].valid, 0)
        await until_go(ctx, dut)
        assert ctx.get(dut.error_code) == 0 and ctx.get(dut.status) == Status.BUSY

    simulate(bench)


@pytest.mark.parametrize("delay", [1, 3, 9, 12, 30, 60, 71, 72, 73, 74, 80, 90])
@pytest.mark.parametrize("then_start", [False, True])
def test_reset_at_any_time(delay: int, then_start: bool) -> None:
    """RESET wins over a START at any distance before it, and remembers one after it."""

    async def bench(ctx: Any, dut: MachineControl) -> None:
        await pulse(ctx, dut.start)
        await ctx.tick().repeat(delay)
        await pulse(ctx, dut.reset)
        ctx.set(dut.quiet, 0)
        await ctx.tick().repeat(1)
        if delay >= 80:  # the program is running
            await ctx.tick().repeat(100)
            assert ctx.get(dut.stop) and not ctx.get(dut.clear)
        ctx.set(dut.quiet, 1)
        if then_start:
            await pulse(ctx, dut.start)
        went = 0
        for _ in range(100):
            went += ctx.get(dut.go)
            await ctx.tick()
        assert went == then_start
        assert ctx.get(dut.status) == (Status.BUSY if then_start else 0)
        assert ctx.get(dut.running) == then_start

    simulate(bench)


def test_counters() -> None:
    dut = Counters()

    async def bench(ctx: Any) -> None:
        rng = random.Random(0)
        cycles, busy, before = 0, [0] * len(Engine), 0
        for _ in range(200):
            running, now = rng.random() < 0.8, rng.getrandbits(len(Engine))
            ctx.set(dut.running, running)
            ctx.set(dut.busy, now)
            await ctx.tick()
            cycles += running
            busy = [b + (running and before >> e & 1) for e, b in enumerate(busy)]
            before = now
            assert ctx.get(dut.cycles) == cycles
            assert [ctx.get(c) for c in dut.busy_cycles] == busy

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
