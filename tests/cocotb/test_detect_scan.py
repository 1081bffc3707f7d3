"""SCAN's hardware against docs/arithmetic.md: random heads, stalls on every side."""

from __future__ import annotations

import random
import struct
from collections import Counter

import cocotb
import pytest
from bench import run, settings
from cocotb.triggers import FallingEdge
from detect_bench import DetectBench, Entry, Table, clamp, extent, offset, random_table

from falconet.isa import Arch, Scan, preset
from falconet_hw.detect.scan import Scan as ScanBlock

# --------------------------------------------------------------------------- reference model

def hits(arch: Arch, i: Scan, table: Table, memory: object) -> list[tuple[int, int, int, int]]:
    """(y, x, channel, q) of all scores that are high enough."""
    found = []
    for y in range(i.n_y):
        for x in range(i.n_x):
            for channel in range(i.n_channels):
                block, lane = divmod(channel, arch.lanes)
                at = i.score_base + y * i.score_y_step + block * i.score_b_step + x
                q = int(memory[at & 0xFFFF][lane])
                if q >= table.q_min:
                    found.append((y, x, channel, q))
    return found


def stored(arch: Arch, memory: object, at: int, lane: int, step: int, count: int) -> list[int]:
    """``count`` channels from a lane of word ``at`` on."""
    found = []
    for channel in range(lane, lane + count):
        word = (at + channel // arch.lanes * step) & 0xFFFF
        found.append(int(memory[word][channel % arch.lanes]))
    return found


def exponentials(table: Table, column: str, group: list[int]) -> list[int]:
    return [getattr(table[127 - (max(group) - q)], column) for q in group]


def record(
    arch: Arch, i: Scan, table: Table, memory: object, y: int, x: int, channel: int, q: int,
) -> bytes | None:
    a, label = divmod(channel, i.n_class)
    anchor = table.anchors[a]
    score = table[q].score
    if i.softmax:
        group = stored(arch, memory, i.score_base + y * i.score_y_step + anchor.mark + x,
                       anchor.lane, i.score_b_step, i.n_class)
        e = exponentials(table, "score", [*group, i.background])
        score = min((e[label] << 16) // sum(e), 65535)
    if i.objectness:
        at = i.obj_base + y * i.obj_y_step + anchor.objectness + x
        o = int(memory[at & 0xFFFF][a % arch.lanes])
        score = (score * table[o].objectness + (1 << 15)) >> 16
    if score < table.score_min:
        return None
    at = i.box_base + y * i.box_y_step + anchor.box + x
    box = [table[int(memory[at & 0xFFFF][(4 * a + k) % arch.lanes])] for k in range(4)]
    if i.bins:
        sides = stored(arch, memory, at, anchor.box_lane, i.box_b_step, 4 * i.bins)
        for k in range(4):
            e = exponentials(table, "size", sides[k * i.bins : (k + 1) * i.bins])
            moment = sum(j * v for j, v in enumerate(e))
            box[k] = Entry(0, 0, 0, (moment << 11) // sum(e))
    edges = []
    for axis, cell, centre, length, stride, lo, hi in (
        (0, x, anchor.cx, anchor.width, i.stride_x, i.x_lo, i.x_hi),
        (1, y + i.y0, anchor.cy, anchor.height, i.stride_y, i.y_lo, i.y_hi),
    ):
        mid = centre + cell * stride
        second = extent(box[axis + 2], length, i.size_shift)
        if i.form:
            first = mid - extent(box[axis], length, i.size_shift)
            last = mid + second
        else:
            mid += offset(box[axis], stride if i.grid else length, i.centre_shift)
            first = mid - (second >> 1)
            last = first + second
        edges.append((clamp(first, lo, hi), clamp(last, lo, hi)))
    (x1, x2), (y1, y2) = edges
    return struct.pack("<4hHBBHH", x1, y1, x2, y2, score, label, a + 16 * i.level, x, y + i.y0)


# --------------------------------------------------------------------------- random heads

def lanes_of(rng: random.Random, arch: Arch, table: Table) -> Table:
    """The table with any lanes of groups; the largest of a group has an exponential."""
    for anchor in table.anchors:
        anchor.lane, anchor.box_lane = rng.randrange(arch.lanes), rng.randrange(arch.lanes)
    table[127].score, table[127].size = max(1, table[127].score), max(1, table[127].size)
    return table


def grouped(rng: random.Random, scan: Scan) -> Scan:
    """The same with a softmax over classes, bins of sides, or both."""
    bins = rng.choice([0, 1, 2, 3, 16, 17, 31, rng.randint(4, 30)])
    changed = scan.replace(
        box_b_step=rng.randrange(1 << 16), bins=bins, form=scan.form | bool(bins),
        softmax=rng.randrange(2) if bins else 1, background=rng.randint(-128, 127))
    assert isinstance(changed, Scan)
    return changed


def random_scan(rng: random.Random, arch: Arch) -> Scan:
    n_class = rng.choice([1, 1, 2, rng.randint(3, 20)])
    n_channels = n_class * rng.randint(1, 16)
    if rng.random() < 0.1:
        n_channels = rng.randint(1, n_channels)
    x_lo, x_hi = sorted(rng.choice([-32768, 32767, rng.randint(-32768, 32767)]) for _ in range(2))
    y_lo, y_hi = sorted(rng.randint(-32768, 32767) for _ in range(2))
    if rng.random() < 0.5:
        x_lo, x_hi, y_lo, y_hi = -32768, 32767, -32768, 32767
    n_x = rng.randint(1, max(1, min(9, 300 // n_channels)))
    n_y = rng.randint(1, max(1, min(6, 600 // (n_channels * n_x))))

    def shift() -> int:
        return rng.choice([1, 15, 31, rng.randint(10, 18), rng.randint(1, 31)])

    def address() -> int:
        return rng.randrange(1 << 16)

    def stride() -> int:
        return rng.choice([0, 128, 512, 98303 // 9])

    y0 = rng.choice([0, rng.randrange(400), 4096 - n_y])
    stride_y = stride() if y0 == 0 else rng.choice([0, 1, 16, 98303 // (y0 + n_y)])
    return Scan(
        score_base=address(), score_y_step=address(), score_b_step=address(),
        box_base=address(), box_y_step=address(), obj_base=address(), obj_y_step=address(),
        n_y=n_y, n_x=n_x, n_b=-(-n_channels // arch.lanes), n_channels=n_channels,
        n_class=n_class, first=rng.randrange(2), objectness=rng.randrange(2),
        form=rng.randrange(2), level=rng.randrange(8), stride_x=stride(), stride_y=stride_y,
        centre_shift=shift(), grid=rng.randrange(2), size_shift=shift(),
        x_lo=x_lo, x_hi=x_hi, y_lo=y_lo, y_hi=y_hi, y0=y0,
    )


async def check(bench: DetectBench, scan: Scan, table: Table) -> tuple[int, int, list[int]]:
    """Run ``scan``; the result is its cycles, its words of scores, and the anchors of its hits."""
    found = hits(bench.arch, scan, table, bench.memory)
    want = Counter(record(bench.arch, scan, table, bench.memory, *hit) for hit in found)
    del want[None]
    got: Counter[bytes] = Counter()
    bench.table = table.rows()
    words = scan.n_y * scan.n_x * scan.n_b

    def take() -> None:
        d = bench.dut
        ready = bench.ready(1)
        d.records__ready.value = int(ready)
        if d.records__valid.value == 1:
            assert d.done.value == 0
            if ready:
                got[int(d.records__payload.value).to_bytes(16, "little")] += 1

    most = 1000 + 2 * group_cycles(bench.arch, scan, bench.read_latency)  # of a hit, with stalls
    took = await bench.play(scan, take, 1000 + 100 * words + most * len(found))
    if got != want:
        raise AssertionError(
            f"{scan}\nmissing {show(want - got)}\nunwanted {show(got - want)}"
        )
    return took, words, [c // scan.n_class for _, _, c, _ in found]


def show(records: Counter[bytes]) -> list[tuple[int, ...]]:
    return [struct.unpack("<4hHBBHH", r) for r in list(records)[:5]]


async def make_bench(dut: object) -> tuple[DetectBench, random.Random, dict]:
    s = settings()
    rng = random.Random(s["seed"])
    bench = DetectBench(
        dut, preset(s["preset"]), rng, stall=s["stall"], read_latency=s["latency"],
    )
    dut.records__ready.value = 0
    await bench.reset()
    return bench, rng, s


@cocotb.test()
async def random_scans(dut: object) -> None:
    bench, rng, s = await make_bench(dut)
    for _ in range(s["rounds"]):
        table = random_table(rng, rng.choice([0, 1, 0.02, 0.1, rng.random()]))
        await check(bench, random_scan(rng, bench.arch), table)


@cocotb.test()
async def groups(dut: object) -> None:
    """Softmax over classes and distances of bins, some among SCANs without either."""
    bench, rng, s = await make_bench(dut)
    for _ in range(s["rounds"]):
        table = lanes_of(rng, bench.arch, random_table(rng, rng.choice([1, 0.1, rng.random()])))
        scan = random_scan(rng, bench.arch)
        if rng.random() < 0.2:
            scan = scan.replace(n_class=255, n_channels=255, n_b=-(-255 // bench.arch.lanes))
            scan = scan.replace(n_x=1, n_y=2, y0=min(scan.y0, 4094))
        await check(bench, grouped(rng, scan) if rng.random() < 0.8 else scan, table)


@cocotb.test()
async def reset_at_work(dut: object) -> None:
    """Whatever is under way at a reset leaves no trace in what runs afterwards."""
    bench, rng, s = await make_bench(dut)
    for _ in range(s["rounds"]):
        with pytest.raises(AssertionError, match="not done"):
            bench.table = lanes_of(rng, bench.arch, random_table(rng, 0.5)).rows()
            scan = rng.choice([large_scan(), grouped(rng, large_scan())])
            await bench.play(scan, lambda: None, rng.randint(1, 300))
        dut.start.value, dut.rst.value = 0, 1
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        await check(bench, random_scan(rng, bench.arch), random_table(rng, 0.1))


def large_scan() -> Scan:
    return Scan(n_y=60, n_x=35, n_b=1, n_channels=2, n_class=1, centre_shift=15, size_shift=12,
                stride_x=128, stride_y=128, x_lo=-32768, x_hi=32767, y_lo=-32768, y_hi=32767,
                score_y_step=35, box_base=4000, box_y_step=35)


@cocotb.test()
async def full_speed(dut: object) -> None:
    """A cycle a word, beside that those of the hits, and no more than 60 in all."""
    bench, rng, s = await make_bench(dut)
    for density in [0, 1, 0.02, 0.2] * s["rounds"]:
        took, words, anchors = await check(
            bench, random_scan(rng, bench.arch), random_table(rng, density)
        )
        work = sum(max(12, s["latency"] + 8, a + 2) for a in anchors)
        assert max(words, 11 * len(anchors)) <= took <= 60 + words + work
        if density in (0, 1):
            assert took <= 60 + max(words, work)


@cocotb.test()
async def groups_in_time(dut: object) -> None:
    """A box takes the cycles of the instruction's docstring, and not many less."""
    bench, rng, s = await make_bench(dut)
    for _ in range(s["rounds"]):
        table = lanes_of(rng, bench.arch, random_table(rng, rng.choice([1, 0.1])))
        scan = grouped(rng, random_scan(rng, bench.arch))
        took, words, anchors = await check(bench, scan, table)
        box = group_cycles(bench.arch, scan, s["latency"])
        print(f"{scan.n_class * scan.softmax} classes, {scan.bins} bins: {box} a box at most; "
              f"{took} for {len(anchors)} and {words} words")
        assert took <= 60 + words + sum(max(12, s["latency"] + 8, a + 2) + box for a in anchors)
        assert took >= (box - 2 * (s["latency"] + 2)) * len(anchors)


def group_cycles(arch: Arch, scan: Scan, latency: int) -> int:
    """What a box with a softmax or with bins takes more, at most."""
    cycles = 21
    if scan.softmax:
        cycles += 2 * scan.n_class + 11 + (latency + 2) * touched(arch, scan.n_class)
    if scan.bins:
        cycles += 4 * max(19, 2 * scan.bins + 10) + (latency + 2) * touched(arch, 4 * scan.bins)
    return cycles


def touched(arch: Arch, channels: int) -> int:
    """How many words ``channels`` may touch."""
    return -(-(channels + arch.lanes - 1) // arch.lanes)


@cocotb.test()
async def worked_example(dut: object) -> None:
    """2,100 words with some 200 hits: half of the hits' time is hidden behind the words."""
    bench, rng, _ = await make_bench(dut)
    scan, table = large_scan(), random_table(rng, 12 / 256)
    took, words, anchors = await check(bench, scan, table)
    assert words == 2100 and 150 <= len(anchors) <= 250
    print(f"{words} words, {len(anchors)} hits: {took} cycles")
    assert took <= words + 6 * len(anchors) + 60


@pytest.mark.parametrize("name, latency", [("tiny", 6), ("pynq-z2", 4)])
@pytest.mark.parametrize("testcase, stall, rounds", [
    ("random_scans", 0.0, 20), ("random_scans", 0.3, 30), ("reset_at_work", 0.2, 6),
    ("groups", 0.0, 12), ("groups", 0.3, 12), ("groups_in_time", 0.0, 12),
    ("full_speed", 0.0, 4), ("worked_example", 0.0, 1),
])
@pytest.mark.timeout(400)
def test_scan(name: str, latency: int, testcase: str, stall: float, rounds: int) -> None:
    run(
        lambda: ScanBlock(arch=preset(name), read_latency=latency),
        f"detect_scan_{name.replace('-', '_')}", __file__,
        testcase=testcase, seed=5, preset=name, latency=latency, stall=stall,
        rounds=rounds,
    )
