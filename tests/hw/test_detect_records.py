"""The order of records, their memory, and the best K of them, against plain Python."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from falconet.isa import preset
from falconet_hw.detect.forms import RECORD_LATENCY, RecordLayout
from falconet_hw.detect.records import RecordMemory, better
from falconet_hw.detect.topk import TopK

TINY = preset("tiny")
K16 = dataclasses.replace(TINY, name="k16", candidates=16)
FIELDS = list(RecordLayout().fields)


def order(record: dict[str, int]) -> tuple[int, ...]:
    """Least is best: the total order in the docstring of SCAN."""
    return (-record["score"], *(record[k] for k in ("level", "y", "x", "anchor", "label")))


def random_record(rng: random.Random, scores: int = 65536, cells: int = 65536) -> dict[str, int]:
    """A record out of a small or a large world: small ones make ties."""
    x1, x2 = sorted(rng.randrange(-32768, 32768) for _ in range(2))
    y1, y2 = sorted(rng.randrange(-32768, 32768) for _ in range(2))
    return dict(
        x1=x1, y1=y1, x2=x2, y2=y2, score=rng.randrange(scores),
        label=rng.randrange(min(256, cells)), anchor=rng.randrange(min(16, cells)),
        level=rng.randrange(min(8, cells)), x=rng.randrange(cells), y=rng.randrange(cells),
    )


def distinct(rng: random.Random, n: int, **world: int) -> list[dict[str, int]]:
    records: dict[tuple[int, ...], dict[str, int]] = {}
    while len(records) < n:
        record = random_record(rng, **world)
        records.setdefault(order(record)[1:], record)  # one for each anchor, cell and class
    return list(records.values())


def read(value: Any) -> dict[str, int]:
    return {k: value[k] for k in FIELDS}


class Kept(wiring.Component):
    """TopK with its memory, which a bench can read while TopK is idle."""

    def __init__(self, arch: Any) -> None:
        self.topk, self.memory = TopK(arch=arch), RecordMemory(arch=arch)
        super().__init__({"look": In(1), "row": In(range(arch.candidates)),
                          "record": Out(RecordLayout())})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.topk, m.submodules.memory = self.topk, self.memory
        a, b = self.topk.port, self.memory.port
        m.d.comb += [
            b.write.eq(a.write), b.write_row.eq(a.write_row), b.write_data.eq(a.write_data),
            b.read_row.eq(a.read_row), a.read_data.eq(b.read_data), self.record.eq(b.read_data),
        ]
        with m.If(self.look):
            m.d.comb += b.read_row.eq(self.row)
        return m


@pytest.mark.timeout(60)
def test_order() -> None:
    rng = random.Random(3)
    a, b, o = Signal(RecordLayout()), Signal(RecordLayout()), Signal()
    m = Module()
    m.d.comb += o.eq(better(a, b))

    async def bench(ctx: Any) -> None:
        for i in range(4000):
            one = random_record(rng)
            two = {**one, **{k: v for k, v in random_record(rng).items() if rng.random() < 0.3}}
            if i % 2:  # neighbours
                field = rng.choice(["score", "label", "anchor", "level", "x", "y"])
                two = {**one, field: one[field] ^ 1 << rng.randrange(a[field].shape().width)}
            ctx.set(a, one)
            ctx.set(b, two)
            await ctx.delay(1e-9)
            assert ctx.get(o) == (order(one) < order(two)), (one, two)

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.timeout(60)
def test_memory() -> None:
    """A read in the cycle of a write sees the old record, one in the next cycle the new."""
    rng = random.Random(4)
    dut = RecordMemory(arch=K16)
    stored = [0] * K16.candidates
    want: list[int] = []

    async def bench(ctx: Any) -> None:
        for cycle in range(2000):
            row, write, value = rng.randrange(4), rng.random() < 0.5, rng.getrandbits(128)
            ctx.set(dut.port.read_row, row)
            ctx.set(dut.port.write, write)
            ctx.set(dut.port.write_row, to := rng.randrange(4))
            ctx.set(dut.port.write_data.as_value(), value)
            want.append(stored[row])
            if write:
                stored[to] = value
            if cycle >= RECORD_LATENCY:
                assert ctx.get(dut.port.read_data.as_value()) == want[cycle - RECORD_LATENCY]
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", ["random", "ascending", "descending"])
@pytest.mark.parametrize("world", [{}, {"scores": 3, "cells": 7}], ids=["wide", "ties"])
@pytest.mark.parametrize("arch", [K16, TINY], ids=lambda a: a.name)
def test_best(arch: Any, world: dict[str, int], way: str) -> None:
    rng = random.Random(f"{arch.name} {way} {world}")
    k = arch.candidates
    dut = Kept(arch)
    topk = dut.topk
    log = k.bit_length() - 1
    cost: dict[str, int] = {}

    async def bench(ctx: Any) -> None:
        for n in (3 * k, 0, 1, k - 1, k, k + 1, 2 * k):
            records = distinct(rng, n, **world)
            if way != "random":
                records.sort(key=order, reverse=way == "ascending")
            stalls = rng.choice([0, 0, 0.3, 0.9])
            ctx.set(topk.clear, 1)
            await ctx.tick()
            ctx.set(topk.clear, 0)
            for i, record in enumerate(records):
                while rng.random() < stalls:
                    await ctx.tick()
                ctx.set(topk.i.payload, record)
                ctx.set(topk.i.valid, 1)
                cycles = 1
                while not ctx.get(topk.i.ready):
                    await ctx.tick()
                    cycles += 1
                await ctx.tick()
                ctx.set(topk.i.valid, 0)
                kind = "append" if i < k else "first" if i == k else "replace"
                cost[kind] = max(cost.get(kind, 0), cycles)
            cycles = 0
            while not ctx.get(topk.idle):
                await ctx.tick()
                cycles += 1
            cost["drain"] = max(cost.get("drain", 0), cycles)
            assert ctx.get(topk.seen) == n and ctx.get(topk.count) == min(n, k)
            kept = []
            ctx.set(dut.look, 1)
            for row in range(min(n, k)):
                ctx.set(dut.row, row)
                await ctx.tick().repeat(RECORD_LATENCY)
                kept.append(read(ctx.get(dut.record)))
            ctx.set(dut.look, 0)
            await ctx.tick().repeat(RECORD_LATENCY)
            assert sorted(kept, key=order) == sorted(records, key=order)[:k], (way, n)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    print(arch.name, way, cost)
    assert cost["append"] == 1 and cost["first"] <= 9 * k
    assert max(cost["replace"], cost["drain"]) <= 7 * log + 8
