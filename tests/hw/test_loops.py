"""Loop counters, offset accumulators and view addresses against plain Python loops."""

from __future__ import annotations

import itertools
import random

import pytest
from amaranth import Const, Module
from amaranth.sim import Simulator

from falconet_hw.engine.loops import COORD, LoopNest, ViewAddress, accumulate, ring_accumulate


@pytest.mark.parametrize("counts", [(1, 1, 1), (1, 3, 1), (2, 1, 4), (3, 2, 5)])
@pytest.mark.parametrize("ring", [0, 7, 65535])
def test_nest_and_accumulators(counts: tuple[int, ...], ring: int) -> None:
    rng = random.Random(f"{counts}{ring}")
    names = ("inner", "middle", "outer")
    nest = LoopNest({"inner": 4, "middle": 3, "outer": 6})
    below = ring or 1 << 16
    steps = {n: rng.randrange(below) for n in names}
    init = rng.randrange(below)
    m = Module()
    m.submodules.nest = nest
    plain = {
        n: accumulate(m, nest.level(n), steps[n], shape=COORD, init=-5, name=n) for n in names
    }
    in_ring = {
        n: ring_accumulate(m, nest.level(n), Const(steps[n], 16), Const(ring, 16), init=init,
                           name=f"ring_{n}")
        for n in names
    }

    async def bench(ctx) -> None:
        for n, count in zip(names, counts):
            ctx.set(getattr(nest, f"n_{n}"), count)
        await ctx.tick()
        ctx.set(nest.start, 1)
        await ctx.tick()
        ctx.set(nest.start, 0)
        for _ in range(2):  # after the last iteration it stands at the first
            for at in itertools.product(*(range(c) for c in reversed(counts))):
                while rng.random() < 0.3:
                    ctx.set(nest.step, 0)
                    await ctx.tick()
                ctx.set(nest.step, 1)
                for n, count, i in zip(names, counts, reversed(at)):
                    assert ctx.get(getattr(nest, f"last_{n}")) == (i == count - 1)
                    assert ctx.get(plain[n]) == wrap18(-5 + i * steps[n])
                    assert ctx.get(in_ring[n]) == (init + i * steps[n]) % below
                await ctx.tick()

    run(m, bench)


@pytest.mark.parametrize("seed", range(3))
def test_view_address(seed: int) -> None:
    rng = random.Random(seed)
    dut = ViewAddress()
    expected: list[tuple[int, bool]] = []
    got: list[tuple[int, bool]] = []

    async def bench(ctx) -> None:
        for n in range(60 + dut.LATENCY):
            if n >= dut.LATENCY:
                got.append((ctx.get(dut.addr), bool(ctx.get(dut.outside))))
            if n % 5 == 0:  # ring, height and width stay for a few cycles; the rest changes
                ring, height, width = rng.choice([0, 9, 65535]), rng.randrange(1, 20), 4095
                settled = n
            v = {k: rng.randrange(1 << 16) for k in ("base", "col0", "col1", "col2")}
            v |= {k: rng.randrange(ring or 1 << 16) for k in ("row0", "row1")}
            v |= {"y0": rng.randrange(-12, 24), "y1": rng.randrange(4)}
            v |= {"x0": rng.choice([-4096, -1, 0, 4094, 4095, 65000]), "x1": rng.randrange(2)}
            v |= {"ring": ring, "height": height, "width": width}
            for k, value in v.items():
                ctx.set(getattr(dut, k), value)
            row = (v["row0"] + v["row1"]) % (ring or 1 << 16)
            addr = (v["base"] + row + v["col0"] + v["col1"] + v["col2"]) % (1 << 16)
            y, x = v["y0"] + v["y1"], v["x0"] + v["x1"]
            expected.append((addr, not (0 <= y < height and 0 <= x < width)))
            checked.append(n != settled + 4)  # the next cycle has another ring
            await ctx.tick()

    checked: list[bool] = []
    run(dut, bench)
    assert len(got) >= 60
    for want, have, check in zip(expected, got, checked):
        assert have == want or not check


def wrap18(value: int) -> int:
    return (value + (1 << 17)) % (1 << 18) - (1 << 17)


def run(dut, bench) -> None:
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
