"""Output stage against the scalar contract, falconet.isa.output_stage."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.sim import Simulator

from falconet.isa import output_stage, preset
from falconet_hw.engine.output import OutputStage

ARCH = preset("tiny")
ACC_MAX, MULT_MAX = (1 << ARCH.acc_bits - 1) - 1, (1 << ARCH.mult_bits) - 1


def random_word(rng: np.random.Generator) -> dict:
    """One word's inputs: edges (ties of both signs, extreme accumulators and shifts) or random."""
    n = ARCH.lanes
    lo, hi = sorted(int(v) for v in rng.integers(-128, 128, 2))
    if rng.random() < 0.6:
        lo, hi = -128, 127
    word = dict(zp=int(rng.integers(-128, 128)), lo=lo, hi=hi, table=int(rng.integers(2)))
    kind = rng.integers(5)
    shift = rng.integers(0, 48, n)
    mult = rng.integers(0, MULT_MAX + 1, n)
    bias = np.zeros(n, np.int64)
    if kind == 0:  # ties: an odd number of halves
        shift = rng.integers(1, 16, n)
        mult = 1 << rng.integers(0, np.minimum(shift, ARCH.mult_bits))
        acc = (2 * rng.integers(-64, 64, n) + 1) * ((1 << shift - 1) // mult)
    elif kind == 1:
        acc = rng.choice([-ACC_MAX - 1, ACC_MAX, -1, 0, 1], n)
        mult = rng.choice([0, 1, 1 << ARCH.mult_bits - 1, MULT_MAX], n)
        shift = rng.choice([0, 1, 16, 32, 40, 41, 42, 43, 47], n)
    elif kind == 2:  # around the clamp
        shift = rng.integers(8, 17, n)
        mult = rng.integers(1, 5, n)
        acc = (rng.integers(-300, 301, n) << shift) // mult + rng.integers(-2, 3, n)
        acc = np.clip(acc, -ACC_MAX - 1, ACC_MAX)
    else:
        acc = rng.integers(-ACC_MAX - 1, ACC_MAX + 1, n)
        bias = rng.integers(-ACC_MAX - 1, ACC_MAX + 1, n)
        bias = np.clip(acc + bias, -ACC_MAX - 1, ACC_MAX) - acc
    mult_neg = mult if rng.integers(2) else rng.integers(0, MULT_MAX + 1, n)
    word.update(acc=acc, bias=bias, mult=mult, mult_neg=mult_neg, shift=shift)
    return word


def reference(word: dict, table: list[int]) -> list[int]:
    per_lane = zip(*(word[k] for k in ("acc", "bias", "mult", "mult_neg", "shift")))
    return [
        output_stage(
            int(a), bias=int(b), mult=int(mu), mult_neg=int(mn), shift=int(s), zp=word["zp"],
            lo=word["lo"], hi=word["hi"], table=table if word["table"] else None,
        )
        for a, b, mu, mn, s in per_lane
    ]


def test_model_equals_contract() -> None:
    rng = np.random.default_rng(1)
    table = rng.integers(-128, 128, 256)
    for _ in range(3000):
        word = random_word(rng)
        args = {k: v for k, v in word.items() if k != "table"}
        got = OutputStage.model(**args, table=table if word["table"] else None)
        assert got.tolist() == reference(word, table.tolist()), word


@pytest.mark.parametrize("seed", [1, 2])
def test_hardware_equals_contract(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dut = OutputStage(arch=ARCH)
    lanes = ARCH.lanes
    tables = rng.integers(-128, 128, (2, 256))
    runs = [[random_word(rng) if rng.random() < 0.8 else None for _ in range(220)] for _ in tables]

    async def drive(ctx) -> None:
        for table, words in zip(tables, runs):
            for i in range(256 // lanes):
                part = table[i * lanes : (i + 1) * lanes].astype(np.int8).tobytes()
                ctx.set(dut.table_en, 1)
                ctx.set(dut.table_addr, i)
                ctx.set(dut.table_data, int.from_bytes(part, "little"))
                await ctx.tick()
            ctx.set(dut.table_en, 0)
            for word in words:
                ctx.set(dut.i_valid, word is not None)
                for k in ("zp", "lo", "hi", "table"):
                    ctx.set(getattr(dut, f"i_{k}"), word[k] if word else 0)
                if word:
                    ctx.set(dut.i_acc, [int(a) for a in word["acc"]])
                    ctx.set(dut.i_params, [
                        {k: int(word[k][i]) for k in ("bias", "mult", "mult_neg", "shift")}
                        for i in range(lanes)
                    ])
                await ctx.tick()
            ctx.set(dut.i_valid, 0)
            await ctx.tick().repeat(dut.latency)

    got: list[tuple[int, list[int]]] = []
    entered: list[int] = []

    async def watch(ctx) -> None:
        cycle = 0
        async for _, _, i_valid, valid, data in ctx.tick().sample(
            dut.i_valid, dut.o_valid, dut.o_data
        ):
            if i_valid:
                entered.append(cycle)
            if valid:
                word = np.frombuffer(data.to_bytes(lanes, "little"), np.int8)
                got.append((cycle, word.tolist()))
            cycle += 1

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.add_testbench(watch, background=True)
    sim.run()
    want = [reference(w, t.tolist()) for t, ws in zip(tables, runs) for w in ws if w]
    assert [w for _, w in got] == want
    assert [c for c, _ in got] == [c + dut.latency for c in entered]
