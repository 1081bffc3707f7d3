"""The machine on a Zynq UltraScale+: all of it hangs on the PS8 block, and nothing on pins."""

from __future__ import annotations

from amaranth import Cat, ClockDomain, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib.wiring import Component, connect

from falconet.isa import Arch
from falconet_hw.board.axi_lite import AxiToLite
from falconet_hw.board.host import HostDesign, ProcessingSystem
from falconet_hw.board.ps import AxiPort, Block, Pin, axi_port, pins
from falconet_hw.top import Falconet

__all__ = ["PS8", "ZYNQMP", "ZynqMpTop"]

_START_CYCLES = 16


def _memory(name: str) -> AxiPort:
    return axi_port(name, master=False, version=4, addr=49, ident=6, pins=128, data=64,
                    clocks=("rclk", "wclk"), hints=True, held={"aruser": 1, "awuser": 1})


PS8 = Block(
    "PS8",
    registers=axi_port("MAXIGP0", master=True, version=4, addr=40, ident=16, pins=128, data=32,
                       clocks=("aclk",)),
    m0=_memory("SAXIGP2"), m1=_memory("SAXIGP3"),
    others=(Pin("PLCLK", 4, True), Pin("PLPSIRQ0", 8, False)),
)


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
    the lower ones are used (``ZYNQMP``, falconet.runtime.hosts.zynqmp). Resets of the fabric are
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

        m.submodules.ps8 = Instance(
            PS8.name, a_keep="TRUE", o_PLCLK=plclk, i_PLPSIRQ0=Cat(machine.irq, Const(0, 7)),
            **pins(m, PS8.registers, bridge.axi, clock=ClockSignal()),
            **pins(m, PS8.m0, machine.m0.read, machine.m0.write, clock=ClockSignal()),
            **pins(m, PS8.m1, machine.m1.read, clock=ClockSignal()),
        )
        return m


def _clock(number: int, first: int, second: int, mhz: float) -> dict[str, str]:
    control = f"PSU__CRL_APB__PL{number}_REF_CTRL__"
    return {
        f"PSU__FPGA_PL{number}_ENABLE": str(int(mhz > 0)), f"{control}SRCSEL": "IOPLL",
        f"{control}DIVISOR0": str(first), f"{control}DIVISOR1": str(second),
    }


ZYNQMP = HostDesign(lambda board: ZynqMpTop(arch=board.arch), ("vivado",), ProcessingSystem(
    block=PS8, family="xcup", clock_pin="ps8/PLCLK[0]", pll_mhz=1500.0,
    bars={"dsp": 360, "bram36": 216, "lut": 60_000, "max_fanout": 350},  # XCZU3EG: 70,560 LUT
    arch="zynquplus", ip="zynq_ultra_ps_e", version="3.4", master="M_AXI_HPM0_FPD", clock=_clock,
    ports={  # PYNQ sets their widths from these
        "PSU__USE__M_AXI_GP0": "1", "PSU__USE__S_AXI_GP2": "1", "PSU__USE__S_AXI_GP3": "1",
        "C_MAXIGP0_DATA_WIDTH": "32", "C_SAXIGP2_DATA_WIDTH": "64", "C_SAXIGP3_DATA_WIDTH": "64",
        "PSU__USE__IRQ0": "1",
    }))
