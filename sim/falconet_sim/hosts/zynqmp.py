"""The simulated processing system of a Zynq UltraScale+."""

from __future__ import annotations

from falconet_sim.hosts.system import SimulatedSystem

__all__ = ["ZYNQMP"]

ZYNQMP = SimulatedSystem(
    name="zynqmp", buffer="BUFG_PS", interrupt="PLPSIRQ0[0]", first_id=0x95A3,
    processor="aarch64", pins={"PLCLK": "{3'b0, $ports.clk}"},
    # UG1087: the IOPLL at 1500 MHz, PL0 at 100.
    registers={0xFF5E_0020: 1 << 16 | 90 << 8, 0xFF5E_00C0: 1 << 24 | 1 << 16 | 15 << 8})
