"""What the design around the machine, its synthesis and its handoff file have to know of a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from amaranth.lib.wiring import Component

from falconet.isa import Board
from falconet_hw.board.ps import Block

__all__ = ["HostDesign", "ProcessingSystem"]


@dataclass(frozen=True)
class ProcessingSystem:
    """A vendor's processing system, as the tools and PYNQ call it.

    Parameters
    ----------
    block:
        Its pins.
    family, bars:
        The chip's family for yosys; what a board's whole design may cost on it.
    clock_pin:
        Where the machine's clock leaves the block, as instance and pin.
    pll_mhz:
        The PLL that the clock comes from, as the boards' first boot stages leave it.
    arch, ip, version, master:
        Of the handoff file: the chip's kind, the block, the port of the registers.
    clock:
        Settings of one of the four clocks, by its number, two divisors, and MHz (0.0: off).
    ports:
        Settings of the AXI ports.
    """

    block: Block
    family: str
    bars: Mapping[str, int]
    clock_pin: str
    pll_mhz: float
    arch: str
    ip: str
    version: str
    master: str
    clock: Callable[[int, int, int, float], dict[str, str]]
    ports: Mapping[str, str]


@dataclass(frozen=True)
class HostDesign:
    """How the design of a host's boards is made, and by which toolchains; the first is the usual.

    A toolchain is a module of ``falconet_hw.build.bitstream``. ``system`` is None where the host is
    not on the chip.
    """

    top: Callable[[Board], Component]
    toolchains: tuple[str, ...]
    system: ProcessingSystem | None = None
