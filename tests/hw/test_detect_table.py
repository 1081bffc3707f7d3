"""The detect table against a dictionary, and the read port that STORE and DETECT share."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from falconet.isa import Dst, preset
from falconet_hw.detect.forms import TABLE_LATENCY
from falconet_hw.detect.table import Table
from falconet_hw.scratchpad.port import SharedPort

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("name", ["tiny", "pynq-z2"])
def test_reads_while_words_come(name: str) -> None:
    """A word a cycle in, a row a cycle out; words for other memories or beyond change nothing."""
    arch = preset(name)
    dut = Table(arch=arch)
    rng = random.Random(name)
    width, row_words = 8 * arch.lanes, arch.row_words
    size = arch.TABLE_ROWS * row_words
    words = [0] * size

    async def bench(ctx: Any) -> None:
        expected: list[int | None] = [None] * TABLE_LATENCY
        before: tuple[int, int] | None = None
        checked = 0
        for cycle in range(4000):
            if before is not None:
                words[before[0]] = before[1]
            before = None
            valid = rng.random() < 0.8
            dst = rng.choice([Dst.DETECT] * 3 + list(Dst))
            addr = cycle if cycle < size else rng.choice([
                rng.randrange(size), 256 * row_words + rng.randrange(1 << 15),
            ])
            if cycle < size:  # all of it is written first
                valid, dst = True, Dst.DETECT
            value = rng.getrandbits(width)
            for port, v in (("valid", valid), ("dst", dst), ("addr", addr), ("data", value)):
                ctx.set(getattr(dut.load, port), v)
            row = rng.choice([rng.randrange(arch.TABLE_ROWS), min(addr // row_words, 144)])
            ctx.set(dut.read.row, row)
            expected.append(None if cycle <= size else sum(
                words[row * row_words + i] << width * i for i in range(row_words)
            ))
            if valid and dst is Dst.DETECT and addr < size:
                before = addr, value
            await ctx.tick()
            want = expected[-TABLE_LATENCY]
            if want is not None:
                assert ctx.get(dut.read.data) == want, f"cycle {cycle}"
                checked += 1
        assert checked > 3000

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


def test_store_goes_first_and_nothing_is_lost() -> None:
    dut = SharedPort()
    rng = random.Random(3)

    async def bench(ctx: Any) -> None:
        for _ in range(300):
            store, detect, ready = (rng.random() < 0.5 for _ in range(3))
            addresses = rng.getrandbits(16), rng.getrandbits(16)
            for port, valid, addr in zip(
                (dut.store, dut.detect), (store, detect), addresses
            ):
                ctx.set(port.valid, valid)
                ctx.set(port.payload, addr)
            ctx.set(dut.req.ready, ready)
            assert ctx.get(dut.req.valid) == (store or detect)
            taken = [bool(ctx.get(dut.store.ready)) and store,
                     bool(ctx.get(dut.detect.ready)) and detect]
            assert taken == [store and ready, detect and ready and not store]
            if any(taken):
                assert ctx.get(dut.req.payload) == addresses[taken.index(True)]
            await ctx.delay(1e-8)

    sim = Simulator(dut)
    sim.add_testbench(bench)
    sim.run()
