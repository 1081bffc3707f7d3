"""Memory on the chip: cocotbext's masters on all three sides at once."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import pytest
from amaranth import Module
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from axi_bench import Axi4Signature, pauses, start
from bench import run, settings
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiMasterRead,
    AxiMasterWrite,
    AxiReadBus,
    AxiResp,
    AxiWriteBus,
)

from falconet_hw.board.memory import OnChipMemory
from falconet_hw.bus import Axi3ReadSignature, Axi3WriteSignature, AxiLiteSignature

BASE, SIZE = 0x1000_0000, 1 << 12
PORTS = {"m0r": Axi3ReadSignature, "m1r": Axi3ReadSignature, "m0w": Axi3WriteSignature}


class MemoryBench(Component):
    """The memory with lengths of 8 bits, as cocotbext's masters have them."""

    def __init__(self) -> None:
        super().__init__({
            **{name: In(Axi4Signature(axi3())) for name, axi3 in PORTS.items()},
            "host": Out(AxiLiteSignature(32)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = OnChipMemory(base=BASE, nbytes=SIZE)
        connect(m, memory.host, flipped(self.host))
        for name, slave in (
            ("m0r", memory.m0.read), ("m0w", memory.m0.write), ("m1r", memory.m1.read),
        ):
            port = getattr(self, name)
            for n, member in PORTS[name]().members.items():
                theirs, ours = getattr(port, n), getattr(slave, n)
                m.d.comb += ours.eq(theirs) if member.flow is Out else theirs.eq(ours)
        return m


def masters(dut: Any, rng: random.Random, share: float) -> tuple[Any, Any, Any, Any]:
    """Writer and reader of m0, reader of m1, host."""
    m0w = AxiMasterWrite(
        AxiWriteBus.from_prefix(dut, "m0w_"), dut.clk, dut.rst, max_burst_len=16)
    m0r, m1r = (
        AxiMasterRead(AxiReadBus.from_prefix(dut, f"{n}_"), dut.clk, dut.rst, max_burst_len=16)
        for n in ("m0r", "m1r")
    )
    host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "host_"), dut.clk, dut.rst)
    for side in (m0w, m0r, m1r, host.write_if, host.read_if):
        for name in ("aw", "w", "b", "ar", "r"):
            channel = getattr(side, f"{name}_channel", None)
            if channel is not None:
                channel.set_pause_generator(pauses(rng, share))
    return m0w, m0r, m1r, host


@cocotb.test()
async def everybody_at_once(dut: Any) -> None:
    """Two writers, each on every second 64 bytes, and three readers of what is not written now."""
    rng, case = random.Random(settings()["seed"]), settings()
    await start(dut)
    m0w, m0r, m1r, host = masters(dut, rng, case["share"])
    expected = bytearray(rng.randbytes(SIZE))
    await with_timeout(m0w.write(BASE, bytes(expected)), 1, "ms")
    busy: set[int] = set()  # pieces of 64 bytes that are being written

    async def write(master: Any, parity: int) -> None:
        for _ in range(case["writes"]):
            piece = 2 * rng.randrange(SIZE // 128) + parity
            at = 64 * piece + rng.randrange(48)
            data = rng.randbytes(rng.randint(1, 64 * (piece + 1) - at))
            busy.add(piece)
            done = await with_timeout(master.write(BASE + at, data), 100, "us")
            assert done.resp == AxiResp.OKAY
            expected[at : at + len(data)] = data
            busy.remove(piece)

    async def read(master: Any) -> None:
        for _ in range(case["writes"]):
            at = rng.randrange(SIZE)
            length = rng.randint(1, min(SIZE - at, 200))
            before = bytes(expected[at : at + length])
            touched = set(busy)
            found = await with_timeout(master.read(BASE + at, length), 100, "us")
            assert found.resp == AxiResp.OKAY
            after = bytes(expected[at : at + length])
            touched |= busy
            for i, value in enumerate(bytes(found.data)):
                if (at + i) // 64 not in touched:
                    assert value in (before[i], after[i]), hex(at + i)

    tasks = [cocotb.start_soon(write(m0w, 0)), cocotb.start_soon(write(host, 1))]
    tasks += [cocotb.start_soon(read(master)) for master in (m0r, m1r, host)]
    for task in tasks:
        await task
    for master in (m0r, m1r, host):
        found = await with_timeout(master.read(BASE, SIZE), 1, "ms")
        assert bytes(found.data) == expected


@cocotb.test()
async def outside(dut: Any) -> None:
    """DECERR on every side, and nothing is written."""
    rng = random.Random(settings()["seed"])
    await start(dut)
    m0w, m0r, m1r, host = masters(dut, rng, 0.3)
    content = rng.randbytes(SIZE)
    await with_timeout(m0w.write(BASE, content), 1, "ms")
    for address in (BASE - 128, BASE + SIZE, BASE + 2 * SIZE, 0, BASE | 1 << 31):
        for writer in (m0w, host):
            done = await with_timeout(writer.write(address, bytes(128)), 50, "us")
            assert done.resp == AxiResp.DECERR
        for reader in (m0r, m1r, host):
            found = await with_timeout(reader.read(address, 128), 50, "us")
            assert found.resp == AxiResp.DECERR
    found = await with_timeout(m1r.read(BASE, SIZE), 1, "ms")
    assert found.resp == AxiResp.OKAY and bytes(found.data) == content


@cocotb.test()
async def throughput(dut: Any) -> None:
    """A beat each cycle, the first three after its address; m0 and m1 take turns."""
    await start(dut)
    for port in ("m0r", "m1r"):
        getattr(dut, f"{port}__araddr").value = BASE
        getattr(dut, f"{port}__arlen").value = 15
        getattr(dut, f"{port}__rready").value = 1
    dut.m0w__awvalid.value = dut.m0w__wvalid.value = dut.host__arvalid.value = 0
    await ClockCycles(dut.clk, 4)
    dut.m0r__arvalid.value = dut.m1r__arvalid.value = 1
    beats = {"m0r": [], "m1r": []}
    taken = None
    for cycle in range(200):
        await RisingEdge(dut.clk)
        if taken is None and (int(dut.m0r__arready.value) or int(dut.m1r__arready.value)):
            taken = cycle
        for port, seen in beats.items():
            if int(getattr(dut, f"{port}__rvalid").value):
                seen.append(cycle)
    both = sorted(beats["m0r"] + beats["m1r"])
    assert both[0] - taken == 3
    assert both == list(range(both[0], 200))
    assert abs(len(beats["m0r"]) - len(beats["m1r"])) <= 16


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_everybody_at_once(share: float) -> None:
    run(MemoryBench, "memory", __file__, testcase="everybody_at_once", seed=5, share=share,
        writes=40)


@pytest.mark.parametrize("testcase", ["outside", "throughput"])
def test_memory(testcase: str) -> None:
    run(MemoryBench, "memory", __file__, testcase=testcase, seed=6)
