"""What is set in the registers of a processing system; ``root`` as in falconet.runtime.linux."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

__all__ = ["PAGE", "ProcessingSystem"]

PAGE = 4096
"""Bytes of a block of registers."""


class ProcessingSystem(Protocol):
    def pll_mhz(self, root: Path) -> float:
        """Of the PLL that the machine's clock is divided from, as it is set up."""

    def set_divisors(self, first: int, second: int, root: Path) -> None:
        """Divide it, and let the clock run; both are 1 to 63."""

    def set_ports(self, root: Path) -> None:
        """Give the AXI ports the widths of the design."""
