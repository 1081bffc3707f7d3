"""The read master with both of its clients, and the write master, on one bus each."""

from __future__ import annotations

import itertools
import random
from collections import deque
from typing import Any

import cocotb
import numpy as np
import pytest
from amaranth import Module
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from axi_bench import (
    Axi4Signature,
    Ddr,
    Rules,
    latent_read_slave,
    pauses,
    read_slave,
    reset,
    start,
    unpack_error,
    widen,
    write_slave,
)
from bench import run, settings
from cocotb.triggers import RisingEdge

from falconet.isa import Arch, ErrorCode, preset
from falconet_hw.bus import Axi3ReadSignature, Axi3WriteSignature
from falconet_hw.dma.axi import (
    ErrorLayout,
    ReadClientSignature,
    ReadMaster,
    WriteClientSignature,
    WriteMaster,
)

BURSTS = 150
Burst = tuple[int, int, int]  # address, beats, tag


class MastersBench(Component):
    """Both masters with their AXI ports widened."""

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "load": In(ReadClientSignature()), "fetch": In(ReadClientSignature()),
            "store": In(WriteClientSignature()), "stop": In(1),
            "r": Out(Axi4Signature(Axi3ReadSignature())),
            "w": Out(Axi4Signature(Axi3WriteSignature())),
            "r_idle": Out(1), "w_idle": Out(1),
            "r_error": Out(ErrorLayout()), "w_error": Out(ErrorLayout()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.reader = reader = ReadMaster(arch=self.arch)
        m.submodules.writer = writer = WriteMaster(arch=self.arch)
        connect(m, flipped(self.load), reader.load)
        connect(m, flipped(self.fetch), reader.fetch)
        connect(m, flipped(self.store), writer.client)
        widen(m, reader.bus, self.r)
        widen(m, writer.bus, self.w)
        m.d.comb += [
            reader.stop.eq(self.stop), writer.stop.eq(self.stop),
            self.r_idle.eq(reader.idle), self.w_idle.eq(writer.idle),
            self.r_error.eq(reader.error), self.w_error.eq(writer.error),
        ]
        return m


def random_bursts(rng: random.Random, arch: Arch, n: int) -> list[Burst]:
    bursts = []
    for _ in range(n):
        first = rng.randrange(arch.burst_beats)
        beats = rng.choice([1, arch.burst_beats - first, rng.randint(1, arch.burst_beats - first)])
        line = 8 * arch.burst_beats * rng.randrange(1 << 25)
        bursts.append((line + 8 * first, beats, rng.randrange(2)))
    return bursts


async def commands(dut: Any, client: str, bursts: list[Burst], gaps: Any) -> None:
    """Raise ``bursts`` on a client's command stream; payload is {addr, len, tag}."""
    valid, ready = getattr(dut, f"{client}__cmd__valid"), getattr(dut, f"{client}__cmd__ready")
    for address, beats, tag in bursts:
        while next(gaps):
            await RisingEdge(dut.clk)
        getattr(dut, f"{client}__cmd__payload").value = address | (beats - 1) << 32 | tag << 36
        valid.value = 1
        await RisingEdge(dut.clk)
        while not int(ready.value):
            await RisingEdge(dut.clk)
        valid.value = 0


async def collect(dut: Any, client: str, into: list[tuple[int, int, int]], gaps: Any) -> None:
    """Take a client's data: (data, last, tag)."""
    def s(name: str) -> Any:
        return getattr(dut, f"{client}__data__{name}")

    while True:
        s("ready").value = not next(gaps)
        await RisingEdge(dut.clk)
        if int(s("valid").value) and (int(s("ready").value) or client == "load"):
            beat = int(s("payload").value)
            into.append((beat & (1 << 64) - 1, beat >> 64 & 1, beat >> 65))


async def begin(dut: Any) -> None:
    idle = {f"{c}__cmd__{f}": 0 for c in ("load", "fetch", "store") for f in ("valid", "payload")}
    await start(dut, **idle, stop=0, store__data__valid=0, store__data__payload=0,
                load__data__ready=0, fetch__data__ready=0)


async def until(dut: Any, condition: Any, limit: int = 20000) -> None:
    for _ in range(limit):
        if condition():
            return
        await RisingEdge(dut.clk)
    raise AssertionError(f"nothing after {limit} cycles")


@cocotb.test()
async def reads(dut: Any) -> None:
    """Two clients at once: each gets its own data, in order; FETCH may be as slow as it likes."""
    arch, rng, ddr = preset(settings()["arch"]), random.Random(1), Ddr(1)
    await begin(dut)
    rules = Rules(dut, "r", arch, [])
    read_slave(dut, "r", ddr, rng, 0.3)
    got: dict[str, list[tuple[int, int, int]]] = {"load": [], "fetch": []}
    want: dict[str, list[tuple[int, int, int]]] = {"load": [], "fetch": []}
    for client, slow in (("load", 0.2), ("fetch", 0.7)):
        bursts = random_bursts(rng, arch, BURSTS)
        for address, beats, tag in bursts:
            want[client] += [
                (int.from_bytes(ddr.at(address + 8 * b, 8), "little"), b == beats - 1, tag)
                for b in range(beats)
            ]
        cocotb.start_soon(commands(dut, client, bursts, pauses(rng, 0.2)))
        cocotb.start_soon(collect(dut, client, got[client], pauses(rng, slow)))
    await until(dut, lambda: all(len(got[c]) >= len(want[c]) for c in got))
    for _ in range(50):
        await RisingEdge(dut.clk)
    assert got == want
    assert int(dut.r_idle.value) and len(rules.bursts) == 2 * BURSTS


@cocotb.test()
async def fetch_does_not_block(dut: Any) -> None:
    """FETCH takes nothing at all: LOAD still gets its data, and nothing of FETCH's is lost."""
    arch, rng, ddr = preset(settings()["arch"]), random.Random(2), Ddr(2)
    await begin(dut)
    cocotb.start_soon(latent_read_slave(dut, "r", ddr, 30))
    rules = Rules(dut, "r", arch, [])
    loaded: list[tuple[int, int, int]] = []
    fetched: list[tuple[int, int, int]] = []
    lines = [(128 * k, arch.burst_beats, 0) for k in range(20)]
    never = itertools.repeat(True)
    blocked = cocotb.start_soon(collect(dut, "fetch", fetched, never))
    cocotb.start_soon(collect(dut, "load", loaded, pauses(rng, 0)))
    cocotb.start_soon(commands(dut, "fetch", lines, pauses(rng, 0)))
    cocotb.start_soon(commands(dut, "load", lines, pauses(rng, 0)))
    await until(dut, lambda: len(loaded) == 20 * arch.burst_beats)
    assert not fetched and rules.most >= 8
    blocked.cancel()
    cocotb.start_soon(collect(dut, "fetch", fetched, pauses(rng, 0)))
    await until(dut, lambda: len(fetched) == 20 * arch.burst_beats)
    assert fetched == loaded
    await RisingEdge(dut.clk)
    assert int(dut.r_idle.value)


@cocotb.test()
async def read_stop_and_error(dut: Any) -> None:
    """``stop`` and SLVERR: no new address; the first failing burst's address is kept."""
    arch, rng, ddr = preset(settings()["arch"]), random.Random(3), Ddr(3)
    await begin(dut)
    cocotb.start_soon(latent_read_slave(dut, "r", ddr, 20))
    loaded: list[tuple[int, int, int]] = []
    cocotb.start_soon(collect(dut, "load", loaded, pauses(rng, 0)))
    lines = [(0x8000_0000 + 128 * k, arch.burst_beats, 0) for k in range(40)]
    for faults in (set(), {lines[9][0] + 8, lines[10][0]}):
        ddr.faults = faults
        rules = Rules(dut, "r", arch, [])
        loaded.clear()
        feeding = cocotb.start_soon(commands(dut, "load", lines, pauses(rng, 0)))
        if faults:
            await until(dut, lambda: unpack_error(int(dut.r_error.value)))
        else:
            await until(dut, lambda r=rules: len(r.bursts) == 12)
            dut.stop.value = 1
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        raised = len(rules.bursts)
        await until(dut, lambda: int(dut.r_idle.value))
        for _ in range(50):
            await RisingEdge(dut.clk)
        assert len(rules.bursts) == raised < len(lines) and not rules.outstanding
        assert len(loaded) == raised * arch.burst_beats
        assert unpack_error(int(dut.r_error.value)) == (
            (ErrorCode.READ, lines[9][0]) if faults else None
        )
        feeding.cancel()
        dut.load__cmd__valid.value = 0
        dut.stop.value = 0
        await reset(dut)
        rules.task.cancel()
        assert unpack_error(int(dut.r_error.value)) is None


@cocotb.test()
async def writes(dut: Any) -> None:
    """Strobes, order of responses and tags; then SLVERR."""
    arch, rng, ddr = preset(settings()["arch"]), random.Random(4), Ddr(4)
    await begin(dut)
    rules = Rules(dut, "w", arch, [])
    write_slave(dut, "w", ddr, rng, 0.3)
    bursts = random_bursts(rng, arch, BURSTS)
    expected = ddr.bytes.copy()
    beats: deque[tuple[int, int]] = deque()
    for address, n, _ in bursts:
        for b in range(n):
            data, strobes = rng.randbytes(8), rng.randrange(256)
            beats.append((int.from_bytes(data, "little"), strobes))
            for k in range(8):
                if strobes >> k & 1:
                    expected[(address + 8 * b + k) & 0xFFFFF] = data[k]
    tags: list[int] = []
    gaps = pauses(rng, 0.3)

    async def supply() -> None:
        while beats:
            while next(gaps):
                await RisingEdge(dut.clk)
            data, strobes = beats.popleft()
            dut.store__data__payload.value = data | strobes << 64
            dut.store__data__valid.value = 1
            await RisingEdge(dut.clk)
            while not int(dut.store__data__ready.value):
                await RisingEdge(dut.clk)
            dut.store__data__valid.value = 0

    async def watch() -> None:
        while True:
            await RisingEdge(dut.clk)
            if int(dut.store__done.value):
                tags.append(int(dut.store__tag.value))

    cocotb.start_soon(commands(dut, "store", bursts, pauses(rng, 0.2)))
    cocotb.start_soon(supply())
    cocotb.start_soon(watch())
    await until(dut, lambda: len(tags) >= BURSTS)
    for _ in range(50):
        await RisingEdge(dut.clk)
    assert tags == [tag for _, _, tag in bursts]
    assert np.array_equal(ddr.bytes, expected)
    assert int(dut.w_idle.value) and not rules.outstanding

    ddr.faults = {0x4000_0088}
    lines = [(0x4000_0000 + 128 * k, 2, 0) for k in range(20)]
    beats.extend([(k, 0xFF) for k in range(40)])
    tags.clear()
    cocotb.start_soon(commands(dut, "store", lines, pauses(rng, 0)))
    cocotb.start_soon(supply())
    await until(dut, lambda: unpack_error(int(dut.w_error.value)))
    await until(dut, lambda: int(dut.w_idle.value))
    for _ in range(50):
        await RisingEdge(dut.clk)
    assert unpack_error(int(dut.w_error.value)) == (ErrorCode.WRITE, 0x4000_0080)
    assert len(tags) == 1 and len(rules.bursts) < BURSTS + len(lines) and not rules.outstanding


@cocotb.test()
async def write_stop_without_data(dut: Any) -> None:
    """``stop`` while data is missing: the bursts are finished, and what is missing not written."""
    arch, rng, ddr = preset(settings()["arch"]), random.Random(5), Ddr(5)
    await begin(dut)
    rules = Rules(dut, "w", arch, [])
    write_slave(dut, "w", ddr, rng, 0.2)
    lines = [(0x4000_0000 + 128 * k, arch.burst_beats, 0) for k in range(6)]
    for given in (0, 1, arch.burst_beats - 1, arch.burst_beats, 2 * arch.burst_beats + 3):
        before = ddr.bytes.copy()
        feeding = cocotb.start_soon(commands(dut, "store", lines, pauses(rng, 0)))
        dut.store__data__valid.value = 0
        for k in range(given):
            dut.store__data__payload.value = (k + 1) * 0x0101_0101_0101_0101 | 0xFF << 64
            dut.store__data__valid.value = 1
            await RisingEdge(dut.clk)
            while not int(dut.store__data__ready.value):
                await RisingEdge(dut.clk)
        dut.store__data__valid.value = 0
        for _ in range(100):
            await RisingEdge(dut.clk)
        assert rules.outstanding and not int(dut.w_idle.value)
        # The client may offer anything now: it is too late.
        dut.store__data__payload.value = (1 << 72) - 1
        dut.store__data__valid.value = rng.randrange(2)
        dut.stop.value = 1
        await until(dut, lambda: int(dut.w_idle.value))
        assert not rules.outstanding
        feeding.cancel()
        for name in ("store__cmd__valid", "store__data__valid", "stop"):
            getattr(dut, name).value = 0
        beats = np.arange(1, given + 1, dtype=np.uint8).repeat(8)
        assert np.array_equal(ddr.bytes[: len(beats)], beats)
        assert np.array_equal(ddr.bytes[len(beats) :], before[len(beats) :])
        await reset(dut)


@pytest.mark.parametrize("arch", ["pynq-z2"])
def test_masters(arch: str) -> None:
    run(lambda: MastersBench(arch=preset(arch)), name="axi_masters", module="test_axi_masters",
        arch=arch)
