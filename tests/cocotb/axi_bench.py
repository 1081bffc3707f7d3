"""What the benches of the DMA share: AXI3 ports for AXI4 models, rules, slaves, DDR."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
from amaranth import Module
from amaranth.lib.wiring import Out, Signature
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiReadBus, AxiSlaveRead, AxiSlaveWrite, AxiWriteBus

from falconet.isa import Arch
from falconet_hw.dma.axi import ErrorLayout, SegmentsLayout

# --------------------------------------------------------------------------- ports of the top


class Axi4Signature(Signature):
    """An AXI3 master's signature, but with the length of a burst as wide as in AXI4."""

    def __init__(self, axi3: Signature) -> None:
        super().__init__({
            name: Out(8) if name in ("arlen", "awlen") else member
            for name, member in axi3.members.items()
        })


def widen(m: Module, axi3: Any, axi4: Any) -> None:
    """Wire the AXI3 master ``axi3`` (a submodule's) to ``axi4`` (the top's)."""
    for name, member in axi3.signature.members.items():
        a, b = getattr(axi3, name), getattr(axi4, name)
        m.d.comb += b.eq(a) if member.flow is Out else a.eq(b)


def pack_segments(segments: list[tuple[int, int]]) -> int:
    """The value of the port ``segments``."""
    return SegmentsLayout().const([{"base": b, "size": s} for b, s in segments]).as_value().value


def unpack_error(value: int) -> tuple[int, int] | None:
    """Code and address of a port with an ErrorLayout, or None."""
    error = ErrorLayout().from_bits(value)
    return (error["code"], error["address"]) if error["valid"] else None


# --------------------------------------------------------------------------- clock, pauses, DDR

PERIOD_NS = 10


async def start(dut: Any, **values: int) -> None:
    """Clock, inputs to 0 or ``values``, and a reset of three cycles."""
    cocotb.start_soon(Clock(dut.clk, PERIOD_NS, unit="ns").start())
    for name, value in values.items():
        getattr(dut, name).value = value
    await reset(dut)


async def reset(dut: Any) -> None:
    dut.rst.value = 1
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


def pauses(rng: random.Random, share: float) -> Iterator[bool]:
    """Pauses of random length that take about ``share`` of the time."""
    while True:
        paused = rng.random() < share
        yield from [paused] * rng.choice([1, 1, 1, 2, 5, 30])


class Ddr:
    """1 MiB of random bytes that repeats over the whole address space; remembers its writes.

    Reading or writing at a byte of ``faults`` fails.
    """

    def __init__(self, seed: int) -> None:
        self.bytes = np.random.default_rng(seed).integers(0, 256, 1 << 20, np.uint8)
        self.faults: set[int] = set()

    def at(self, address: int, n: int) -> bytes:
        return self.bytes[np.arange(address, address + n) & 0xFFFFF].tobytes()

    def check(self, address: int, n: int) -> None:
        if self.faults & set(range(address, address + n)):
            raise OSError(f"fault at {address:#x}")

    async def read(self, address: int, n: int) -> bytes:
        self.check(address, n)
        return self.at(address, n)

    async def write(self, address: int, data: bytes) -> None:
        self.check(address, len(data))
        at = np.arange(address, address + len(data)) & 0xFFFFF
        self.bytes[at] = np.frombuffer(data, np.uint8)


def read_slave(dut: Any, prefix: str, ddr: Ddr, rng: random.Random, share: float) -> AxiSlaveRead:
    slave = AxiSlaveRead(AxiReadBus.from_prefix(dut, f"{prefix}_"), dut.clk, dut.rst, target=ddr)
    for channel in (slave.ar_channel, slave.r_channel):
        channel.set_pause_generator(pauses(rng, share))
    return slave


def write_slave(dut: Any, prefix: str, ddr: Ddr, rng: random.Random, share: float) -> AxiSlaveWrite:
    bus = AxiWriteBus.from_prefix(dut, f"{prefix}_")
    slave = AxiSlaveWrite(bus, dut.clk, dut.rst, target=ddr)
    for channel in (slave.aw_channel, slave.w_channel, slave.b_channel):
        channel.set_pause_generator(pauses(rng, share))
    return slave


