"""The machine on a Zynq UltraScale+: all of it hangs on the PS8 block, and nothing on pins."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, ClockDomain, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib.wiring import Component, connect

from falconet.isa import Arch
from falconet_hw.axi_lite import AxiToLite
from falconet_hw.boards.ps import pins
from falconet_hw.top import Falconet

__all__ = ["ZynqMpTop"]

_START_CYCLES = 16


class ZynqMpTop(Component):
    """Machine and processing system (UG1085, chapter 35).

    ============================  ====================================================
    PS8                           machine
    ============================  ====================================================
    PLCLK[0]                      the one clock, through a BUFG_PS
    MAXIGP0 (HPM0_FPD, 32-bit)    registers
    SAXIGP2 (HP0_FPD, 64-bit)     ``m0``: LOAD, FETCH and STORE
    SAXIGP3 (HP1_FPD, 64-bit)     ``m1``: LOAD
    PLPSIRQ0[0]                   ``irq``: shared peripheral interrupt 121
    ============================  ====================================================

    The pins of these ports are 128 bits wide; registers of the processing system set how many of
    the lower ones are used (falconet_hw.hwh, falconet.runtime.bitstream). Resets of the fabric are
    outputs of the processor's GPIO, which may not be set up; so the machine resets itself in the
    first cycles after the bitstream is loaded, and by its register CONTROL after that.

    It has no members: PS8's own pins are the chip's, set up before the bitstream is loaded.
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch.validate()
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.machine = machine = Falconet(arch=self.arch)
        m.submodules.bridge = bridge = AxiToLite(id_width=16, len_width=8)
        connect(m, bridge.lite, machine.axil)

        plclk = Signal(4, name="plclk")
        m.domains.sync = ClockDomain()
        m.domains.unreset = ClockDomain(reset_less=True)
        m.submodules.bufg = Instance("BUFG_PS", i_I=plclk[0], o_O=ClockSignal())
        starting = Signal(_START_CYCLES, init=-1)
        m.d.unreset += starting.eq(starting[1:])
        m.d.comb += [ClockSignal("unreset").eq(ClockSignal()), ResetSignal().eq(starting[0])]

        memory = {"araddr": 49, "awaddr": 49, "arlen": 8, "awlen": 8, "rdata": 128, "wdata": 128,
                  "wstrb": 16}
        write = pins(m, "SAXIGP2", machine.m0.write, memory)
        del write["i_SAXIGP2WID"]  # AXI4 has none
        m.submodules.ps8 = Instance(
            "PS8", a_keep="TRUE", o_PLCLK=plclk, i_PLPSIRQ0=Cat(machine.irq, Const(0, 7)),
            i_MAXIGP0ACLK=ClockSignal(),
            **pins(m, "MAXIGP0", bridge.axi,
                   {"araddr": 40, "awaddr": 40, "rdata": 128, "wdata": 128, "wstrb": 16}),
            **self._quiet("SAXIGP2"), **self._quiet("SAXIGP3"),
            **pins(m, "SAXIGP2", machine.m0.read, memory), **write,
            **pins(m, "SAXIGP3", machine.m1.read, memory),
            **{f"i_SAXIGP3{name}": Const(0) for name in ("AWVALID", "WVALID", "BREADY")},
        )
        return m

    @staticmethod
    def _quiet(port: str) -> dict[str, Any]:
        zeros = {"ARLOCK": 1, "AWLOCK": 1, "ARQOS": 4, "AWQOS": 4, "ARUSER": 1, "AWUSER": 1}
        return {f"i_{port}RCLK": ClockSignal(), f"i_{port}WCLK": ClockSignal(),
                **{f"i_{port}{name}": Const(0, width) for name, width in zeros.items()}}
