"""SUPPRESS and its parts against plain Python of docs/arithmetic.md."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from falconet.isa import Arch, Suppression, preset
from falconet.isa import Suppress as Instruction
from falconet_hw.detect.divide import Divide
from falconet_hw.detect.forms import RECORD_LATENCY, TABLE_LATENCY, RecordLayout
from falconet_hw.detect.overlap import Overlap
from falconet_hw.detect.penalty import PENALTY_LATENCY
from falconet_hw.detect.records import RecordMemory
from falconet_hw.detect.suppress import Suppress
from falconet_hw.layout import instruction_layout

TINY = preset("tiny")
LOW, HIGH = -32768, 32767
Record = dict[str, int]
MODES = list(Suppression)
ONE = 1 << 16


def inter_union(a: Record, b: Record) -> tuple[int, int]:
    inter = 1
    for lo, hi in (("x1", "x2"), ("y1", "y2")):
        inter *= max(0, min(a[hi], b[hi]) - max(a[lo], b[lo]))
    areas = [(r["x2"] - r["x1"]) * (r["y2"] - r["y1"]) for r in (a, b)]
    return inter, sum(areas) - inter


def distance(a: Record, b: Record) -> Fraction:
    """Squared distance of the centres over the squared diagonal of the box around both."""
    d2 = sum(Fraction(a[f"{k}1"] + a[f"{k}2"] - b[f"{k}1"] - b[f"{k}2"], 2) ** 2 for k in "xy")
    c2 = sum((max(a[f"{k}2"], b[f"{k}2"]) - min(a[f"{k}1"], b[f"{k}1"])) ** 2 for k in "xy")
    return d2 / c2


def order(record: Record) -> tuple[int, ...]:
    return (-record["score"], *(record[k] for k in ("level", "y", "x", "anchor", "label")))


def suppress(
    records: list[Record], mode: Suppression, agnostic: bool, threshold: int, score_min: int,
    room: int, weights: list[tuple[int, int]],
) -> tuple[list[Record], int, int]:
    """(records that stay, cycles of the passes as in Suppress, pairs that need a Penalty)."""
    left, stay, pairs = [dict(r) for r in records], [], 0
    cycles = 4 + (13 + len(left) if left and room else 0)
    while left and len(stay) < room:
        best = min(left, key=order)
        left.remove(best)
        stay.append(best)
        if len(stay) == room or not left:
            break
        cycles += 13 + len(left)
        after = []
        for r in left:
            inter, union = inter_union(best, r)
            iou = ONE * inter // union if union else 0
            over = union > 0 and Fraction(inter, union) > Fraction(threshold, ONE)
            hit = inter > 0 if mode == Suppression.SOFT_GAUSSIAN else over
            if hit and (agnostic or r["label"] == best["label"]):
                pairs += mode != Suppression.GREEDY
                if mode == Suppression.GREEDY:
                    continue
                if mode == Suppression.DIOU:
                    if iou - int(ONE * distance(best, r)) > threshold:
                        continue
                else:
                    factor = ONE - iou
                    if mode == Suppression.SOFT_GAUSSIAN:
                        i, f = divmod(min(iou, 65535), 256)
                        g, d = weights[i]
                        factor = g - ((d * f + 128) >> 8)
                    r = {**r, "score": (r["score"] * factor + (1 << 15)) >> 16}
                    if r["score"] < score_min:
                        continue
            after.append(r)
        left = after
    return stay, cycles, pairs


def random_boxes(rng: random.Random, n: int, kind: str) -> list[Record]:
    """``n`` records, each with a cell of its own."""
    boxes: list[tuple[int, int, int, int]] = []

    def box(lo: int, hi: int) -> tuple[int, int, int, int]:
        (x1, x2), (y1, y2) = (sorted(rng.randint(lo, hi) for _ in range(2)) for _ in "xy")
        return x1, y1, x2, y2

    for i in range(n):
        if kind == "clusters" and boxes and rng.random() < 0.8:
            near = [v + rng.randint(-40, 40) for v in rng.choice(boxes)]
            boxes.append((min(near[0], near[2]), min(near[1], near[3]),
                          max(near[0], near[2]), max(near[1], near[3])))
        elif kind == "clusters":
            boxes.append(box(0, 500))
        elif kind == "extreme":
            edges = [LOW, LOW + 1, -1, 0, 1, HIGH - 1, HIGH]
            (x1, x2), (y1, y2) = (sorted(rng.choice(edges) for _ in range(2)) for _ in "xy")
            boxes.append((x1, y1, x2, y2))
        elif kind == "flat":  # without area, or almost
            x, y = rng.randint(0, 3), rng.randint(0, 3)
            boxes.append((x, y, x + rng.randint(0, 1), y + rng.randint(0, 2)))
        elif kind == "same":
            boxes.append((-100, -50, 100, 50))
        elif kind == "grid":  # IoUs of exactly 1/2, 1/4 ...
            boxes.append(box(0, 4))
        elif kind == "apart":
            boxes.append((100 * i, 0, 100 * i + 90, 90))
        else:
            boxes.append(box(LOW, HIGH))
    cells = rng.sample(range(65536), n)
    few = rng.random() < 0.5  # ties
    return [
        dict(
            x1=x1, y1=y1, x2=x2, y2=y2, label=rng.choice([0, 1, 255]),
            score=rng.choice([30000, 30001, 65535]) if few else rng.randrange(20000, 65536),
            anchor=rng.randrange(16), level=rng.randrange(8), x=cell, y=rng.randrange(65536),
        )
        for (x1, y1, x2, y2), cell in zip(boxes, cells)
    ]


class Suppressed(wiring.Component):
    """Suppress with its memory, which a bench can fill and read while Suppress is idle."""

    def __init__(self, arch: Arch) -> None:
        self.suppress, self.memory = Suppress(arch=arch), RecordMemory(arch=arch)
        super().__init__({
            "own": In(1), "row": In(range(arch.candidates)), "write": In(1),
            "record": In(RecordLayout()), "got": Out(RecordLayout()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.suppress, m.submodules.memory = self.suppress, self.memory
        a, b = self.suppress.port, self.memory.port
        m.d.comb += [
            b.write.eq(a.write), b.write_row.eq(a.write_row), b.write_data.eq(a.write_data),
            b.read_row.eq(a.read_row), a.read_data.eq(b.read_data), self.got.eq(b.read_data),
        ]
        with m.If(self.own):
            m.d.comb += [
                b.write.eq(self.write), b.write_row.eq(self.row), b.read_row.eq(self.row),
                b.write_data.eq(self.record),
            ]
        return m


def run_suppress(sets: list[dict[str, Any]], arch: Arch = TINY) -> None:
    """Each set: records, mode, agnostic, threshold, score_min, limit, maximum, weights."""
    dut = Suppressed(arch)
    unit = dut.suppress
    layout = instruction_layout(Instruction)
    table = [0] * Arch.TABLE_ROWS

    async def serve_table(ctx: Any) -> None:
        rows = [0] * TABLE_LATENCY
        async for _, _, row in ctx.tick().sample(unit.table.row):
            rows = [*rows[1:], row]
            ctx.set(unit.table.data, table[rows[0]] if rows[0] < len(table) else 0)

    async def bench(ctx: Any) -> None:
        for s in sets:
            for row in range(128):
                table[row] = sum(
                    (g | d << 16) << 64 * half
                    for half, (g, d) in enumerate(s["weights"][2 * row : 2 * row + 2])
                )
            table[Arch.TABLE_OPTIONS] = (
                s["score_min"] | 0x8000 << 16 | s["threshold"] << 32 | s["maximum"] << 64
            )
            ctx.set(dut.own, 1)
            ctx.set(dut.write, 1)
            for row, record in enumerate(s["records"]):
                ctx.set(dut.row, row)
                ctx.set(dut.record, record)
                await ctx.tick()
            ctx.set(dut.write, 0)
            ctx.set(dut.own, 0)
            fields = dict(mode=s["mode"].value, agnostic=s["agnostic"], limit=s["limit"])
            ctx.set(unit.instr, layout.const(fields).as_bits())
            ctx.set(unit.count_i, len(s["records"]))
            ctx.set(unit.start, 1)
            await ctx.tick()
            ctx.set(unit.start, 0)
            cycles = 1
            while not ctx.get(unit.done):
                await ctx.tick()
                cycles += 1
            await ctx.tick()
            stay, want, pairs = suppress(
                s["records"], s["mode"], s["agnostic"], s["threshold"], s["score_min"],
                min(s["limit"], s["maximum"]), s["weights"],
            )
            assert ctx.get(unit.count_o) == len(stay), s
            ctx.set(dut.own, 1)
            got = []
            for row in range(len(stay)):
                ctx.set(dut.row, row)
                await ctx.tick().repeat(RECORD_LATENCY)
                record = ctx.get(dut.got)
                got.append({k: record[k] for k in RecordLayout().fields})
            ctx.set(dut.own, 0)
            assert got == stay, s
            s["cycles"] = cycles
            pair = PENALTY_LATENCY.get(s["mode"], 0) + 1
            print(s["mode"].name, len(s["records"]), len(stay), cycles, want + pairs * pair)
            assert cycles == want + pairs * pair

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_process(serve_table)
    sim.add_testbench(bench)
    sim.run()


def random_weights(rng: random.Random) -> list[tuple[int, int]]:
    """Falling from at most 65,535; not a Gaussian, so that every entry counts."""
    g = sorted((rng.randrange(65536) for _ in range(257)), reverse=True)
    return [(a, a - b) for a, b in pairwise(g)]


def random_set(rng: random.Random, kind: str, n: int, mode: Suppression) -> dict[str, Any]:
    limit = rng.choice([1, 7, 64, 64, 64])
    return dict(
        records=random_boxes(rng, n, kind), mode=mode, agnostic=rng.random() < 0.5,
        threshold=rng.choice([0, 1, 6554, 19661, 32768, 45875, 65535, 65536]),
        score_min=rng.choice([0, 1, 15000, 29000]), limit=limit,
        maximum=rng.choice([1, 3, 2000, 2000, 65535]), weights=random_weights(rng),
    )


@pytest.mark.timeout(200)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["random", "clusters", "extreme", "grid", "flat", "same", "apart"])
def test_random_sets(kind: str, mode: Suppression) -> None:
    rng = random.Random(f"{kind} {mode}")
    sizes = [0, 1, 2, 3, 17, 32, 64]
    run_suppress([random_set(rng, kind, n, mode) for n in sizes])


@pytest.mark.timeout(100)
@pytest.mark.parametrize("mode", MODES)
def test_nothing_suppressed(mode: Suppression) -> None:
    """The worst case: the cycles are those that the docstring of Suppress states."""
    k = TINY.candidates
    one = dict(
        mode=mode, agnostic=True, threshold=0, score_min=0, limit=k, maximum=k,
        weights=random_weights(random.Random(1)),
    )
    records = random_boxes(random.Random(2), k, "apart")
    stay, cycles, pairs = suppress(records, mode, True, 0, 0, k, one["weights"])
    assert (len(stay), pairs, cycles) == (k, 0, 4 + 13 * k + k * (k + 1) // 2)
    run_suppress([{**one, "records": records}])


@pytest.mark.timeout(100)
def test_many_candidates() -> None:
    rng = random.Random(5)
    arch = preset("pynq-z2")
    one = random_set(rng, "clusters", arch.candidates, Suppression.GREEDY)
    run_suppress([{**one, "limit": 10, "maximum": 10, "agnostic": 0, "threshold": 32768}], arch)


@pytest.mark.timeout(60)
def test_all_suppressed() -> None:
    """One box stays, after a first pass and one that nothing survives."""
    one = random_set(random.Random(6), "same", 64, Suppression.GREEDY)
    one.update(agnostic=1, threshold=65535, limit=64, maximum=64)
    stay, cycles, _ = suppress(one["records"], one["mode"], True, 65535, 0, 64, [])
    assert (len(stay), cycles) == (1, 4 + 2 * 13 + 64 + 63)
    run_suppress([one])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("bits, fraction", [(35, 16), (4, 3)])
def test_divide(bits: int, fraction: int) -> None:
    rng = random.Random(7)
    dut = Divide(bits=bits, fraction=fraction)
    top = (1 << bits) - 1

    async def bench(ctx: Any) -> None:
        for i in range(200):
            b = [1, top, rng.randint(1, top), rng.randint(1, 1 << rng.randrange(1, bits))][i % 4]
            a = rng.choice([0, b, b - 1, rng.randint(0, b)])
            ctx.set(dut.numerator, a)
            ctx.set(dut.denominator, b)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.denominator, 0)
            await ctx.tick().repeat(dut.LATENCY + fraction - 1)
            assert ctx.get(dut.quotient) == (a << fraction) // b, (a, b)
            await ctx.tick()
            assert ctx.get(dut.quotient) == (a << fraction) // b, (a, b)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("threshold", [0, 1, 21845, 32768, 65535, 65536])
def test_overlap(threshold: int) -> None:
    """A pair each cycle, IoUs of exactly the threshold among them, at full width."""
    rng = random.Random(threshold)
    dut = Overlap()
    pairs = []
    for kind in ("random", "clusters", "extreme", "flat", "grid"):
        boxes = random_boxes(rng, 120, kind)
        pairs += [(rng.choice(boxes), rng.choice(boxes)) for _ in range(200)]
    for _ in range(200):  # the same box twice, one of them cut
        a = random_boxes(rng, 1, "random")[0]
        height = (a["y2"] - a["y1"]) * threshold // ONE
        pairs.append((a, {**a, "y2": a["y1"] + height + rng.choice([0, 0, 1])}))
    rng.shuffle(pairs)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.threshold, threshold)
        for cycle in range(len(pairs) + dut.LATENCY):
            if cycle < len(pairs):
                for port, box in zip((dut.i_box, dut.i_reference), pairs[cycle]):
                    ctx.set(port, {k: box[k] for k in ("x1", "y1", "x2", "y2")})
            if cycle >= dut.LATENCY:
                pair = pairs[cycle - dut.LATENCY]
                inter, union = inter_union(*pair)
                assert (ctx.get(dut.o_inter), ctx.get(dut.o_union)) == (inter, union)
                over = union > 0 and Fraction(inter, union) > Fraction(threshold, ONE)
                assert ctx.get(dut.o_over) == over, pair
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
