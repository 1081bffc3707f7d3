"""Bursts of a processor on registers: cocotbext's master on one side, its memory on the other."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import pytest
from amaranth import Module
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from axi_bench import pauses, start
from bench import run, settings
from cocotb.triggers import with_timeout
from cocotbext.axi import (
    AxiBurstType,
    AxiBus,
    AxiLiteBus,
    AxiLiteRam,
    AxiMaster,
)

from falconet_hw.board.axi_lite import AxiSignature, AxiToLite
from falconet_hw.bus import AxiLiteSignature

SIZE = 256  # bytes behind the bridge
PORTS = {"gp0": (12, 4), "hpm0": (16, 8)}  # bits of an ID and of a length


class BridgeBench(Component):
    """The bridge with lengths of 8 bits, as cocotbext's master has them."""

    def __init__(self, id_width: int, len_width: int) -> None:
        self.widths = {"id_width": id_width, "len_width": len_width}
        super().__init__({
            "axi": Out(AxiSignature(id_width=id_width, len_width=8)),
            "lite": In(AxiLiteSignature()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bridge = bridge = AxiToLite(**self.widths)
        connect(m, bridge.lite, flipped(self.lite))
        for name, member in self.axi.signature.members.items():
            ours, theirs = getattr(bridge.axi, name), getattr(self.axi, name)
            m.d.comb += ours.eq(theirs) if member.flow is In else theirs.eq(ours)
        return m


@cocotb.test()
async def random_bursts(dut: Any) -> None:
    """Writes and reads at any address, of any length and size, both ways at once, with pauses."""
    rng, case = random.Random(settings()["seed"]), settings()
    id_bits, len_bits = PORTS[case["port"]]
    await start(dut)
    master = AxiMaster(AxiBus.from_prefix(dut, "axi_"), dut.clk, dut.rst,
                       max_burst_len=1 << len_bits)
    ram = AxiLiteRam(AxiLiteBus.from_prefix(dut, "lite_"), dut.clk, dut.rst, size=SIZE)
    share = case["share"]
    for side in (master.write_if, master.read_if, ram.write_if, ram.read_if):
        for name in ("aw", "w", "b", "ar", "r"):
            channel = getattr(side, f"{name}_channel", None)
            if channel is not None:
                channel.set_pause_generator(pauses(rng, share))
    expected = bytearray(rng.randbytes(SIZE))
    await with_timeout(master.write(0, bytes(expected)), 200, "us")
    for _ in range(case["bursts"]):
        at = rng.randrange(SIZE)
        data = rng.randbytes(rng.randint(1, min(SIZE - at, 80)))
        options = {"size": rng.randrange(3), "awid": rng.randrange(1 << id_bits)}
        done = await with_timeout(master.write(at, data, **options), 200, "us")
        assert int(done.resp) == 0
        expected[at : at + len(data)] = data
        at = rng.randrange(SIZE)
        length = rng.randint(1, min(SIZE - at, 80))
        # A read of what no write touches runs beside the next write.
        found = await with_timeout(
            master.read(at, length, size=rng.randrange(3), arid=rng.randrange(1 << id_bits)),
            200, "us")
        assert bytes(found.data) == expected[at : at + length]
    both = [(4 * i, rng.randbytes(4)) for i in range(16)]
    tasks = [cocotb.start_soon(master.write(at, data)) for at, data in both]
    reads = [cocotb.start_soon(master.read(128 + 8 * i, 8)) for i in range(16)]
    for task in tasks:
        await with_timeout(task, 200, "us")
    for i, task in enumerate(reads):
        found = await with_timeout(task, 200, "us")
        assert bytes(found.data) == expected[128 + 8 * i : 136 + 8 * i]
    for at, data in both:
        expected[at : at + 4] = data
    assert ram.read(0, SIZE) == expected


@cocotb.test()
async def fixed_and_wrapping(dut: Any) -> None:
    """A FIXED burst stays at its address; a WRAP goes round within its own length."""
    await start(dut)
    master = AxiMaster(AxiBus.from_prefix(dut, "axi_"), dut.clk, dut.rst)
    ram = AxiLiteRam(AxiLiteBus.from_prefix(dut, "lite_"), dut.clk, dut.rst, size=SIZE)
    ram.write(0, bytes(range(SIZE)))
    found = await with_timeout(master.read(0x40, 16, burst=AxiBurstType.FIXED), 20, "us")
    assert bytes(found.data) == bytes([0x40, 0x41, 0x42, 0x43] * 4)
    await with_timeout(
        master.write(0x80, bytes(range(100, 112)), burst=AxiBurstType.FIXED), 20, "us")
    assert ram.read(0x80, 8) == bytes([108, 109, 110, 111, 0x84, 0x85, 0x86, 0x87])
    found = await with_timeout(master.read(0x28, 16, burst=AxiBurstType.WRAP), 20, "us")
    assert bytes(found.data) == bytes([*range(0x28, 0x30), *range(0x20, 0x28)])


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("port", sorted(PORTS))
def test_random_bursts(port: str, share: float) -> None:
    run(lambda: BridgeBench(*PORTS[port]), f"axi_lite_{port}", __file__,
        testcase="random_bursts", seed=3, port=port, share=share, bursts=100)


def test_fixed_and_wrapping() -> None:
    run(lambda: BridgeBench(*PORTS["gp0"]), "axi_lite_gp0", __file__, testcase="fixed_and_wrapping")
