"""Random programs through dispatch, with engines that take their time."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator
from formal.inside import Inside

from falconet.isa import (
    PRESETS,
    Engine,
    Field,
    Instruction,
    Load,
    Store,
    instruction_classes,
    preset,
)
from falconet_hw.control.dispatch import Dispatch
from falconet_hw.engine.shell import HELD
from falconet_hw.mac.engine import MacEngine
from falconet_hw.vector.engine import VectorEngine

ARCH = preset("tiny")
CLASSES = [c for c in instruction_classes() if c.engine is not None]


def random_program(rng: random.Random, length: int) -> list[Instruction]:
    """Every instruction waits for some of those before it."""
    issued = dict.fromkeys(Engine, 0)
    program = []
    for _ in range(length):
        cls = rng.choice(CLASSES)
        waits = {}
        for e in Engine:
            kind = rng.random()
            need = issued[e] if kind < 0.2 else max(0, issued[e] - rng.randrange(12))
            # What was met long ago may be written as any number up to 2**15 - 1 behind.
            waits[f"wait_{e.name.lower()}"] = need % 2**16 if kind < 0.9 else 2**16 - 5
        rest = {
            f.name: rng.randint(f.lo, f.hi) for f in cls.layout[1 + len(Engine):] if f.width > 4
        }
        program.append(cls(**waits, **rest))
        issued[cls.engine] += 1
    return program


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.timeout(60)
def test_order_and_waits(seed: int) -> None:
    rng = random.Random(seed)
    program = random_program(rng, 60)
    dut = Dispatch(arch=ARCH)
    slow = rng.choice([1, 5, 30])
    started: dict[Engine, list[int]] = {e: [] for e in Engine}
    under_way: dict[Engine, list[int]] = {e: [] for e in Engine}
    retired = dict.fromkeys(Engine, 0)

    async def feed(ctx) -> None:
        for instr in program:
            while rng.random() < 0.3:
                await ctx.tick()
            ctx.set(dut.instr.payload, int.from_bytes(instr.encode(), "little"))
            ctx.set(dut.instr.valid, 1)
            await ctx.tick().until(dut.instr.ready)
            ctx.set(dut.instr.valid, 0)

    async def engines(ctx) -> None:
        for cycle in range(6000):
            pulses = 0
            for e in Engine:
                out = dut.engines[e]
                ctx.set(out.ready, len(under_way[e]) < 2 and rng.random() < 0.7)
                if ctx.get(out.valid) and ctx.get(out.ready):
                    word = ctx.get(out.payload)
                    instr = [i for i in program if i.engine is e][len(started[e])]
                    assert word == int.from_bytes(instr.encode(), "little")
                    for other in Engine:
                        wait = getattr(instr, f"wait_{other.name.lower()}")
                        assert (retired[other] - wait) % 2**16 < 2**15
                    started[e].append(word)
                    under_way[e].append(cycle + rng.randint(1, slow))
                    assert ctx.get(dut.start) >> e & 1
            for e in Engine:
                if under_way[e] and under_way[e][0] <= cycle:
                    del under_way[e][0]
                    pulses |= 1 << e
            ctx.set(dut.retire, pulses)
            if sum(retired.values()) < len(program):
                busy = any(under_way.values()) or pulses
                assert not (busy and ctx.get(dut.idle))
            await ctx.tick()
            for e in Engine:
                retired[e] += pulses >> e & 1
                assert ctx.get(dut.retired[e]) == retired[e]
            if sum(retired.values()) == len(program):
                break
        ctx.set(dut.retire, 0)
        assert sum(retired.values()) == len(program)
        for _ in range(4):
            await ctx.tick()
            assert ctx.get(dut.start) == 0
        assert ctx.get(dut.idle) and ctx.get(dut.index) == len(program)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(feed, background=True)
    sim.add_testbench(engines)
    sim.run()


@pytest.mark.parametrize("opcode", [0, 7, 11, 255])
def test_unknown_opcode_is_kept_out(opcode: int) -> None:
    dut = Dispatch(arch=ARCH)

    async def bench(ctx) -> None:
        ctx.set(dut.instr.valid, 1)
        ctx.set(dut.instr.payload, int.from_bytes(Load().encode(), "little"))
        for _ in range(3):
            await ctx.tick().until(dut.instr.ready)
        ctx.set(dut.instr.payload, opcode | 0xABC << 200)
        for _ in range(3):
            assert ctx.get(dut.bad_opcode) and not ctx.get(dut.instr.ready)
            assert ctx.get(dut.index) == 3
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


NARROWED = [(c, f) for c in CLASSES for f in c.layout
            if f.minimum is not None or f.maximum is not None]


@pytest.mark.parametrize(("cls", "field"), NARROWED, ids=lambda v: getattr(v, "name", None))
def test_illegal_field_is_kept_out(cls: type[Instruction], field: Field) -> None:
    dut = Dispatch(arch=ARCH)
    good = int.from_bytes(cls().encode(), "little")
    value = 0 if field.minimum else field.maximum + 1
    mask = (1 << field.width) - 1 << field.offset
    bad = good & ~mask | value << field.offset

    async def bench(ctx) -> None:
        ctx.set(dut.instr.valid, 1)
        ctx.set(dut.instr.payload, good)
        await ctx.tick().until(dut.instr.ready)
        assert not ctx.get(dut.bad_field)
        ctx.set(dut.instr.payload, bad)
        for _ in range(4):
            await ctx.tick()
            assert not ctx.get(dut.instr.ready) and ctx.get(dut.index) == 1
        assert ctx.get(dut.bad_field) and not ctx.get(dut.bad_opcode)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


def test_queue_fills_to_its_depth_and_halt_withdraws() -> None:
    dut = Dispatch(arch=ARCH)

    async def bench(ctx) -> None:
        ctx.set(dut.instr.valid, 1)
        ctx.set(dut.instr.payload, int.from_bytes(Store().encode(), "little"))
        taken = 0
        for _ in range(40):
            taken += ctx.get(dut.instr.ready)
            await ctx.tick()
        assert taken == ARCH.queue_depth
        assert ctx.get(dut.engines[Engine.STORE].valid)
        ctx.set(dut.instr.payload, int.from_bytes(Load().encode(), "little"))
        assert ctx.get(dut.instr.ready)
        ctx.set(dut.halt, 1)
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.instr.ready)
        assert not any(ctx.get(dut.engines[e].valid) for e in Engine)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("name", PRESETS)
def test_engines_hold_no_more_than_dispatch_counts(name: str) -> None:
    """An instruction has a place among the results, or is before them."""
    for engine, before in ((MacEngine, "steps"), (VectorEngine, "tokens")):
        inside = Inside(engine(arch=PRESETS[name]))
        assert inside["n_results"] + inside[before].depth <= HELD
