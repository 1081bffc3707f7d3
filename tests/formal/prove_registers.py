"""The slave answers every access once, and registers change by writes alone."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Const, Module, Signal
from amaranth.hdl import Assert
from amaranth.lib.wiring import Component, In

from falconet.isa import ISA_VERSION, MAGIC, REGISTERS, preset, register
from falconet_hw.control import registers
from formal.inside import Inside
from formal.proof import Mutant, Proof
from formal.streams import assert_steady, before

__all__ = ["PROOFS", "RegistersProof"]

_ARCH = preset("tiny")
_IDENTITY = {"ID": MAGIC, "ISA_VERSION": ISA_VERSION, "ARCH_HASH": _ARCH.hash}
_EXISTS = {"IRQ_ENABLE": 0x1, "PROGRAM_OFFSET": 0xFFFFFFF8, "PROGRAM_LENGTH": 0xFFFFFFFF} | {
    r.name: 0xFFFFF000 if r.name.endswith("_BASE") else 0xFFFFFF80
    for r in REGISTERS if r.name.endswith(("_BASE", "_SIZE"))
}
"""By name: the bits of each register that software can write, as docs/registers.md has them."""


class RegistersProof(Component):
    """A word of address and one of data make one write and one response; a read gives one word.

    Members
    -------
    aw, w, ar : In
        Offers of the master; ``ready`` of its answers beside them.
    values : In(32).array(n)
        What the read-only registers are.
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        super().__init__({
            "awvalid": In(1), "awaddr": In(8), "wvalid": In(1), "wdata": In(32), "wstrb": In(4),
            "bready": In(1), "arvalid": In(1), "araddr": In(8), "rready": In(1),
            "values": In(32).array(len(dut.watched)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut, bus = self.dut, self.dut.axil
        inside = Inside(dut)
        m.submodules.dut = inside.module
        m.d.comb += [
            getattr(bus, n).eq(getattr(self, n)) for n in (
                "awvalid", "awaddr", "wvalid", "wdata", "wstrb", "bready", "arvalid", "araddr",
                "rready")
        ]
        watched = {r.name: v for r, v in zip(dut.watched, self.values)}
        m.d.comb += [getattr(dut, name.lower()).eq(v) for name, v in watched.items()]
        addr, read_addr = inside.signals("addr")

        # Writes: addresses and data that have been taken, less the responses.
        word, strobes, at = Signal(32), Signal(4), Signal(8)
        n_aw, n_w = Signal(2), Signal(2)
        take_aw, take_w = self.awvalid & bus.awready, self.wvalid & bus.wready
        told = bus.bvalid & self.bready
        m.d.sync += [n_aw.eq(n_aw + take_aw - told), n_w.eq(n_w + take_w - told)]
        with m.If(take_aw):
            m.d.sync += at.eq(self.awaddr)
        with m.If(take_w):
            m.d.sync += [word.eq(self.wdata), strobes.eq(self.wstrb)]
        both = (n_aw != 0) & (n_w != 0)
        write = both & ~bus.bvalid
        assert_steady(m, bus.bvalid, self.bready, bus.bresp, "b")
        m.d.comb += [
            Assert(~bus.bvalid | both), Assert(~before(m, both & ~told, "both") | bus.bvalid),
            Assert(bus.awready == (n_aw == bus.bvalid)), Assert(bus.wready == (n_w == bus.bvalid)),
            Assert(bus.bresp == 0), Assert((n_aw <= 1 + bus.bvalid) & (n_w <= 1 + bus.bvalid)),
            # For the induction.
            Assert(bus.awready | (addr == at[2:])),
            Assert(bus.wready | (Cat(inside.signal("word"), inside.signal("strobes"))
                                 == Cat(word, strobes))),
        ]

        # What a write changes.
        reads: dict[int, Any] = {}
        written = Cat(s.replicate(8) for s in strobes)
        for r in REGISTERS:
            if r.name in _EXISTS:
                value = Signal(32, name=f"expected_{r.name}")
                mask = written & _EXISTS[r.name]
                with m.If(write & (at[2:] == r.offset // 4)):
                    m.d.sync += value.eq((word & mask) | (value & ~mask))
                m.d.comb += Assert(getattr(dut, r.name.lower()) == value)
                reads[r.offset // 4] = value
            elif r.name in watched:
                reads[r.offset // 4] = watched[r.name]
            else:
                reads[r.offset // 4] = Const(_IDENTITY.get(r.name, 0), 32)
        control = write & (at[2:] == register("CONTROL").offset // 4) & strobes[0]
        m.d.comb += [
            Assert(dut.start == before(m, control & (word[:2] == 1), "start")),
            Assert(dut.reset == before(m, control & word[1], "reset")),
            Assert(dut.irq == before(
                m, dut.irq_enable[0] & (dut.status[1] | dut.status[2]), "interrupt")),
        ]

        # Reads.
        asked, wanted = Signal(), Signal(6)
        take_ar = self.arvalid & bus.arready
        m.d.sync += asked.eq(take_ar)
        with m.If(take_ar):
            m.d.sync += wanted.eq(self.araddr[2:])
        words = Array(reads.get(i, Const(0, 32)) for i in range(64))
        assert_steady(m, bus.rvalid, self.rready, Cat(bus.rdata, bus.rresp), "r")
        m.d.comb += [
            Assert(bus.rvalid == before(m, asked | (bus.rvalid & ~self.rready), "owed")),
            Assert(~before(m, asked, "asked") | (bus.rdata == before(m, words[wanted], "word"))),
            Assert(bus.arready == ~(asked | bus.rvalid)), Assert(bus.rresp == 0),
            Assert(~(asked & bus.rvalid)),
            # For the induction.
            Assert(inside.signals("have_addr")[1] == asked),
            Assert(~asked | (read_addr == wanted)),
        ]
        return m


PROOFS = [
    Proof(
        "registers", registers, "`registers.Registers`",
        "an address and a word of data make one write, as its strobes say, and one response, at "
        "most a cycle later; nothing else changes a register; a read is answered in the cycle "
        "after, with what the register was; answers stay until taken; START and RESET last a cycle",
        "the machine's", "nothing",
        lambda module: RegistersProof(module.Registers(arch=_ARCH)), 8, 1,
        {
            "a write without its data": Mutant("write.eq(have_addr", " & have_data", ""),
            "a write over a response": Mutant("write.eq(have_addr", " & ~bus.bvalid", ""),
            "a second address over the first": Mutant("bus.awready.eq(", "~have_addr", "1"),
            "a response that is not awaited":
                Mutant("with m.If(bus.bready)", "bus.bready", "1"),
            "an answer that is not awaited":
                Mutant("with m.If(bus.rready)", "bus.rready", "1"),
            "strobes ignored": Mutant("with m.If(hit & strobes", " & strobes[byte]", ""),
            "strobes of byte 0": Mutant("with m.If(hit & strobes", "[byte]", "[0]"),
            "START without its strobe":
                Mutant('with m.If(write & (addr == register("CONTROL")', " & strobes[0]", ""),
            "START beside RESET":
                Mutant("self.start.eq(control", "== Control.START", "[0]"),
            "a BASE of 256 bytes": Mutant("exact_log2(SEGMENT_PAGE)", "SEGMENT_PAGE", "256"),
            "a read while one is answered":
                Mutant("bus.arready.eq(~have_addr", " & ~bus.rvalid", ""),
            "another register read":
                Mutant("addr.eq(bus.araddr", "bus.araddr[2:]", "bus.araddr[2:] ^ 1"),
            "the interrupt while BUSY":
                Mutant("self.irq_enable[0] &", "Status.DONE", "Status.BUSY"),
        },
    ),
]
