"""The machine on a Zynq-7000: all of it hangs on the PS7 block, and nothing on pins."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, ClockDomain, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Component, connect

from falconet.isa import Arch
from falconet_hw.axi_lite import AxiToLite
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
        m.submodules.ps7 = Instance(
            "PS7", a_keep="TRUE", o_FCLKCLK=fclk, o_FCLKRESETN=resets,
            i_FCLKCLKTRIGN=Const(0, 4), i_IRQF2P=Cat(machine.irq, Const(0, 19)),
            **self._registers(bridge.axi),
            **self._memory("SAXIHP0", machine.m0.read, machine.m0.write),
            **self._memory("SAXIHP1", machine.m1.read, None),
        )
        return m

    @staticmethod
    def _registers(axi: Any) -> dict[str, Any]:
        """PS7 is the master: what is an input of ``axi`` is an output of the port."""
        ports: dict[str, Any] = {"i_MAXIGP0ACLK": ClockSignal()}
        for name, member in axi.signature.members.items():
            value = getattr(axi, name)
            if name in ("awsize", "arsize"):
                value = value[:2]  # never more than 4 bytes
            ports[f"{'o' if member.flow.name == 'In' else 'i'}_MAXIGP0{name.upper()}"] = value
        return ports

    @staticmethod
    def _memory(port: str, read: Any, write: Any | None) -> dict[str, Any]:
        """PS7 is the slave of ``read`` and ``write``; without ``write`` that side is silent."""
        ports: dict[str, Any] = {
            f"i_{port}ACLK": ClockSignal(),
            # The issue capability is that of the PS7's own register.
            f"i_{port}RDISSUECAP1EN": Const(0), f"i_{port}WRISSUECAP1EN": Const(0),
        }
        for axi, channel in ((read, "AR"), (write, "AW")):
            for name, width in (("LOCK", 2), ("QOS", 4)):
                ports[f"i_{port}{channel}{name}"] = Const(0, width)
            if axi is None:
                ports |= {f"i_{port}{n}": Const(0) for n in ("AWVALID", "WVALID", "BREADY")}
                continue
            for name, member in axi.signature.members.items():
                value = getattr(axi, name)
                if name in ("awsize", "arsize"):
                    value = value[:2]
                ports[f"{'i' if member.flow.name == 'Out' else 'o'}_{port}{name.upper()}"] = value
        return ports
