"""What engines have in common: where results end, and the way of a transfer to DDR and back."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from amaranth.sim import Simulator

from falconet.isa import Arch, Segment, preset
from falconet_hw.dma.front import DdrFront
from falconet_hw.engine.shell import Results

ARCH = preset("tiny")
LATENCY = 9  # of the pipeline before Results


def simulate(dut: Any, bench: Any) -> None:
    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("pause", [0.0, 0.5, 0.9])
def test_results_leave_in_order_and_none_is_lost(silent: bool, pause: float) -> None:
    dut = Results(arch=ARCH, depth=16, silent=silent)
    rng = random.Random(repr((silent, pause)))
    sent: list[tuple[int, int, bool, bool]] = []
    written: list[tuple[int, int]] = []

    async def bench(ctx: Any) -> None:
        pipeline: deque[tuple[int, int, bool, bool] | None] = deque([None] * LATENCY)
        retired = 0
        for cycle in range(1500):
            promise = bool(ctx.get(dut.room)) and rng.random() < 0.9 and cycle < 1300
            ctx.set(dut.promise, promise)
            result = None
            if promise:
                result = (rng.randrange(1 << 16), rng.randrange(1 << 64),
                          not silent or rng.random() < 0.7, rng.random() < 0.2)
            pipeline.append(result)
            came = pipeline.popleft()
            ctx.set(dut.valid, came is not None)
            if came:
                sent.append(came)
                addr, data, write, last = came
                ctx.set(dut.result.word.addr, addr)
                ctx.set(dut.result.word.data, data)
                ctx.set(dut.result.last, last)
                if silent:
                    ctx.set(dut.result.write, write)
            ctx.set(dut.write.ready, rng.random() >= pause)
            if ctx.get(dut.write.valid) and ctx.get(dut.write.ready):
                word = dut.write.payload
                written.append((ctx.get(word.addr), ctx.get(word.data)))
            if ctx.get(dut.retire):
                retired += 1
                before = [i for i, r in enumerate(sent) if r[3]][retired - 1]
                assert len(written) == sum(r[2] for r in sent[:before + 1]), "its words first"
            await ctx.tick()
        assert retired == sum(r[3] for r in sent)
        if not pause:
            assert len(sent) > 1100, "one a cycle"

    simulate(dut, bench)
    assert written == [(addr, data) for addr, data, write, _ in sent if write]


def runs(box: dict[str, int], width: int) -> list[int]:
    return [(box["base"] + i2 * box["step2"] + i1 * box["step1"]) % (1 << width)
            for i2 in range(box["n2"]) for i1 in range(box["n1"])]


def bursts(arch: Arch, at: int, beats: int, tag: bool) -> list[tuple[int, int, int]]:
    """Address, length and tag of what a run becomes."""
    line, end, found = 8 * arch.burst_beats, at + 8 * beats, []
    while at < end:
        to = min(end, at // line * line + line)
        found.append((at, (to - at) // 8 - 1, int(tag and to == end)))
        at = to
    return found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("tag_runs", [False, True])
@pytest.mark.parametrize("pause", [0.0, 0.6])
def test_transfers_become_bursts_and_rows(tag_runs: bool, pause: float) -> None:
    dut = DdrFront(arch=ARCH, common=4, tag_runs=tag_runs, refused=(Segment.CODE,))
    rng = random.Random(repr((tag_runs, pause)))
    bases = [0x1000 * (1 + 1000 * s) for s in Segment]
    transfers, expected, rows = [], [], []
    for _ in range(30):
        n1, n2, beats = rng.randint(1, 4), rng.randint(1, 3), rng.randint(1, 40)
        segment, common = rng.randint(1, 3), rng.randrange(16)
        ddr = {"base": 8 * rng.randrange(4000), "step1": 8 * rng.randrange(500),
               "step2": 8 * rng.randrange(900), "n1": n1, "n2": n2}
        chip = {"n1": n1, "n2": n2,
                **{k: rng.randrange(1 << 16) for k in ("base", "step1", "step2")}}
        transfers.append((ddr, chip, segment, beats, common))
        where = runs(ddr, 32)
        for i, at in enumerate(where):
            expected += bursts(ARCH, bases[segment] + at, beats, tag_runs or i == len(where) - 1)
        rows += [(at, common) for at in runs(chip, 16)]
    raised: list[tuple[int, int, int]] = []
    moved: list[tuple[int, int]] = []

    async def bench(ctx: Any) -> None:
        for s in Segment:
            ctx.set(dut.segments[s].base, bases[s])
            ctx.set(dut.segments[s].size, 1 << 20)
        todo = deque(transfers)
        for _ in range(40000):
            ctx.set(dut.transfers.valid, bool(todo))
            if todo:
                ddr, chip, segment, beats, common = todo[0]
                payload = dut.transfers.payload
                for view, box in ((payload.ddr, ddr), (payload.chip, chip)):
                    for name, value in box.items():
                        ctx.set(getattr(view, name), value)
                ctx.set(payload.ddr.common.segment, segment)
                ctx.set(payload.ddr.common.beats, beats - 1)
                ctx.set(payload.chip.common, common)
            ctx.set(dut.bursts.ready, rng.random() >= pause)
            ctx.set(dut.rows.ready, rng.random() >= pause)
            if ctx.get(dut.bursts.valid) and ctx.get(dut.bursts.ready):
                burst = dut.bursts.payload
                raised.append((ctx.get(burst.addr), ctx.get(burst.len), ctx.get(burst.tag)))
            if ctx.get(dut.rows.valid) and ctx.get(dut.rows.ready):
                row = dut.rows.payload
                moved.append((ctx.get(row.at) % (1 << 16), ctx.get(row.common)))
            if todo and ctx.get(dut.transfers.ready):
                todo.popleft()
            await ctx.tick()
            if len(raised) >= len(expected) and len(moved) >= len(rows):
                break
        await ctx.tick().repeat(20)
        assert not ctx.get(dut.error.valid)

    simulate(dut, bench)
    assert raised == expected and moved == rows
