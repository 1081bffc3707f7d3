"""MARK's hardware against docs/arithmetic.md: random records and landmarks, stalls."""

from __future__ import annotations

import random
import struct
from collections import deque

import cocotb
import pytest
from bench import run, settings
from cocotb.triggers import FallingEdge
from detect_bench import DetectBench, Table, clamp, offset, random_table

from falconet.isa import Arch, Mark, preset
from falconet_hw.detect.forms import RECORD_LATENCY
from falconet_hw.detect.mark import Mark as MarkBlock


def landmarks(
    arch: Arch, i: Mark, table: Table, memory: object, a: int, x: int, y: int,
) -> tuple[list[int], int]:
    """The values of a record, and how many words they lie in."""
    anchor = table.anchors[a]
    values = []
    for k in range(i.n_values):
        block, lane = divmod(anchor.lane + k, arch.lanes)
        at = i.base + y * i.y_step + anchor.mark + block * i.b_step + x
        entry = table[int(memory[at & 0xFFFF][lane])]
        cell, centre, size, stride = (
            (y, anchor.cy, anchor.height, i.stride_y) if k % 2
            else (x, anchor.cx, anchor.width, i.stride_x)
        )
        unit = stride if i.grid else size
        value = centre + cell * stride + offset(entry, unit, i.centre_shift)
        values.append(clamp(value, -32768, 32767))
    return values, block + 1


def random_mark(rng: random.Random, arch: Arch) -> tuple[Mark, int]:
    """A MARK, and a number of records that has room."""
    n_values = rng.choice([1, 2, 8, 10, 16, rng.randint(1, 63)])
    rows = -(-n_values // 8)
    limit = rng.randint(1, arch.candidates // (1 + rows))
    count = rng.choice([0, 1, limit, rng.randint(0, limit)])
    return Mark(
        base=rng.randrange(1 << 16), y_step=rng.randrange(1 << 16), b_step=rng.randrange(1 << 16),
        n_values=n_values, level=rng.randrange(8), stride_x=rng.choice([0, 128, 98303 // 9]),
        stride_y=rng.choice([0, 128, 98303 // 9]),
        centre_shift=rng.choice([1, 15, 31, rng.randint(10, 18)]),
        grid=rng.randrange(2), limit=limit,
    ), min(count, 12)


class Records:
    """The record memory: RECORD_LATENCY cycles to read, a write at the end of its cycle."""

    def __init__(self, dut: object, arch: Arch) -> None:
        self.dut = dut
        self.rows = [0] * arch.candidates
        self.written: set[int] = set()
        self.reads: deque[int] = deque([0] * RECORD_LATENCY)

    def cycle(self) -> None:
        d = self.dut
        d.port__read_data.value = self.reads.popleft()
        self.reads.append(self.rows[int(d.port__read_row.value)])
        if d.port__write.value == 1:
            row = int(d.port__write_row.value)
            self.rows[row] = int(d.port__write_data.value)
            self.written.add(row)


async def check(
    bench: DetectBench, mark: Mark, count: int, table: Table, share: float,
) -> tuple[int, int]:
    """Run ``mark`` over random records; the result is its cycles and those that it may take."""
    rng, arch, dut = bench.rng, bench.arch, bench.dut
    for anchor in table.anchors:
        anchor.lane = rng.randrange(arch.lanes)
    bench.table = table.rows()
    records = Records(dut, arch)
    want: dict[int, bytes] = {}
    per_record = -(-mark.n_values // 8)
    allowed = 2 + 4 * count
    for r in range(arch.candidates):
        level = mark.level if rng.random() < share else rng.randrange(8)
        a, x, y = rng.randrange(16), rng.randrange(10), rng.randrange(10)
        record = struct.pack("<4hHBBHH", *(rng.randint(-32768, 32767) for _ in range(4)),
                             rng.randrange(1 << 16), rng.randrange(256), a + 16 * level, x, y)
        records.rows[r] = int.from_bytes(record, "little")
        if r < count and level == mark.level:
            values, words = landmarks(arch, mark, table, bench.memory, a, x, y)
            data = struct.pack(f"<{len(values)}h", *values).ljust(16 * per_record, b"\0")
            for k in range(per_record):
                want[mark.limit + r * per_record + k] = data[16 * k : 16 * k + 16]
            allowed += 18 + 16 * per_record + (bench.read_latency + 1) * words
    before = list(records.rows)
    dut.count.value = count
    took = await bench.play(mark, records.cycle, 1000 + 50 * allowed)
    for row, data in want.items():
        got = records.rows[row].to_bytes(16, "little")
        assert got == data, f"{mark}\nrow {row}: {got.hex()}, want {data.hex()}"
    assert records.written == set(want)
    assert all(records.rows[r] == before[r] for r in range(arch.candidates) if r not in want)
    return took, allowed


async def make_bench(dut: object) -> tuple[DetectBench, random.Random, dict]:
    s = settings()
    rng = random.Random(s["seed"])
    bench = DetectBench(
        dut, preset(s["preset"]), rng, stall=s["stall"], read_latency=s["latency"],
    )
    dut.count.value = dut.port__read_data.value = 0
    await bench.reset()
    return bench, rng, s


@cocotb.test()
async def random_marks(dut: object) -> None:
    bench, rng, s = await make_bench(dut)
    for _ in range(s["rounds"]):
        mark, count = random_mark(rng, bench.arch)
        await check(bench, mark, count, random_table(rng, 0.5), rng.choice([0, 0.3, 1]))


@cocotb.test()
async def reset_at_work(dut: object) -> None:
    """Whatever is under way at a reset leaves no trace in what runs afterwards."""
    bench, rng, s = await make_bench(dut)
    for _ in range(s["rounds"]):
        dut.count.value = bench.arch.candidates
        records = Records(dut, bench.arch)
        with pytest.raises(AssertionError, match="not done"):
            mark = Mark(n_values=20, centre_shift=15, limit=1)
            await bench.play(mark, records.cycle, rng.randint(1, 150))
        dut.start.value, dut.rst.value = 0, 1
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        mark, count = random_mark(rng, bench.arch)
        await check(bench, mark, count, random_table(rng, 0.5), 1)


@cocotb.test()
async def full_speed(dut: object) -> None:
    """Without stalls it takes exactly the cycles that it says."""
    bench, rng, s = await make_bench(dut)
    for _ in range(s["rounds"]):
        mark, count = random_mark(rng, bench.arch)
        took, allowed = await check(bench, mark, count, random_table(rng, 0.5), 0.5)
        assert took == allowed


@pytest.mark.parametrize("name, latency", [("tiny", 6), ("pynq-z2", 4)])
@pytest.mark.parametrize("testcase, stall, rounds", [
    ("random_marks", 0.3, 15), ("reset_at_work", 0.2, 6), ("full_speed", 0.0, 25),
])
@pytest.mark.timeout(400)
def test_mark(name: str, latency: int, testcase: str, stall: float, rounds: int) -> None:
    run(
        lambda: MarkBlock(arch=preset(name), read_latency=latency),
        f"detect_mark_{name.replace('-', '_')}", __file__,
        testcase=testcase, seed=9, preset=name, latency=latency, stall=stall,
        rounds=rounds,
    )
