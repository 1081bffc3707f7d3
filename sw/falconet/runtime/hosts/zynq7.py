"""The Zynq-7000: its SLCR (UG585, appendix B). Widths of ports are those after reset."""

from __future__ import annotations

from pathlib import Path

from falconet.runtime.hosts.system import PAGE
from falconet.runtime.linux import map_physical

__all__ = ["Zynq7"]

_SLCR, _UNLOCK, _UNLOCK_KEY = 0xF800_0000, 0x008, 0xDF0D


class Zynq7:
    def pll_mhz(self, root: Path) -> float:
        slcr = map_physical(_SLCR, PAGE, root)
        return 50.0 * (int(slcr[0x108 // 4]) >> 12 & 0x7F)  # IO_PLL_CTRL, of 50 MHz

    def set_divisors(self, first: int, second: int, root: Path) -> None:
        slcr = map_physical(_SLCR, PAGE, root)
        slcr[_UNLOCK // 4] = _UNLOCK_KEY
        slcr[0x170 // 4] = second << 20 | first << 8  # FPGA0_CLK_CTRL, of the IO PLL
        slcr[0x178 // 4] = 0  # FPGA0_THR_CNT: the clock runs
        slcr[0x240 // 4] = int(slcr[0x240 // 4]) & ~1  # FPGA_RST_CTRL: FCLKRESETN[0] is high

    def set_ports(self, root: Path) -> None:
        pass
