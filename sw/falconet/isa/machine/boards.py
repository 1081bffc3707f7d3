"""Boards: the chip, the machine in it, and where the host finds its registers and memory."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from falconet.isa.errors import FalconetError, near
from falconet.isa.machine.arch import PRESETS, Arch

__all__ = ["BOARDS", "Board", "Host", "board", "clock_divisors"]


class Host(str, enum.Enum):
    """Who drives the machine."""

    ZYNQ7 = "Zynq-7000"  # the PS7 block: registers at GP0, memory at HP0 and HP1
    ZYNQMP = "Zynq UltraScale+"  # the PS8 block: registers at HPM0_FPD, memory at HP0 and HP1
    UART = "UART"  # a computer at the other end of a serial line; memory on the chip


@dataclass(frozen=True)
class Board:
    """One board.

    Parameters
    ----------
    name, title:
        As commands and as people call it.
    host:
        Who drives the machine.
    preset:
        The machine on it, a name of ``PRESETS``.
    part:
        The chip as its tools call it.
    registers, span:
        Address of the registers as the host sees them, and bytes that belong to them.
    memory, memory_bytes:
        First address of the memory on the chip and its size; 0 where the board's DDR is used.
    clock_mhz:
        Clock of the machine.
    """

    name: str
    title: str
    host: Host
    preset: str
    part: str
    registers: int
    clock_mhz: float
    span: int = 0x1_0000
    memory: int = 0
    memory_bytes: int = 0

    @property
    def arch(self) -> Arch:
        return PRESETS[self.preset]

    @property
    def linux(self) -> bool:
        """Whether the host is the board's own processor; if not, it is some other computer."""
        return self.host is not Host.UART


BOARDS: dict[str, Board] = {
    b.name: b
    for b in (
        Board("pynq-z2", "TUL PYNQ-Z2", Host.ZYNQ7, "pynq-z2", "xc7z020clg400-1", 0x43C0_0000,
              125.0),
        Board("pynq-z1", "Digilent PYNQ-Z1", Host.ZYNQ7, "pynq-z2", "xc7z020clg400-1",
              0x43C0_0000, 125.0),
        Board("aup-zu3", "Real Digital AUP-ZU3", Host.ZYNQMP, "aup-zu3", "xczu3eg-sfvc784-2-e",
              0xA000_0000, 150.0),
        Board("ecp5", "Radiona ULX3S 85F", Host.UART, "tiny", "LFE5U-85F-6BG381C",
              0x4000_0000, 25.0, memory=0x1000_0000, memory_bytes=256 << 10),
    )
}


def board(name: str) -> Board:
    """The board called ``name``; an unknown name is refused with the list of known ones."""
    try:
        return BOARDS[name]
    except KeyError:
        known = ", ".join(BOARDS)
        raise FalconetError(f"board '{name}' is unknown; {near(name, BOARDS)}choose one of: {known}"
                            ) from None


def clock_divisors(reference_mhz: float, clock_mhz: float) -> tuple[int, int]:
    """Two divisors, 1 to 63, that make a processing system's clock for the machine.

    ``reference_mhz`` is that of the PLL; the clock is the fastest that is not above ``clock_mhz``.
    """
    pairs = [(a, b) for a in range(1, 64) for b in range(1, a + 1)
             if reference_mhz / (a * b) <= clock_mhz * (1 + 1e-9)]
    if not pairs:
        raise FalconetError(f"no divisors make {clock_mhz:g} MHz of {reference_mhz:g} MHz")
    return min(pairs, key=lambda p: (p[0] * p[1], p[1]))
