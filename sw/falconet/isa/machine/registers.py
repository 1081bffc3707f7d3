"""The AXI-Lite registers: 32 bits each, byte offsets, one table for driver, hardware and docs."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from falconet.isa.machine.fields import Engine
from falconet.isa.machine.instructions import SEGMENT_GRAIN, SEGMENT_PAGE, Segment

__all__ = ["MAGIC", "REGISTERS", "Control", "ErrorCode", "Register", "Status", "register"]

MAGIC = 0x464C434E
"""Register ID: the letters FLCN."""


class Control(enum.IntFlag):
    """Bits of CONTROL. Writing START while BUSY is ignored; RESET stops all and clears errors.

    After RESET the machine is BUSY until nothing of it is under way on the memory bus.
    """

    START = 1
    RESET = 2


class Status(enum.IntFlag):
    """Bits of STATUS. DONE and ERROR stay until the next START or RESET."""

    BUSY = 1
    DONE = 2
    ERROR = 4


class ErrorCode(enum.IntEnum):
    """Why the machine stopped; register ERROR_CODE."""

    NONE = 0
    OPCODE = 1  # unknown opcode
    FIELD = 2  # a count of zero, or another field beyond its legal range
    WINDOW = 3  # an address outside its segment, or a store to a read-only one
    READ = 4  # SLVERR or DECERR on a read
    WRITE = 5  # SLVERR or DECERR on a write
    NO_END = 6  # PROGRAM_LENGTH instructions were fetched and none was END


@dataclass(frozen=True)
class Register:
    name: str
    offset: int
    access: str  # "ro" or "rw"
    doc: str
    reset: int = 0


_LIST: list[tuple[str, str, str]] = [
    ("ID", "ro", "0x464C434E: this is Falconet"),
    ("ISA_VERSION", "ro", "version of the instruction set"),
    ("ARCH_HASH", "ro", "hash of the Arch; a program carries the same"),
    ("CONTROL", "rw", "bit 0 START, bit 1 RESET; both read as 0"),
    ("STATUS", "ro", "bit 0 BUSY, bit 1 DONE, bit 2 ERROR"),
    ("ERROR_CODE", "ro", "why the machine stopped, 0 if it did not"),
    ("ERROR_INFO", "ro", "OPCODE, FIELD: index of the instruction; WINDOW, READ, WRITE: address"),
    ("IRQ_ENABLE", "rw", "bit 0: raise the interrupt while DONE or ERROR is set"),
    ("PROGRAM_OFFSET", "rw", "byte offset of the first instruction in segment CODE"),
    ("PROGRAM_LENGTH", "rw", "number of instructions, END included"),
    *(
        (f"{s.name}_{part}", "rw", f"segment {s.name}: {text}")
        for s in Segment
        for part, text in (
            ("BASE", f"first byte address, a multiple of {SEGMENT_PAGE}"),
            ("SIZE", f"bytes, a multiple of {SEGMENT_GRAIN}; every address is checked against it"),
        )
    ),
    ("CYCLES", "ro", "clock cycles from the first fetch to DONE (or so far); what START needs "
     "before, some 75, to reset the machine is not in it"),
    *((f"RETIRED_{e.name}", "ro", f"instructions retired by the {e.name} engine") for e in Engine),
    *((f"BUSY_{e.name}", "ro", f"cycles in which the {e.name} engine had work under way")
      for e in Engine),
]

REGISTERS: tuple[Register, ...] = tuple(
    Register(name, 4 * i, access, doc) for i, (name, access, doc) in enumerate(_LIST)
)
_BY_NAME = {r.name: r for r in REGISTERS}


def register(name: str) -> Register:
    return _BY_NAME[name]
