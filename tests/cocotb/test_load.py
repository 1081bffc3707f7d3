"""The load engine with its two read masters against the ISA reference."""

from __future__ import annotations

import itertools
import random
from typing import Any

import cocotb
import pytest
from amaranth import Cat, Module
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from axi_bench import (
    Axi4Signature,
    Ddr,
    Rules,
    latent_read_slave,
    pack_segments,
    pauses,
    read_slave,
    reset,
    start,
    unpack_error,
    widen,
)
from bench import run, settings
from cocotb.triggers import RisingEdge

from falconet.isa import (
    INSTRUCTION_BITS,
    Arch,
    Dst,
    ErrorCode,
    Instruction,
    Load,
    LoadImage,
    preset,
)
from falconet_hw.bus import Axi3ReadSignature
from falconet_hw.dma.axi import ErrorLayout, ReadMaster, SegmentsLayout
from falconet_hw.dma.load import LoadEngine
from falconet_hw.layout import LoadBus, WriteBus

SEGMENTS = [(0x1000_0000, 0x8000), (0x2000_1000, 0x6000), (0, 0x4000), (0xFFFF_8000, 0x8000)]
PORTS = ("m0", "m1")


class LoadBench(Component):
    """The engine, its masters, and ``stop`` as the top has it: any error, a cycle later."""

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "instr": In(stream.Signature(INSTRUCTION_BITS)),
            "segments": In(SegmentsLayout()),
            "m0": Out(Axi4Signature(Axi3ReadSignature())),
            "m1": Out(Axi4Signature(Axi3ReadSignature())),
            "write": Out(stream.Signature(WriteBus(arch))),
            "load": Out(LoadBus(arch)), "load_valid": Out(1),
            "start": Out(1), "retire": Out(1), "busy": Out(1), "idle": Out(1),
            "error": Out(ErrorLayout()), "error0": Out(ErrorLayout()), "error1": Out(ErrorLayout()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.engine = engine = LoadEngine(arch=self.arch)
        masters = [ReadMaster(arch=self.arch) for _ in PORTS]
        for name, master in zip(PORTS, masters):
            m.submodules[name] = master
            connect(m, getattr(engine, name), master.load)
            widen(m, master.bus, getattr(self, name))
            m.d.sync += master.stop.eq(
                self.error.valid | self.error0.valid | self.error1.valid
            )
        m.d.sync += engine.stop.eq(self.error.valid | self.error0.valid | self.error1.valid)
        connect(m, flipped(self.instr), engine.instr)
        connect(m, engine.write, flipped(self.write))
        m.d.comb += [
            engine.segments.eq(self.segments),
            self.load.eq(Cat(engine.load.dst, engine.load.addr, engine.load.data)),
            self.load_valid.eq(engine.load.valid),
            self.start.eq(engine.start), self.retire.eq(engine.retire), self.busy.eq(engine.busy),
            self.idle.eq(masters[0].idle & masters[1].idle),
            self.error.eq(engine.error),
            self.error0.eq(masters[0].error), self.error1.eq(masters[1].error),
        ]
        return m


# --------------------------------------------------------------------------- reference model

Written = tuple[int, int, bytes]


def model(arch: Arch, i: Instruction, ddr: Ddr) -> list[Written]:
    """Every (dst, address, word) that the instruction writes, in order."""
    base, words = SEGMENTS[i.segment][0] + i.offset, []
    if isinstance(i, LoadImage):
        for row in range(i.n_rows):
            pad = bytes([i.pad & 0xFF])
            line = pad * i.pad_left + ddr.at(base + row * i.pitch, i.row_bytes)
            line += pad * (i.n_x * i.step + arch.lanes)
            for x in range(i.n_x):
                at = (i.base + row * i.row_step + x) & 0xFFFF
                words.append((Dst.SCRATCHPAD, at, line[x * i.step:x * i.step + arch.lanes]))
        return words
    for i2 in range(i.n2):
        for i1 in range(i.n1):
            start = base + i2 * i.ddr_step2 + i1 * i.ddr_step1
            for k in range(i.run):
                at = (i.base + i2 * i.step2 + i1 * i.step1 + k) & 0xFFFF
                words.append((i.dst, at, ddr.at(start + k * arch.lanes, arch.lanes)))
    return words


def random_load(rng: random.Random, arch: Arch) -> Load:
    segment = rng.randrange(4)
    run = rng.choice([1, 1, 2, 3, 7, 16, rng.randint(1, 60), rng.randint(60, 200)])
    n1, n2 = (1, 1) if run > 60 else (rng.randint(1, 4), rng.randint(1, 3))
    step1, step2 = (8 * rng.randrange(300) for _ in range(2))
    extent = (n1 - 1) * step1 + (n2 - 1) * step2 + run * arch.lanes
    last = (SEGMENTS[segment][1] - extent) // 8
    return Load(
        segment=segment, dst=rng.choice([0, 0, *range(5)]), run=run, n1=n1, n2=n2,
        offset=8 * rng.choice([0, last, rng.randint(0, last)]), ddr_step1=step1, ddr_step2=step2,
        **{f: rng.randrange(1 << 16) for f in ("base", "step1", "step2")},
    )


def random_image(rng: random.Random, arch: Arch) -> LoadImage:
    segment, n_rows = rng.randrange(4), rng.randint(1, 5)
    row_bytes = rng.choice([1, 7, 8, 9, 128, rng.randint(1, 60), rng.randint(1, 300)])
    pitch = 8 * rng.randrange(100)
    last = (SEGMENTS[segment][1] - (n_rows - 1) * pitch - (row_bytes + 7) // 8 * 8) // 8
    step = rng.choice([1, arch.lanes, 6, rng.randint(1, arch.lanes)])
    return LoadImage(
        segment=segment, offset=8 * rng.choice([0, last, rng.randint(0, last)]),
        n_rows=n_rows, pitch=pitch, row_bytes=row_bytes, step=step,
        pad_left=rng.choice([0, 3, arch.lanes, rng.randrange(64)]), pad=rng.randrange(-128, 128),
        n_x=rng.choice([1, row_bytes // step + 1, rng.randint(1, 60)]),
        base=rng.randrange(1 << 16), row_step=rng.randrange(1 << 16),
    )


# --------------------------------------------------------------------------- bench


class Bench:
    """Feeds instructions, collects words in order, and counts words at each retirement."""

    def __init__(self, dut: Any, arch: Arch) -> None:
        self.dut, self.arch = dut, arch
        self.words: list[Written] = []
        self.starts = 0
        self.retired_at: list[int] = []
        self.cycle_of_word: list[int] = []
        cocotb.start_soon(self._watch())

    async def _watch(self) -> None:
        dut, lanes = self.dut, self.arch.lanes
        held: int | None = None
        cycle = 0
        while True:
            await RisingEdge(dut.clk)
            cycle += 1
            if int(dut.rst.value):
                held = None
                continue
            self.starts += int(dut.start.value)
            if int(dut.retire.value):
                self.retired_at.append(len(self.words))
            valid, ready = int(dut.write__valid.value), int(dut.write__ready.value)
            payload = int(dut.write__payload.value)
            assert held is None or (valid and payload == held), "write changed"
            held = payload if valid and not ready else None
            assert not (valid and int(dut.load_valid.value))
            if valid and ready:
                self._add(Dst.SCRATCHPAD, payload, lanes, cycle)
            if int(dut.load_valid.value):
                bus = int(dut.load.value)
                self._add(bus & 7, bus >> 3, lanes, cycle)

    def _add(self, dst: int, bus: int, lanes: int, cycle: int) -> None:
        self.words.append((dst, bus & 0xFFFF, (bus >> 16).to_bytes(lanes, "little")))
        self.cycle_of_word.append(cycle)

    async def ready_pauses(self, rng: random.Random, share: float) -> None:
        for paused in pauses(rng, share):
            self.dut.write__ready.value = not paused
            await RisingEdge(self.dut.clk)

    async def give(self, instructions: list[Instruction], gap: float, rng: random.Random) -> None:
        dut = self.dut
        for i in instructions:
            while rng.random() < gap:
                await RisingEdge(dut.clk)
            dut.instr__payload.value = int.from_bytes(i.encode(), "little")
            dut.instr__valid.value = 1
            await RisingEdge(dut.clk)
            while not int(dut.instr__ready.value):
                await RisingEdge(dut.clk)
            dut.instr__valid.value = 0

    async def until(self, condition: Any, limit: int = 30000) -> None:
        for _ in range(limit):
            if condition():
                return
            await RisingEdge(self.dut.clk)
        raise AssertionError(f"nothing after {limit} cycles; {len(self.words)} words came")

    async def settle(self) -> None:
        """As many cycles as anything unwanted might need to show itself."""
        for _ in range(60):
            await RisingEdge(self.dut.clk)


async def begin(dut: Any, arch: Arch) -> Bench:
    await start(
        dut, instr__valid=0, write__ready=1, segments=pack_segments(SEGMENTS), instr__payload=0,
    )
    return Bench(dut, arch)


@cocotb.test()
async def random_programs(dut: Any) -> None:
    """Words, order, retirements; with pauses on every channel."""
    given = settings()
    arch, rng, share = preset(given["arch"]), random.Random(given["rng"]), given["pauses"]
    ddr = Ddr(given["rng"])
    bench = await begin(dut, arch)
    rules = [Rules(dut, p, arch, SEGMENTS) for p in PORTS]
    for p in PORTS:
        read_slave(dut, p, ddr, rng, share)
    cocotb.start_soon(bench.ready_pauses(rng, share))
    program = [rng.choice([random_load, random_image])(rng, arch) for _ in range(given["n"])]
    expected, counts = [], []
    for i in program:
        expected += model(arch, i, ddr)
        counts.append(len(expected))
    feeding = cocotb.start_soon(bench.give(program, share, rng))
    await bench.until(lambda: len(bench.retired_at) >= len(program))
    await bench.settle()
    assert feeding.done()
    for n, (got, want) in enumerate(zip(bench.words, expected)):
        assert got == want, f"word {n} of {program[next(k for k, c in enumerate(counts) if n < c)]}"
    assert len(bench.words) == len(expected)
    assert bench.starts == len(program) == len(bench.retired_at)
    assert all(got >= want for got, want in zip(bench.retired_at, counts))
    assert int(dut.idle.value) and not int(dut.busy.value) and not int(dut.error.value)
    assert abs(len(rules[0].bursts) - len(rules[1].bursts)) <= 1


@cocotb.test()
async def throughput(dut: Any) -> None:
    """One word a cycle behind 60 cycles of DDR latency, and across short instructions."""
    arch = preset(settings()["arch"])
    ddr = Ddr(3)
    bench = await begin(dut, arch)
    rules = [Rules(dut, p, arch, SEGMENTS) for p in PORTS]
    for p in PORTS:
        cocotb.start_soon(latent_read_slave(dut, p, ddr, 60))
    big = 0x6000 // arch.lanes
    loads: list[Instruction] = [
        Load(segment=3, run=big, base=0),
        *(Load(segment=0, offset=1024 * k, run=32, base=0, dst=k % 5) for k in range(12)),
        LoadImage(segment=1, n_rows=16, pitch=680, row_bytes=672, pad_left=3, step=6, n_x=112),
    ]
    expected = [w for i in loads for w in model(arch, i, ddr)]
    cocotb.start_soon(bench.give(loads, 0, random.Random(0)))
    await bench.until(lambda: len(bench.retired_at) == len(loads))
    assert bench.words == expected
    cycle = bench.cycle_of_word
    parts = [0, big, big + 12 * 32, len(cycle)]
    rates = [(b - a) / (cycle[b - 1] - cycle[a] + 1) for a, b in itertools.pairwise(parts)]
    print("words a cycle: big load, short loads, image:", *(f"{r:.3f}" for r in rates))
    assert rates[0] > 0.98 and rates[1] > 0.85 and rates[2] > 0.95
    assert max(r.most for r in rules) >= 8


HIGH = 0xFFFF_8000
LIMITS: list[tuple[str, dict[str, int], list[tuple[int, int]] | None, int | None]] = [
    ("last byte", dict(segment=1, offset=0x6000 - 64, run=64), None, None),
    ("one beat too many", dict(segment=1, offset=0x6000 - 56, run=64), None, 0x2000_7000),
    ("first byte outside", dict(segment=1, offset=0x6000, run=16), None, 0x2000_7000),
    ("last step", dict(segment=0, offset=0x7F00, run=128, n1=2, ddr_step1=0x80), None,
     None),
    ("step outside", dict(segment=0, offset=0x7F80, run=128, n1=3, ddr_step1=0x80), None,
     0x1000_8000),
    ("offset wraps", dict(segment=3, offset=0xFFFF_FFF0, run=64), None, 0xFFFF_7FF0),
    ("step wraps", dict(segment=0, offset=0x80, run=64, n1=2, ddr_step1=2**32 - 0x80), None,
     0x1000_0000),
    ("outer step wraps twice", dict(segment=0, offset=0x80, run=64, n2=4, ddr_step2=2**32 - 64),
     None, 0x1000_0040),
    ("address wraps", dict(segment=3, offset=0x7F80, run=256), [(HIGH, 0x1_0000)] * 4, 0),
    ("last address", dict(segment=3, offset=0x7F80, run=128), [(HIGH, 0x1_0000)] * 4, None),
    ("empty segment", dict(segment=2, offset=0, run=16), [(0, 0)] * 4, 0),
]


@cocotb.test()
async def limits(dut: Any) -> None:
    """Addresses at the edge of a window; ``run`` counts bytes here."""
    arch = preset(settings()["arch"])
    ddr = Ddr(4)
    bench = await begin(dut, arch)
    for p in PORTS:
        cocotb.start_soon(latent_read_slave(dut, p, ddr, 5))
    for name, fields, segments, address in LIMITS:
        segments = segments or SEGMENTS
        dut.segments.value = pack_segments(segments)
        await reset(dut)
        bench.words.clear()
        bench.retired_at.clear()
        bench.starts = 0
        inside = [(b, min(s, 2**32 - b)) for b, s in segments]
        rules = [Rules(dut, p, arch, inside) for p in PORTS]
        load = Load(**fields | dict(run=fields["run"] // arch.lanes))
        after = Load(segment=3, offset=0, run=4)
        await bench.give([load, after], 0, random.Random(0))
        await bench.settle()
        await bench.settle()
        error = unpack_error(int(dut.error.value))
        if address is None:
            assert error is None and len(bench.retired_at) == 2, name
        else:
            assert error == (ErrorCode.WINDOW, address), f"{name}: {error}"
            assert not bench.retired_at and int(dut.busy.value), name
            assert (address, 16) not in rules[0].bursts + rules[1].bursts
        assert int(dut.idle.value) and not any(r.outstanding for r in rules), name
        for r in rules:
            r.task.cancel()


@cocotb.test()
async def bus_errors(dut: Any) -> None:
    """SLVERR: the right address, no further burst, outstanding data taken, nothing retires."""
    arch = preset(settings()["arch"])
    rng, ddr = random.Random(5), Ddr(5)
    bench = await begin(dut, arch)
    for p in PORTS:
        cocotb.start_soon(latent_read_slave(dut, p, ddr, 40))
    for _ in range(6):
        await reset(dut)
        bench.words.clear()
        bench.retired_at.clear()
        rules = [Rules(dut, p, arch, SEGMENTS) for p in PORTS]
        at = 8 * rng.randrange(0x3000 // 8)
        ddr.faults = {SEGMENTS[0][0] + 0x1000 + at}
        loads = [Load(segment=0, offset=0x1000 + o, run=0x400 // arch.lanes)
                 for o in range(0, 0x4000, 0x400)]
        feeding = cocotb.start_soon(bench.give(loads, 0, rng))
        errors = [dut.error0, dut.error1]
        await bench.until(lambda e=errors: any(unpack_error(int(x.value)) for x in e))
        await bench.settle()
        raised = [len(r.bursts) for r in rules]
        await bench.until(lambda: int(dut.idle.value))
        await bench.settle()
        assert raised == [len(r.bursts) for r in rules]
        assert not any(r.outstanding for r in rules)
        found = [e for x in errors if (e := unpack_error(int(x.value)))]
        line = 8 * arch.burst_beats
        assert found == [(ErrorCode.READ, (SEGMENTS[0][0] + 0x1000 + at) // line * line)]
        assert len(bench.retired_at) <= at // 0x400
        assert int(dut.busy.value) and not int(dut.error.value)
        feeding.cancel()
        dut.instr__valid.value = 0
        for r in rules:
            r.task.cancel()


# --------------------------------------------------------------------------- pytest


def simulate(arch: str, testcase: str | None, **values: Any) -> None:
    name = f"load_{arch}".replace("-", "_")
    run(lambda: LoadBench(arch=preset(arch)), name=name, module="test_load",
        testcase=testcase, arch=arch, **values)


@pytest.mark.parametrize("arch", ["tiny", "pynq-z2"])
def test_load(arch: str) -> None:
    simulate(arch, None, pauses=0.3, rng=1, n=40)


@pytest.mark.parametrize("arch, share, n", [("pynq-z2", 0, 50), ("pynq-z2", 0.7, 12),
                                            ("tiny", 0.6, 15)])
def test_random_programs(arch: str, share: float, n: int) -> None:
    simulate(arch, "random_programs", pauses=share, rng=n, n=n)
