"""The store engine with its write master against the ISA reference."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
import pytest
from amaranth import Cat, Module
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from axi_bench import (
    Axi4Signature,
    Ddr,
    Rules,
    pack_segments,
    pauses,
    reset,
    start,
    unpack_error,
    widen,
    write_slave,
)
from bench import run, settings
from cocotb.triggers import RisingEdge

from falconet.isa import INSTRUCTION_BITS, Arch, ErrorCode, Segment, Src, Store, preset
from falconet_hw.bus import Axi3WriteSignature
from falconet_hw.dma.axi import ErrorLayout, SegmentsLayout, WriteMaster
from falconet_hw.dma.store import StoreEngine
from falconet_hw.stream.delay import delay

SEGMENTS = [(0x1000_0000, 0x8000), (0x2000_8000, 0x6000), (0, 0x4000), (0xFFFF_8000, 0x8000)]
WRITABLE = SEGMENTS[Segment.OUTPUT:]
LATENCY = 4


FACTORS = {Src.SCRATCHPAD: 0x1D, Src.RECORDS: 0x47}


def stored(src: int, address: int, lanes: int) -> bytes:
    """What the bench's memories hold at a word address: something else everywhere."""
    factor = FACTORS[Src(src)] + (address & 0xF)
    return bytes(((address >> 8 * (i % 2)) + i * factor) & 0xFF for i in range(lanes))


