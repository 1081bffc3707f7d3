"""The simulated processing system of a Zynq-7000."""

from __future__ import annotations

from falconet_sim.hosts.system import SimulatedSystem

__all__ = ["ZYNQ7"]

ZYNQ7 = SimulatedSystem(
    name="zynq7", buffer="BUFG", interrupt="IRQF2P[0]", first_id=0x5A3, processor="armv7l",
    pins={"FCLKCLK": "{3'b0, $ports.clk}", "FCLKRESETN": "{4{~$ports.rst}}"},
    # UG585: the IO PLL at 1000 MHz, FCLK0 at 100.
    registers={0xF800_0108: 20 << 12, 0xF800_0170: 1 << 20 | 10 << 8})
