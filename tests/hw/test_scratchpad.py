"""Random traffic on all six ports of the scratchpad, checked against a dict."""

from __future__ import annotations

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from falconet.isa import preset
from falconet_hw.scratchpad.banks import READ_LATENCY, READERS, WRITERS, Scratchpad, bank_of

TINY = preset("tiny")
ARCHES = {
    "tiny": TINY,
    "one-bank": dataclasses.replace(TINY, name="one-bank", banks=1, bank_words=96),
    "three-memories": dataclasses.replace(TINY, name="three", banks=2, bank_words=2500),
}


@pytest.mark.parametrize("banks", [1, 2, 4, 8, 16])
def test_interleaving_is_a_bijection(banks: int) -> None:
    places = {(bank_of(a, banks), a // banks) for a in range(4096)}
    assert places == {(b, i) for b in range(banks) for i in range(4096 // banks)}


@pytest.mark.parametrize("stride", [1, 3, 7, 8, 9, 14, 56, 64, 112, 512])
def test_strides_spread(stride: int) -> None:
    """Any 64 words of a strided stream lie on at least half of the banks."""
    assert len({bank_of(i * stride, 8) for i in range(64)}) >= 4


@pytest.mark.parametrize("name", ARCHES)
@pytest.mark.parametrize("density", [0.4, 1.0])
@pytest.mark.timeout(60)
def test_random_traffic(name: str, density: float) -> None:
    arch = ARCHES[name]
    dut = Scratchpad(arch=arch)
    rng = random.Random(f"{name}{density}")
    words = arch.scratchpad_words
    pool = sorted({rng.randrange(words) for _ in range(24)} | {0, words - 1})
    stored: dict[int, int] = {}
    due: dict[tuple[str, int], int] = {}
    waits = dict.fromkeys((*READERS, *WRITERS), 0)
    transfers = dict(waits)

    async def bench(ctx) -> None:
        pending_read: dict[str, int] = {}
        pending_write: dict[str, tuple[int, int]] = {}
        for cycle in range(600):
            for port in READERS:
                if port not in pending_read and rng.random() < density:
                    pending_read[port] = rng.choice(pool)
                req = getattr(dut, f"{port}_req")
                ctx.set(req.valid, port in pending_read)
                ctx.set(req.payload, pending_read.get(port, 0))
            for port in WRITERS:
                if port not in pending_write and rng.random() < density:
                    taken = {a for a, _ in pending_write.values()}
                    addr = rng.choice([a for a in pool if a not in taken])
                    pending_write[port] = addr, rng.getrandbits(8 * arch.lanes)
                write = getattr(dut, f"{port}_write")
                addr, data = pending_write.get(port, (0, 0))
                ctx.set(write.valid, port in pending_write)
                ctx.set(write.payload, {"addr": addr, "data": data})
            for port in READERS:
                if (expected := due.pop((port, cycle), None)) is not None:
                    assert ctx.get(getattr(dut, f"{port}_data")) == expected, (port, cycle)
            busy: set[int] = set()
            for port in READERS:
                if port in pending_read:
                    bank = bank_of(pending_read[port], arch.banks)
                    ready = ctx.get(getattr(dut, f"{port}_req").ready)
                    assert ready == (bank not in busy), (port, cycle)
                    busy.add(bank)
                    if ready:
                        addr = pending_read.pop(port)
                        transfers[port] += 1
                        if addr in stored:
                            due[port, cycle + READ_LATENCY] = stored[addr]
                    waits[port] += not ready
            busy.clear()
            for port in WRITERS:
                if port in pending_write:
                    addr, data = pending_write[port]
                    bank = bank_of(addr, arch.banks)
                    ready = ctx.get(getattr(dut, f"{port}_write").ready)
                    assert ready == (bank not in busy), (port, cycle)
                    busy.add(bank)
                    if ready:
                        del pending_write[port]
                        transfers[port] += 1
                        stored[addr] = data
                    waits[port] += not ready
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert waits["mac"] == 0
    assert min(transfers[p] for p in ("mac", "vec")) > 100 or arch.banks == 1
    assert waits["store"] and waits["load"]
