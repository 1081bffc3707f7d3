"""How a driver reaches a machine: registers, memory, and the wait for its interrupt."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from falconet.isa import SEGMENT_PAGE

__all__ = ["Buffer", "Bus", "Memory", "Wake", "first_fit"]


class Wake(enum.Enum):
    """How a wait ended."""

    INTERRUPT = "the interrupt came"
    TIMEOUT = "the time is over"
    STALLED = "a simulated machine stands still: to wait on is in vain"


class Bus(Protocol):
    """The registers; offsets as in ``falconet.isa.REGISTERS``."""

    @property
    def has_interrupt(self) -> bool:
        """Whether :meth:`wait` can see the interrupt."""
        ...

    def read_register(self, offset: int) -> int: ...

    def write_register(self, offset: int, value: int) -> None: ...

    def wait(self, seconds: float) -> Wake:
        """Wait for the interrupt, at most so long; it may return early without it."""
        ...

    def pause(self) -> Wake:
        """Let a moment pass between two looks at STATUS."""
        ...


class Buffer(Protocol):
    """Contiguous memory that the machine can reach, zero at first."""

    @property
    def physical_address(self) -> int: ...

    @property
    def array(self) -> NDArray[np.uint8]:
        """The bytes; a view, so writing to it is writing to memory."""
        ...

    def flush(self) -> None:
        """Make what the processor wrote visible to the machine."""
        ...

    def invalidate(self) -> None:
        """Make what the machine wrote visible to the processor."""
        ...

    def free(self) -> None: ...


class Memory(Protocol):
    def allocate(self, nbytes: int, align: int = SEGMENT_PAGE) -> Buffer:
        """Memory that begins at a multiple of ``align``, below 4 GiB."""
        ...


def first_fit(
    taken: Iterable[tuple[int, int]], nbytes: int, *, begin: int = 0, end: int, align: int,
) -> int | None:
    """The first place for ``nbytes`` from ``begin`` on, beside what is taken: (place, size) each.

    It is ``begin`` or a multiple of ``align``; None if all of them pass ``end``.
    """
    at = begin
    for start, size in sorted(taken):
        if at + nbytes <= start:
            break
        at = max(at, -(-(start + size) // align) * align)
    return at if at + nbytes <= end else None
