"""The AXI-Lite slave: all registers of falconet.isa.REGISTERS."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Signal
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from falconet.isa import (
    ISA_VERSION,
    MAGIC,
    REGISTERS,
    SEGMENT_GRAIN,
    SEGMENT_PAGE,
    Arch,
    Control,
    Register,
    Status,
    register,
)
from falconet_hw.bus import AxiLiteSignature

__all__ = ["Registers"]


def _stored_bits(r: Register) -> slice:
    """The bits of a writable register that exist; the others read as 0."""
    if r.name == "IRQ_ENABLE":
        return slice(0, 1)
    if r.name.endswith("_BASE"):
        return slice(exact_log2(SEGMENT_PAGE), 32)
    if r.name.endswith("_SIZE"):
        return slice(exact_log2(SEGMENT_GRAIN), 32)
    if r.name == "PROGRAM_OFFSET":
        return slice(exact_log2(Arch.DATA_BYTES), 32)
    return slice(0, 32)


class Registers(Component):
    """Registers on AXI-Lite: one access each way at a time, all answered with OKAY.

    Address and data of a write may come in any order and at any distance. Byte strobes are
    honoured; CONTROL looks at byte 0. An offset without a register reads as 0 and a write to it,
    or to a read-only register, is lost. Low bits that have no meaning do not exist: those below a
    SEGMENT_PAGE of a BASE, a SEGMENT_GRAIN of a SIZE, a beat of PROGRAM_OFFSET. If START and RESET
    are written together, RESET wins.

    Parameters
    ----------
    arch: Arch
        Gives ARCH_HASH.

    Members
    -------
    axil: Out(AxiLiteSignature())
    start, reset: Out(1)
        One cycle for each write of a 1 to that bit of CONTROL.
    irq: Out(1)
        DONE or ERROR is set in ``status`` and the interrupt is enabled.
    <name>: Out(32)
        Each other writable register, in lower case.
    <name>: In(32)
        What each read-only register but the identity reads as.
    """

    def __init__(self, *, arch: Arch) -> None:
        self.identity = {"ID": MAGIC, "ISA_VERSION": ISA_VERSION, "ARCH_HASH": arch.hash}
        self.stored = [r for r in REGISTERS if r.access == "rw" and r.name != "CONTROL"]
        self.watched = [
            r for r in REGISTERS if r.access == "ro" and r.name not in self.identity
        ]
        super().__init__({
            "axil": Out(AxiLiteSignature()),
            "start": Out(1),
            "reset": Out(1),
            "irq": Out(1),
            **{r.name.lower(): Out(32) for r in self.stored},
            **{r.name.lower(): In(32) for r in self.watched},
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._write_side(m)
        self._read_side(m)
        m.d.sync += self.irq.eq(
            self.irq_enable[0] & ((self.status & (Status.DONE | Status.ERROR)) != 0)
        )
        return m

    def _write_side(self, m: Module) -> None:
        bus = self.axil
        have_addr = Signal()
        have_data = Signal()
        write = Signal()
        addr = Signal(len(bus.awaddr) - 2, reset_less=True)
        word = Signal(32, reset_less=True)
        strobes = Signal(4, reset_less=True)
        m.d.comb += [
            bus.awready.eq(~have_addr), bus.wready.eq(~have_data),
            write.eq(have_addr & have_data & ~bus.bvalid),
        ]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(write):
            m.d.sync += [have_addr.eq(0), have_data.eq(0), bus.bvalid.eq(1)]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [have_addr.eq(1), addr.eq(bus.awaddr[2:])]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [have_data.eq(1), word.eq(bus.wdata), strobes.eq(bus.wstrb)]

        control = Signal(2)
        m.d.sync += [self.start.eq(control == Control.START), self.reset.eq(control[1])]
        with m.If(write & (addr == register("CONTROL").offset // 4) & strobes[0]):
            m.d.comb += control.eq(word)
        for r in self.stored:
            bits = _stored_bits(r)
            value = Signal(32, name=f"{r.name.lower()}_value", init=r.reset)
            m.d.comb += getattr(self, r.name.lower()).eq(
                Cat(Const(0, bits.start), value[bits])
            )
            hit = write & (addr == r.offset // 4)
            for byte in range(4):
                low, high = max(8 * byte, bits.start), min(8 * byte + 8, bits.stop)
                if low < high:
                    with m.If(hit & strobes[byte]):
                        m.d.sync += value[low:high].eq(word[low:high])

    def _read_side(self, m: Module) -> None:
        bus = self.axil
        have_addr = Signal()
        addr = Signal(len(bus.araddr) - 2, reset_less=True)
        value = Signal(32)
        rdata = Signal(32, reset_less=True)
        m.d.comb += [bus.arready.eq(~have_addr & ~bus.rvalid), bus.rdata.eq(rdata)]
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [have_addr.eq(1), addr.eq(bus.araddr[2:])]
        with m.Switch(addr):
            for r in REGISTERS:
                if r.name == "CONTROL":
                    continue
                with m.Case(r.offset // 4):
                    if r.name in self.identity:
                        m.d.comb += value.eq(self.identity[r.name])
                    else:
                        m.d.comb += value.eq(getattr(self, r.name.lower()))
        with m.If(have_addr):
            m.d.sync += [have_addr.eq(0), bus.rvalid.eq(1), rdata.eq(value)]
