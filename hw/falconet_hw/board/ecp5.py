"""The machine on a ULX3S with an ECP5-85F: memory on the chip, a serial line to the host."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, ClockDomain, ClockSignal, Const, Module, Mux, ResetSignal, Signal
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Component, In, Out, connect

from falconet.isa import Board
from falconet.isa.machine.uart import BAUD, GAP_BITS
from falconet_hw.board.host import HostDesign
from falconet_hw.board.memory import OnChipMemory
from falconet_hw.board.uart_bridge import UartBridge
from falconet_hw.bus import AxiLiteSignature
from falconet_hw.top import Falconet

__all__ = ["ECP5", "PINS", "PORTS", "Ecp5Top"]

PORTS = {
    "clk25": In(1), "rx": In(1, init=1), "tx": Out(1, init=1), "button": In(1), "led": Out(8),
    "wifi_gpio0": Out(1),
}

PINS = {
    "clk25": "G2", "rx": "M1", "tx": "L4", "button": "R1", "wifi_gpio0": "L2",
    **{f"led[{i}]": site for i, site in enumerate("B2 C2 C1 D2 D1 E2 E1 H3".split())},
}
"""Site of each pin (ulx3s_v20.lpf of the board's makers): FIRE 1 is the button."""

_RESET_BITS = 10  # of the counter that holds reset after configuration: 41 us
_BUSY_BITS = 20  # of the counter that keeps the light on: 42 ms


class Ecp5Top(Component):
    """Machine, memory and serial line, all on the board's own clock of 25 MHz.

    Registers lie at ``board.registers``, memory at ``board.memory``; the host's words go to one or
    the other, what is elsewhere is answered with DECERR. Reset comes from a counter that starts
    with the configuration and, again, with the button.

    Parameters
    ----------
    board: Board
    divisor: int
        Cycles of a bit; the line runs at ``BAUD`` by default.
    gap_bits: int
        See UartBridge.

    Members
    -------
    clk25: In(1)
    rx: In(1), tx: Out(1)
        The line as the chip calls them.
    button: In(1)
        High while pressed.
    led: Out(8)
        0: configured; 1: the machine uses its memory; 2: DONE or ERROR is set, and the interrupt
        enabled.
    wifi_gpio0: Out(1)
        Low would let the board's other processor begin to load the chip anew.
    """

    def __init__(
        self, *, board: Board, divisor: int | None = None, gap_bits: int = GAP_BITS,
    ) -> None:
        self.board = board
        self.divisor = divisor or round(board.clock_mhz * 1e6 / BAUD)
        self.gap_bits = gap_bits
        super().__init__(PORTS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        board = self.board
        self._clock(m)
        m.submodules.machine = machine = Falconet(arch=board.arch)
        m.submodules.memory = memory = OnChipMemory(base=board.memory, nbytes=board.memory_bytes)
        m.submodules.bridge = bridge = UartBridge(divisor=self.divisor, gap_bits=self.gap_bits)
        connect(m, machine.m0, memory.m0)
        connect(m, machine.m1, memory.m1)
        m.d.comb += [bridge.rx.eq(self.rx), self.tx.eq(bridge.tx), self.wifi_gpio0.eq(1)]
        self._split(m, bridge.bus, machine.axil, memory.host)

        busy = Signal(_BUSY_BITS)
        with m.If(machine.m0.read.arvalid | machine.m0.write.awvalid | machine.m1.read.arvalid):
            m.d.sync += busy.eq(-1)
        with m.Elif(busy != 0):
            m.d.sync += busy.eq(busy - 1)
        m.d.sync += self.led.eq(Cat(Const(1, 1), busy != 0, machine.irq))
        return m

    def _clock(self, m: Module) -> None:
        m.domains.sync = ClockDomain()
        m.domains.unreset = ClockDomain(reset_less=True)
        m.d.comb += [ClockSignal().eq(self.clk25), ClockSignal("unreset").eq(self.clk25)]
        pressed = Signal()
        held = Signal(_RESET_BITS, init=-1)
        m.submodules.button = FFSynchronizer(self.button, pressed, o_domain="unreset")
        with m.If(pressed):
            m.d.unreset += held.eq(-1)
        with m.Elif(held != 0):
            m.d.unreset += held.eq(held - 1)
        m.d.unreset += ResetSignal().eq(held != 0)

    def _split(self, m: Module, host: Any, registers: Any, memory: Any) -> None:
        """One access at a time, whose address keeps still: it alone says who takes part."""
        low = (self.board.span - 1).bit_length()
        chosen = Signal()
        m.d.comb += chosen.eq(host.awaddr[low:] == self.board.registers >> low)
        for name, member in AxiLiteSignature(32).members.items():
            ours, theirs = getattr(registers, name), getattr(memory, name)
            asked = getattr(host, name)
            if member.flow is Out:
                m.d.comb += asked.eq(Mux(chosen, ours, theirs))
            elif name.endswith(("valid", "ready")):
                m.d.comb += [ours.eq(asked & chosen), theirs.eq(asked & ~chosen)]
            else:
                m.d.comb += [ours.eq(asked), theirs.eq(asked)]


ECP5 = HostDesign(lambda board: Ecp5Top(board=board), ("ecp5",))