async def latent_read_slave(dut: Any, prefix: str, ddr: Ddr, latency: int) -> None:
    """A read slave as a DDR controller is: 8 bursts outstanding, one beat a cycle after a while.

    SLVERR at the faults of ``ddr``.
    """
    def s(name: str) -> Any:
        return getattr(dut, f"{prefix}__{name}")

    bursts: deque[tuple[int, int, int]] = deque()
    cycle, beat = 0, 0
    s("arready").value = 0
    s("rvalid").value = 0
    accepting = False
    while True:
        await RisingEdge(dut.clk)
        cycle += 1
        if int(dut.rst.value):
            bursts.clear()
            beat, accepting = 0, False
            s("arready").value = 0
            s("rvalid").value = 0
            continue
        if accepting and int(s("arvalid").value):
            bursts.append((int(s("araddr").value), int(s("arlen").value), cycle + latency))
        accepting = len(bursts) < 8
        s("arready").value = accepting
        if int(s("rvalid").value):
            assert int(s("rready").value)
        due = bool(bursts) and bursts[0][2] <= cycle
        s("rvalid").value = due
        if due:
            address, length, _ = bursts[0]
            at = address + 8 * beat
            s("rdata").value = int.from_bytes(ddr.at(at, 8), "little")
            s("rresp").value = 2 * (at in ddr.faults)
            s("rlast").value = beat == length
            beat += 1
            if beat > length:
                bursts.popleft()
                beat = 0


# --------------------------------------------------------------------------- rules


class Rules:
    """Watches one master and asserts AXI's rules, and what Falconet promises beyond them.

    Valid stays and its payload does not change until ready; bursts are INCR, of at most
    ``burst_beats`` whole beats, cross no multiple of ``8 * burst_beats`` bytes (so no 4 KiB), and
    lie in ``segments`` if these are given; write data never comes before its address and
    ``wlast`` marks its last beat. ``bursts`` lists the (address, beats) raised; ``outstanding``
    counts those not yet answered, and the most of them was ``most``.
    """

    def __init__(self, dut: Any, prefix: str, arch: Arch, segments: list[tuple[int, int]]) -> None:
        self.dut, self.prefix, self.arch, self.segments = dut, prefix, arch, segments
        self.bursts: list[tuple[int, int]] = []
        self.outstanding = self.most = 0
        self.task = cocotb.start_soon(self._run())

    def _get(self, name: str) -> int:
        return int(getattr(self.dut, f"{self.prefix}__{name}").value)

    async def _run(self) -> None:
        write = hasattr(self.dut, f"{self.prefix}__awvalid")
        a = "aw" if write else "ar"
        channels = {a: ["addr", "len", "size", "burst", "id", "cache", "prot"]}
        if write:
            channels["w"] = ["data", "strb", "last", "id"]
        waiting: dict[str, tuple[int, ...]] = {}
        raised: deque[int] = deque()
        announced, sent = False, 0
        while True:
            await RisingEdge(self.dut.clk)
            if int(self.dut.rst.value):
                waiting.clear()
                raised.clear()
                announced, sent, self.outstanding = False, 0, 0
                continue
            for channel, names in channels.items():
                now = tuple(self._get(channel + n) for n in names)
                valid, ready = self._get(f"{channel}valid"), self._get(f"{channel}ready")
                if channel in waiting:
                    assert valid and now == waiting.pop(channel), f"{channel} changed"
                if valid and not ready:
                    waiting[channel] = now
                if channel != "w":
                    if valid and not announced:
                        self._check(*now[:5])
                        raised.append(now[1] + 1)
                        self.outstanding += 1
                        self.most = max(self.most, self.outstanding)
                    announced = bool(valid and not ready)
                elif valid:
                    assert raised, "data before its address"
                    assert now[2] == (sent + 1 == raised[0]), "wlast"
                    assert now[3] == self._get("awid")
                    if ready:
                        sent += 1
                        if now[2]:
                            raised.popleft()
                            sent = 0
            if write:
                self.outstanding -= self._get("bvalid") & self._get("bready")
            else:
                assert self._get("rready")
                self.outstanding -= self._get("rvalid") & self._get("rlast")

    def _check(self, address: int, length: int, size: int, burst: int, _id: int) -> None:
        end = address + 8 * (length + 1)
        line = 8 * self.arch.burst_beats
        assert (size, burst) == (3, 1) and address % 8 == 0
        assert length < self.arch.burst_beats and address // line == (end - 1) // line
        if self.segments:
            assert any(b <= address and end <= b + s for b, s in self.segments), hex(address)
        self.bursts.append((address, length + 1))
