"""The serial bridge at its pins: a line of our own on one side, slow registers on the other."""

from __future__ import annotations

import random
import zlib
from typing import Any

import cocotb
import pytest
from amaranth import Module
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from axi_bench import PERIOD_NS, pauses, start
from bench import run, settings
from cocotb.queue import Queue
from cocotb.triggers import FallingEdge, SimTimeoutError, Timer, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteSlave

from falconet_hw.board.uart_bridge import UartBridge
from falconet_hw.bus import AxiLiteSignature

DIVISOR, GAP_BITS = 8, 200
BIT_PS = DIVISOR * PERIOD_NS * 1000
BASE, SIZE = 0x4000_0000, 4096
READ, WRITE, REPLY = 0xA5, 0xC3, 0x5A
SLVERR = 2


class BridgeBench(Component):
    def __init__(self) -> None:
        super().__init__({"rx": In(1), "tx": Out(1), "bus": In(AxiLiteSignature(32))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bridge = bridge = UartBridge(divisor=DIVISOR, gap_bits=GAP_BITS)
        connect(m, bridge.bus, flipped(self.bus))
        m.d.comb += [bridge.rx.eq(self.rx), self.tx.eq(bridge.tx)]
        return m


class Registers:
    """SIZE bytes at BASE; all else fails, and all is counted."""

    def __init__(self, content: bytes) -> None:
        self.bytes, self.reads, self.writes = bytearray(content), 0, 0

    def at(self, address: int, n: int) -> slice:
        if not BASE <= address <= BASE + SIZE - n:
            raise OSError(f"nothing at {address:#x}")
        return slice(address - BASE, address - BASE + n)

    async def read(self, address: int, n: int) -> bytes:
        self.reads += 1
        return bytes(self.bytes[self.at(address, n)])

    async def write(self, address: int, data: bytes) -> None:
        self.writes += 1
        self.bytes[self.at(address, len(data))] = data


class Line:
    """8N1 with a clock of its own, ``skew`` times as long a bit as the bridge's."""

    def __init__(self, dut: Any, skew: float = 1.0) -> None:
        self.dut, self.bit = dut, round(BIT_PS * skew)
        self.bytes: Queue[int] = Queue()
        cocotb.start_soon(self._listen())

    async def _listen(self) -> None:
        while True:
            await FallingEdge(self.dut.tx)
            await Timer(self.bit * 3 // 2, "ps")
            value = 0
            for i in range(8):
                value |= int(self.dut.tx.value) << i
                await Timer(self.bit, "ps")
            assert int(self.dut.tx.value) == 1, "no stop bit"
            self.bytes.put_nowait(value)

    async def send(self, data: bytes, stop: int = 1) -> None:
        for value in data:
            for bit in (0, *(value >> i & 1 for i in range(8)), stop):
                self.dut.rx.value = bit
                await Timer(self.bit, "ps")
            self.dut.rx.value = 1

    async def receive(self, count: int, patience: int) -> bytes:
        """So many bytes; fewer if none comes for so many bits."""
        data = b""
        while len(data) < count:
            try:
                data += bytes([await with_timeout(self.bytes.get(), patience * BIT_PS, "ps")])
            except SimTimeoutError:
                break
        return data

    async def exchange(
        self, request: bytes, words: int = 0, patience: int = 10_000,
    ) -> tuple[bytes, int] | None:
        """The words and the response of the reply, None if there is none."""
        await self.send(request)
        reply = await self.receive(7 + 4 * words, patience)
        if not reply:
            return None
        assert len(reply) == 7 + 4 * words and self.bytes.empty()
        assert zlib.crc32(reply[:-4]) == int.from_bytes(reply[-4:], "little")
        assert reply[:2] == bytes([REPLY, request[1]])
        return reply[2:-5], reply[-5]

    async def rest(self) -> None:
        await Timer((GAP_BITS + 10) * BIT_PS, "ps")


def frame(begin: int, tag: int, count: int, address: int, words: bytes = b"") -> bytes:
    head = bytes([begin, tag, count - 1]) + address.to_bytes(4, "little") + words
    return head + zlib.crc32(head).to_bytes(4, "little")


async def bench(dut: Any, rng: random.Random, skew: float = 1.0) -> tuple[Line, Registers]:
    dut.rx.value = 1
    await start(dut)
    registers = Registers(rng.randbytes(SIZE))
    slave = AxiLiteSlave(
        AxiLiteBus.from_prefix(dut, "bus_"), dut.clk, dut.rst, target=registers)
    for channel in (slave.write_if.aw_channel, slave.write_if.w_channel, slave.write_if.b_channel,
                    slave.read_if.ar_channel, slave.read_if.r_channel):
        channel.set_pause_generator(pauses(rng, 0.6))
    return Line(dut, skew), registers


@cocotb.test()
async def random_requests(dut: Any) -> None:
    """Reads and writes of 1 to 256 words on a slow bus, some beyond its end."""
    rng, case = random.Random(settings()["seed"]), settings()
    line, registers = await bench(dut, rng, case["skew"])
    expected = bytearray(registers.bytes)
    counts = [255, 256, *(rng.choice([1, 1, 2, rng.randint(3, 20)]) for _ in range(20))]
    for tag, count in enumerate(counts):
        at = 4 * rng.randrange(SIZE // 4 + 2)
        data = rng.randbytes(4 * count)
        beyond = at + 4 * count > SIZE
        if tag % 2:
            found = await line.exchange(frame(WRITE, tag, count, BASE + at, data))
            inside = data[: max(0, SIZE - at)]
            expected[at : at + len(inside)] = inside
            assert found == (b"", SLVERR if beyond else 0)
        else:
            found = await line.exchange(frame(READ, tag, count, BASE + at), count)
            assert found is not None and found[1] == (SLVERR if beyond else 0)
            inside = expected[at : at + 4 * count]
            assert found[0][: len(inside)] == inside
        assert registers.bytes == expected
        if rng.random() < 0.3:
            await Timer(rng.randrange(20 * BIT_PS), "ps")


@cocotb.test()
async def faults(dut: Any) -> None:
    """Lost, changed and extra bytes: no answer, nothing written; after a gap all is well."""
    rng = random.Random(settings()["seed"])
    line, registers = await bench(dut, rng)
    expected = bytes(registers.bytes)

    async def well(tag: int) -> None:
        at = 4 * rng.randrange(SIZE // 4)
        found = await line.exchange(frame(READ, tag, 1, BASE + at), 1)
        assert found == (expected[at : at + 4], 0)

    await well(0)
    for tag in range(1, 21):
        request = bytearray(frame(WRITE, tag, 3, BASE + 8, rng.randbytes(12)))
        at = rng.randrange(len(request))
        match tag % 4:
            case 0:
                del request[at]
            case 1:
                request[at] ^= 1 << rng.randrange(8)
            case 2:
                request.insert(at, rng.randrange(256))
                if at == 0:
                    request[0] = READ
            case 3:
                del request[at:]
        assert await line.exchange(bytes(request), patience=100) is None
        await line.rest()
        await well(tag)
        assert registers.bytes == expected and not registers.writes
    # What begins no request needs no gap.
    await line.send(bytes(b for b in range(256) if b not in (READ, WRITE)))
    await well(40)
    # A pulse too short for a start bit, a byte without its stop bit, a line that is held low.
    dut.rx.value = 0
    await Timer(BIT_PS // 4, "ps")
    dut.rx.value = 1
    await Timer(2 * BIT_PS, "ps")
    await well(41)
    await line.send(bytes([READ]), stop=0)
    await Timer(2 * BIT_PS, "ps")
    await well(42)
    dut.rx.value = 0
    await Timer(50 * BIT_PS, "ps")
    dut.rx.value = 1
    await Timer(2 * BIT_PS, "ps")
    await well(43)


@cocotb.test()
async def repeats(dut: Any) -> None:
    """A write that is sent again is answered again and done once; a read is done each time."""
    rng = random.Random(settings()["seed"])
    line, registers = await bench(dut, rng)
    first, second = rng.randbytes(8), rng.randbytes(8)
    # The very first request is done, whatever its tag.
    assert await line.exchange(frame(WRITE, 0, 2, BASE, first)) == (b"", 0)
    assert registers.writes == 2
    for _ in range(2):
        assert await line.exchange(frame(READ, 7, 2, BASE), 2) == (first, 0)
    assert registers.reads == 4
    for _ in range(3):
        assert await line.exchange(frame(WRITE, 8, 2, BASE, second)) == (b"", 0)
        assert registers.writes == 4 and registers.bytes[:8] == second
    beyond = frame(WRITE, 9, 2, BASE + SIZE - 4, first)
    for _ in range(2):
        assert await line.exchange(beyond) == (b"", SLVERR)
        assert registers.writes == 6
    assert await line.exchange(frame(WRITE, 8, 2, BASE, first)) == (b"", 0)
    assert registers.bytes[:8] == first


@pytest.mark.parametrize("skew", [0.97, 1.03])
def test_random_requests(skew: float) -> None:
    run(BridgeBench, "uart", __file__, testcase="random_requests", seed=int(100 * skew),
        skew=skew)


@pytest.mark.parametrize("testcase", ["faults", "repeats"])
def test_bridge(testcase: str) -> None:
    run(BridgeBench, "uart", __file__, testcase=testcase, seed=2)
