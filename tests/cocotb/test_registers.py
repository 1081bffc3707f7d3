"""The AXI-Lite registers under random pauses on every channel."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import pytest
from axi_bench import pauses, start
from bench import run, settings
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from falconet.isa import ISA_VERSION, MAGIC, REGISTERS, Control, Register, Status, preset, register
from falconet_hw.control.registers import Registers

ARCH = preset("tiny")
IDENTITY = {"ID": MAGIC, "ISA_VERSION": ISA_VERSION, "ARCH_HASH": ARCH.hash}
STORED = [r for r in REGISTERS if r.access == "rw" and r.name != "CONTROL"]
WATCHED = [r for r in REGISTERS if r.access == "ro" and r.name not in IDENTITY]


def mask(r: Register) -> int:
    """The bits that the documentation gives a meaning to."""
    if r.name == "IRQ_ENABLE":
        return 1
    if r.name == "PROGRAM_OFFSET":
        return 0xFFFF_FFF8
    return {"BASE": -4096, "SIZE": -128}.get(r.name.split("_")[-1], -1) & 0xFFFF_FFFF


async def master(dut: Any, rng: random.Random, share: float) -> AxiLiteMaster:
    axi = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "axil_"), dut.clk, dut.rst)
    for channel in (axi.write_if.aw_channel, axi.write_if.w_channel, axi.write_if.b_channel,
                    axi.read_if.ar_channel, axi.read_if.r_channel):
        channel.set_pause_generator(pauses(rng, share))
    await start(dut, **{r.name.lower(): 0 for r in WATCHED})
    await ClockCycles(dut.clk, 2)
    return axi


async def read(axi: AxiLiteMaster, offset: int) -> int:
    answer = await axi.read(offset, 4)
    assert answer.resp == AxiResp.OKAY
    return int.from_bytes(answer.data, "little")


@cocotb.test()
async def reads_and_writes(dut: Any) -> None:
    """Random accesses with random strobes against a dictionary."""
    rng = random.Random(settings()["seed"])
    axi = await master(dut, rng, settings()["share"])
    values = {r.name: 0 for r in STORED}
    for name, value in IDENTITY.items():
        assert await read(axi, register(name).offset) == value
    for _ in range(250):
        r = rng.choice(REGISTERS)
        kind = rng.random()
        if kind < 0.5:
            if r in WATCHED:
                values[r.name] = rng.getrandbits(32)
                getattr(dut, r.name.lower()).value = values[r.name]
            expected = IDENTITY.get(r.name, values.get(r.name, 0))
            assert await read(axi, r.offset) == expected, r.name
        elif kind < 0.9 and r.name != "CONTROL":
            first = rng.randrange(4)
            data = rng.randbytes(rng.randint(1, 4 - first))
            answer = await axi.write(r.offset + first, data)
            assert answer.resp == AxiResp.OKAY
            if r in STORED:
                old = bytearray(values[r.name].to_bytes(4, "little"))
                old[first : first + len(data)] = data
                values[r.name] = int.from_bytes(old, "little") & mask(r)
        else:
            offset = 4 * rng.randrange(len(REGISTERS), 64)
            await axi.write(offset, rng.randbytes(4))
            assert await read(axi, offset) == 0
        for s in STORED:
            assert int(getattr(dut, s.name.lower()).value) == values[s.name]


@cocotb.test()
async def address_and_data_apart(dut: Any) -> None:
    """Either of address and data may come long before the other."""
    rng = random.Random(settings()["seed"])
    axi = await master(dut, rng, 0.0)
    offset = register("PROGRAM_LENGTH").offset
    channels = axi.write_if.aw_channel, axi.write_if.w_channel
    for channel in channels:
        channel.clear_pause_generator()
    for late in (*channels, *channels):
        value = rng.getrandbits(32)
        late.pause = True
        write = cocotb.start_soon(axi.write(offset, value.to_bytes(4, "little")))
        await ClockCycles(dut.clk, 20)
        assert int(dut.program_length.value) != value and not write.done()
        late.pause = False
        await write
        assert int(dut.program_length.value) == value


@cocotb.test()
async def pulses_and_interrupt(dut: Any) -> None:
    rng = random.Random(settings()["seed"])
    axi = await master(dut, rng, settings()["share"])
    seen = {"start": 0, "reset": 0}

    async def watch() -> None:
        while True:
            await RisingEdge(dut.clk)
            for name in seen:
                seen[name] += int(getattr(dut, name).value)

    cocotb.start_soon(watch())
    control = register("CONTROL").offset
    for value, first, expected in (
        (Control.START, 0, (1, 0)), (Control.RESET, 0, (0, 1)), (3, 0, (0, 1)), (0, 0, (0, 0)),
        (Control.START, 1, (0, 0)), (0xFC, 0, (0, 0)),
    ):
        seen.update(start=0, reset=0)
        await axi.write(control + first, bytes([value]))
        await ClockCycles(dut.clk, 5)
        assert (seen["start"], seen["reset"]) == expected
        assert await read(axi, control) == 0
    for enable in (0, 1):
        await axi.write(register("IRQ_ENABLE").offset, bytes([enable]))
        for status in range(8):
            dut.status.value = status
            await ClockCycles(dut.clk, 3)
            asked = bool(status & (Status.DONE | Status.ERROR))
            assert int(dut.irq.value) == (enable and asked)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_registers(share: float) -> None:
    run(lambda: Registers(arch=ARCH), "registers", __file__, seed=3, share=share)
