"""The machine on a Zynq-7000: all of it hangs on the PS7 block, and nothing on pins."""

from __future__ import annotations

from amaranth import Cat, ClockDomain, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Component, connect

from falconet.isa import Arch
from falconet_hw.board.axi_lite import AxiToLite
from falconet_hw.board.host import HostDesign, ProcessingSystem
from falconet_hw.board.ps import AxiPort, Block, Pin, axi_port, pins
from falconet_hw.top import Falconet

__all__ = ["PS7", "ZYNQ7", "Zynq7Top"]


def _memory(name: str) -> AxiPort:
    # How many commands the port issues is up to PS7's registers.
    return axi_port(name, master=False, version=3, addr=32, ident=6, pins=64, data=64,
                    clocks=("aclk",), hints=True, held={"rdissuecap1en": 1, "wrissuecap1en": 1})


PS7 = Block(
    "PS7",
    registers=axi_port("MAXIGP0", master=True, version=3, addr=32, ident=12, pins=32, data=32,
                       clocks=("aclk",)),
    m0=_memory("SAXIHP0"), m1=_memory("SAXIHP1"),
    others=(Pin("FCLKCLK", 4, True), Pin("FCLKCLKTRIGN", 4, False), Pin("FCLKRESETN", 4, True),
            Pin("IRQF2P", 20, False)),
)


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
            PS7.name, a_keep="TRUE", o_FCLKCLK=fclk, o_FCLKRESETN=resets,
            i_FCLKCLKTRIGN=Const(0, 4), i_IRQF2P=Cat(machine.irq, Const(0, 19)),
            **pins(m, PS7.registers, bridge.axi, clock=ClockSignal()),
            **pins(m, PS7.m0, machine.m0.read, machine.m0.write, clock=ClockSignal()),
            **pins(m, PS7.m1, machine.m1.read, clock=ClockSignal()),
        )
        return m


def _clock(number: int, first: int, second: int, mhz: float) -> dict[str, str]:
    divisor = f"PCW_FCLK{number}_PERIPHERAL"
    return {
        f"PCW_FPGA_FCLK{number}_ENABLE": str(int(mhz > 0)), f"{divisor}_CLKSRC": "IO PLL",
        f"{divisor}_DIVISOR0": str(first), f"{divisor}_DIVISOR1": str(second),
        f"PCW_FPGA{number}_PERIPHERAL_FREQMHZ": f"{mhz:g}",
    }


ZYNQ7 = HostDesign(lambda board: Zynq7Top(arch=board.arch), ("vivado", "openxc7"), ProcessingSystem(
    block=PS7, family="xc7", clock_pin="ps7/FCLKCLK[0]", pll_mhz=1000.0,
    bars={"dsp": 220, "bram36": 140, "lut": 45_000, "max_fanout": 300},  # XC7Z020: 53,200 LUT
    arch="zynq", ip="processing_system7", version="5.5", master="M_AXI_GP0", clock=_clock, ports={
        "PCW_USE_M_AXI_GP0": "1", "PCW_USE_S_AXI_HP0": "1", "PCW_USE_S_AXI_HP1": "1",
        "PCW_S_AXI_HP0_DATA_WIDTH": "64", "PCW_S_AXI_HP1_DATA_WIDTH": "64",
        "PCW_USE_FABRIC_INTERRUPT": "1", "PCW_IRQ_F2P_INTR": "1",
    }))