class StoreBench(Component):
    """The engine, its master, and memories whose contents are :func:`stored`."""

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "instr": In(stream.Signature(INSTRUCTION_BITS)),
            "segments": In(SegmentsLayout()),
            "m0": Out(Axi4Signature(Axi3WriteSignature())),
            "read_open": In(1), "read_valid": Out(1), "read_addr": Out(16),
            "record_open": In(1), "record_valid": Out(1), "record_addr": Out(16),
            "start": Out(1), "retire": Out(1), "busy": Out(1), "idle": Out(1), "stop": In(1),
            "error": Out(ErrorLayout()), "error0": Out(ErrorLayout()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.engine = engine = StoreEngine(arch=self.arch, read_latency=LATENCY)
        m.submodules.master = master = WriteMaster(arch=self.arch)
        connect(m, engine.m0, master.client)
        connect(m, flipped(self.instr), engine.instr)
        widen(m, master.bus, self.m0)
        for src, req, answer in (
            (Src.SCRATCHPAD, engine.read_req, engine.read_data),
            (Src.RECORDS, engine.record_req, engine.record_data),
        ):
            name, addr = src.name.lower(), req.payload
            word = Cat(
                (addr.word_select(i % 2, 8) + i * (FACTORS[src] + addr[:4]))[:8]
                for i in range(self.arch.lanes)
            )
            late = delay(m, req.valid & req.ready, LATENCY, name=f"{name}_late", reset=True)
            m.d.comb += answer.eq(
                delay(m, word, LATENCY, name=f"{name}_word") & late.replicate(len(word))
            )
        m.d.comb += [
            engine.segments.eq(self.segments),
            engine.read_req.ready.eq(self.read_open),
            self.read_valid.eq(engine.read_req.valid),
            self.read_addr.eq(engine.read_req.payload),
            engine.record_req.ready.eq(self.record_open),
            self.record_valid.eq(engine.record_req.valid),
            self.record_addr.eq(engine.record_req.payload),
            self.start.eq(engine.start), self.retire.eq(engine.retire), self.busy.eq(engine.busy),
            self.idle.eq(master.idle),
            self.error.eq(engine.error), self.error0.eq(master.error),
        ]
        stop = self.error.valid | self.error0.valid | self.stop
        m.d.sync += [engine.stop.eq(stop), master.stop.eq(stop)]
        return m


def model(arch: Arch, i: Store, memory: np.ndarray) -> None:
    """What the instruction does to the DDR's bytes."""
    base = SEGMENTS[i.segment][0] + i.offset
    for i2 in range(i.n2):
        for i1 in range(i.n1):
            start = base + i2 * i.ddr_step2 + i1 * i.ddr_step1
            for k in range(i.run):
                at = i.base + i2 * i.step2 + i1 * i.step1 + k
                word = stored(i.src, at & 0xFFFF, arch.lanes)
                at = np.arange(start + k * arch.lanes, start + (k + 1) * arch.lanes) & 0xFFFFF
                memory[at] = np.frombuffer(word, np.uint8)


def random_store(rng: random.Random, arch: Arch) -> Store:
    segment = rng.choice([Segment.OUTPUT, Segment.WORK])
    run = rng.choice([1, 1, 2, 3, 7, 16, rng.randint(1, 60), rng.randint(60, 150)])
    n1, n2 = (1, 1) if run > 60 else (rng.randint(1, 4), rng.randint(1, 3))
    step1, step2 = (8 * rng.randrange(300) for _ in range(2))
    extent = (n1 - 1) * step1 + (n2 - 1) * step2 + run * arch.lanes
    last = (SEGMENTS[segment][1] - extent) // 8
    return Store(
        segment=segment, src=rng.choice(list(Src)), run=run, n1=n1, n2=n2,
        ddr_step1=step1, ddr_step2=step2,
        offset=8 * rng.choice([0, last, rng.randint(0, last)]),
        **{f: rng.randrange(1 << 16) for f in ("base", "step1", "step2")},
    )


class Bench:
    """Feeds instructions; at each retirement, counts the bursts that were answered."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.starts = self.answered = self.beats = 0
        self.retired_at: list[int] = []
        self.cycle_of_beat: list[int] = []
        cocotb.start_soon(self._watch())

    async def _watch(self) -> None:
        dut = self.dut
        held: dict[str, int] = {}
        cycle = 0
        while True:
            await RisingEdge(dut.clk)
            cycle += 1
            if int(dut.rst.value):
                held.clear()
                self.starts = self.answered = 0
                self.retired_at.clear()
                continue
            self.starts += int(dut.start.value)
            if int(dut.retire.value):
                self.retired_at.append(self.answered)
            self.answered += int(dut.m0__bvalid.value) & int(dut.m0__bready.value)
            if int(dut.m0__wvalid.value) and int(dut.m0__wready.value):
                # What is registered when `stop` comes still has its strobes.
                assert int(dut.m0__wstrb.value) in ((0xFF, 0) if int(dut.stop.value)
                                                    or self.failed() else (0xFF,))
                self.cycle_of_beat.append(cycle)
            for port in ("read", "record"):
                valid, addr, is_open = (
                    int(getattr(dut, f"{port}_{s}").value) for s in ("valid", "addr", "open")
                )
                assert port not in held or (valid and held.pop(port) == addr), f"{port} changed"
                if valid and not is_open:
                    held[port] = addr

    def failed(self) -> bool:
        return any(unpack_error(int(getattr(self.dut, e).value)) for e in ("error", "error0"))

    async def read_pauses(self, port: str, rng: random.Random, share: float) -> None:
        for paused in pauses(rng, share):
            getattr(self.dut, f"{port}_open").value = not paused
            await RisingEdge(self.dut.clk)

    async def give(self, program: list[Store], gap: float, rng: random.Random) -> None:
        dut = self.dut
        for i in program:
            while rng.random() < gap:
                await RisingEdge(dut.clk)
            dut.instr__payload.value = int.from_bytes(i.encode(), "little")
            dut.instr__valid.value = 1
            await RisingEdge(dut.clk)
            while not int(dut.instr__ready.value):
                await RisingEdge(dut.clk)
            dut.instr__valid.value = 0

    async def until(self, condition: Any, limit: int = 20000) -> None:
        for _ in range(limit):
            if condition():
                return
            await RisingEdge(self.dut.clk)
        raise AssertionError(f"nothing after {limit} cycles")

    async def settle(self) -> None:
        """As many cycles as anything unwanted might need to show itself."""
        for _ in range(80):
            await RisingEdge(self.dut.clk)


async def begin(dut: Any) -> Bench:
    await start(dut, instr__valid=0, instr__payload=0, read_open=1, record_open=1, stop=0,
                segments=pack_segments(SEGMENTS))
    return Bench(dut)


@cocotb.test()
async def random_programs(dut: Any) -> None:
    """Memory, order and retirements; with pauses on every channel."""
    given = settings()
    arch, rng, share = preset(given["arch"]), random.Random(given["rng"]), given["pauses"]
    ddr = Ddr(given["rng"])
    expected = ddr.bytes.copy()
    bench = await begin(dut)
    rules = Rules(dut, "m0", arch, WRITABLE)
    write_slave(dut, "m0", ddr, rng, share)
    for port in ("read", "record"):
        cocotb.start_soon(bench.read_pauses(port, rng, share))
    program = [random_store(rng, arch) for _ in range(given["n"])]
    counts, total = [], 0
    for i in program:
        model(arch, i, expected)
        base = SEGMENTS[i.segment][0] + i.offset
        line = 8 * arch.burst_beats
        for run_at in (base + i2 * i.ddr_step2 + i1 * i.ddr_step1
                       for i2 in range(i.n2) for i1 in range(i.n1)):
            total += (run_at + i.run * arch.lanes - 1) // line - run_at // line + 1
        counts.append(total)
    cocotb.start_soon(bench.give(program, share, rng))
    await bench.until(lambda: len(bench.retired_at) >= len(program))
    await bench.settle()
    assert np.array_equal(ddr.bytes, expected), np.flatnonzero(ddr.bytes != expected)[:8]
    assert bench.starts == len(program) == len(bench.retired_at)
    assert len(rules.bursts) == total and not rules.outstanding
    assert all(got >= want for got, want in zip(bench.retired_at, counts))
    assert int(dut.idle.value) and not int(dut.busy.value) and not int(dut.error.value)


@cocotb.test()
async def throughput(dut: Any) -> None:
    """One beat a cycle, also from one short instruction to the next."""
    arch = preset(settings()["arch"])
    ddr = Ddr(2)
    bench = await begin(dut)
    write_slave(dut, "m0", ddr, random.Random(0), 0)
    program = [Store(segment=3, run=0x2000 // arch.lanes, base=7)]
    program += [Store(segment=3, run=256 // arch.lanes, offset=256 * k, src=k % 2)
                for k in range(16)]
    cocotb.start_soon(bench.give(program, 0, random.Random(0)))
    await bench.until(lambda: len(bench.retired_at) == len(program))
    cycle = bench.cycle_of_beat
    rate = (len(cycle) - 1) / (cycle[-1] - cycle[0])
    print(f"beats a cycle: {rate:.3f}")
    assert rate > 0.95


LIMITS: list[tuple[str, dict[str, int], int | None]] = [
    ("last byte", dict(segment=2, offset=0x4000 - 64, run=64), None),
    ("one beat too many", dict(segment=2, offset=0x4000 - 48, run=64), 0x4000),
    ("first byte outside", dict(segment=2, offset=0x4000, run=16), 0x4000),
    ("to CODE", dict(segment=0, offset=0x40, run=16), 0x1000_0040),
    ("to INPUT", dict(segment=1, offset=0, run=16), 0x2000_8000),
    ("offset wraps", dict(segment=3, offset=0xFFFF_FFF0, run=64), 0xFFFF_7FF0),
    ("step wraps", dict(segment=2, offset=0x80, run=64, n1=2, ddr_step1=2**32 - 0x80), 0),
    ("last address", dict(segment=3, offset=0x7F80, run=128), None),
    ("past the last address", dict(segment=3, offset=0x7F80, run=144), 0),
]


@cocotb.test()
async def limits(dut: Any) -> None:
    """Addresses at the edge of a window; ``run`` counts bytes here."""
    arch = preset(settings()["arch"])
    ddr = Ddr(4)
    bench = await begin(dut)
    write_slave(dut, "m0", ddr, random.Random(1), 0.1)
    for name, fields, address in LIMITS:
        await reset(dut)
        rules = Rules(dut, "m0", arch, WRITABLE)
        before, expected = ddr.bytes.copy(), ddr.bytes.copy()
        store = Store(**fields | dict(run=fields["run"] // arch.lanes))
        model(arch, store, expected)
        await bench.give([store, Store(segment=3, run=2)], 0, random.Random(0))
        await bench.settle()
        error = unpack_error(int(dut.error.value))
        if address is None:
            model(arch, Store(segment=3, run=2), expected)
            assert error is None and len(bench.retired_at) == 2, name
            assert np.array_equal(ddr.bytes, expected), name
        else:
            assert error == (ErrorCode.WINDOW, address), f"{name}: {error}"
            assert not bench.retired_at and int(dut.busy.value), name
            changed = np.flatnonzero(ddr.bytes != before)
            assert np.array_equal(ddr.bytes[changed], expected[changed]), name
        assert int(dut.idle.value) and not rules.outstanding, name
        rules.task.cancel()


@cocotb.test()
async def bus_errors(dut: Any) -> None:
    """SLVERR: the right address, nothing more is raised, what is raised is finished."""
    arch = preset(settings()["arch"])
    rng, ddr = random.Random(5), Ddr(5)
    bench = await begin(dut)
    write_slave(dut, "m0", ddr, rng, 0.2)
    for _ in range(4):
        await reset(dut)
        rules = Rules(dut, "m0", arch, WRITABLE)
        at = 8 * rng.randrange(0x1000 // 8)
        ddr.faults = {SEGMENTS[3][0] + at}
        program = [Store(segment=3, offset=o, run=0x100 // arch.lanes)
                   for o in range(0, 0x2000, 0x100)]
        feeding = cocotb.start_soon(bench.give(program, 0, rng))
        await bench.until(lambda: unpack_error(int(dut.error0.value)))
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        raised = len(rules.bursts)
        await bench.until(lambda: int(dut.idle.value))
        await bench.settle()
        line = 8 * arch.burst_beats
        assert unpack_error(int(dut.error0.value)) == (
            ErrorCode.WRITE, (SEGMENTS[3][0] + at) // line * line
        )
        assert len(rules.bursts) == raised and not rules.outstanding
        assert len(bench.retired_at) == at // 0x100 and int(dut.busy.value)
        feeding.cancel()
        dut.instr__valid.value = 0
        rules.task.cancel()


@cocotb.test()
async def stopping(dut: Any) -> None:
    """``stop`` in the middle: the bus comes to rest by itself, and a reset makes all new.

    Of words of two beats also the half that is left of one when the last burst ends within it, as
    those of a store at an odd beat do.
    """
    arch = preset(settings()["arch"])
    rng, ddr = random.Random(6), Ddr(6)
    bench = await begin(dut)
    write_slave(dut, "m0", ddr, rng, 0.3)
    for starved, offset in ((False, 0), (True, 8), (False, 8), (True, 0), (True, 8), (False, 8)):
        rules = Rules(dut, "m0", arch, WRITABLE)
        dut.read_open.value = not starved  # of words that never come
        cocotb.start_soon(bench.give(
            [Store(segment=3, offset=offset, run=0x1000 // arch.lanes)], 0, rng))
        for _ in range(rng.randint(20, 300)):
            await RisingEdge(dut.clk)
        assert rules.outstanding or not starved
        dut.stop.value = 1
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        await bench.until(lambda: int(dut.idle.value))
        await bench.settle()
        assert int(dut.idle.value) and not rules.outstanding and not bench.retired_at
        dut.stop.value = 0
        dut.read_open.value = 1
        await reset(dut)
        rules.task.cancel()
        expected = ddr.bytes.copy()
        again = Store(segment=2, run=9, offset=64, base=3)
        model(arch, again, expected)
        await bench.give([again], 0, rng)
        await bench.until(lambda: bench.retired_at)
        bench.retired_at.clear()
        assert np.array_equal(ddr.bytes, expected), f"after a stop, {starved=}, {offset=}"


def simulate(arch: str, testcase: str | None, **values: Any) -> None:
    name = f"store_{arch}".replace("-", "_")
    run(lambda: StoreBench(arch=preset(arch)), name=name, module="test_store", testcase=testcase,
        arch=arch, **values)


@pytest.mark.parametrize("arch", ["tiny", "pynq-z2"])
def test_store(arch: str) -> None:
    simulate(arch, None, pauses=0.3, rng=1, n=25)


@pytest.mark.parametrize("arch, share, n", [("pynq-z2", 0, 40), ("tiny", 0.6, 15)])
def test_random_programs(arch: str, share: float, n: int) -> None:
    simulate(arch, "random_programs", pauses=share, rng=n, n=n)
