"""The machine on a Zynq-7000: all of it hangs on the PS7 block, and nothing on pins."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, ClockDomain, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Component, connect

from falconet.isa import Arch
from falconet_hw.axi_lite import AxiToLite
from falconet_hw.boards.ps import pins
from falconet_hw.top import Falconet

__all__ = ["Zynq7Top"]


class Zynq7Top(Component):
    """Machine and processing system (UG585, chapter 5).

    ======================  ==========================================================
    PS7                     machine
    ======================  ==========================================================
    FCLKCLK[0]              the one clock, through a BUFG
    FCLKRESETN[0]           reset, synchronised
    MAXIGP0 (AXI3)          registers
    SAXIHP0 (AXI3, 64-bit)  ``m0``: LOAD, FETCH and STORE
    SAXIHP1 (AXI3, 64-bit)  ``m1``: LOAD
    IRQF2P[0]               ``irq``: shared peripheral interrupt 61
    ======================  ==========================================================

    It has no members: PS7's own pins (DDR, MIO) are the chip's, set up before the bitstream is
    loaded.
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch.validate()
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.machine = machine = Falconet(arch=self.arch)
        m.submodules.bridge = bridge = AxiToLite(id_width=12, len_width=4)
        connect(m, bridge.lite, machine.axil)

        fclk, resets = Signal(4, name="fclk"), Signal(4, name="resets")
        m.domains.sync = ClockDomain()
        m.domains.unreset = ClockDomain(reset_less=True)
        m.submodules.bufg = Instance("BUFG", i_I=fclk[0], o_O=ClockSignal())
        m.d.comb += ClockSignal("unreset").eq(ClockSignal())
        m.submodules.reset = FFSynchronizer(
            ~resets[0], ResetSignal(), o_domain="unreset", init=1, stages=3)
        size = {"awsize": 2, "arsize": 2}
        m.submodules.ps7 = Instance(
            "PS7", a_keep="TRUE", o_FCLKCLK=fclk, o_FCLKRESETN=resets,
            i_FCLKCLKTRIGN=Const(0, 4), i_IRQF2P=Cat(machine.irq, Const(0, 19)),
            i_MAXIGP0ACLK=ClockSignal(), **pins(m, "MAXIGP0", bridge.axi, size),
            **self._quiet("SAXIHP0"), **self._quiet("SAXIHP1"),
            **pins(m, "SAXIHP0", machine.m0.read, size),
            **pins(m, "SAXIHP0", machine.m0.write, size),
            **pins(m, "SAXIHP1", machine.m1.read, size),
            **{f"i_SAXIHP1{name}": Const(0) for name in ("AWVALID", "WVALID", "BREADY")},
        )
        return m

    @staticmethod
    def _quiet(port: str) -> dict[str, Any]:
        """What makes no difference: how many commands the port issues is up to PS7's registers."""
        zeros = {"ARLOCK": 2, "AWLOCK": 2, "ARQOS": 4, "AWQOS": 4, "RDISSUECAP1EN": 1,
                 "WRISSUECAP1EN": 1}
        return {f"i_{port}ACLK": ClockSignal(),
                **{f"i_{port}{name}": Const(0, width) for name, width in zeros.items()}}
