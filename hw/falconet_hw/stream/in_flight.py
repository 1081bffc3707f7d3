"""The count of what is under way."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal

__all__ = ["in_flight"]


def in_flight(m: Module, enters: Any, leaves: Any, *, limit: int, name: str) -> Signal:
    """How many have entered and not left: a register, so as it was at the cycle's begin.

    ``enters`` and ``leaves``, how many do in this cycle, count from the next one on. That there
    are 0 to ``limit`` under way is up to the caller: nothing saturates.
    """
    count = Signal(range(limit + 1), name=name)
    m.d.sync += count.eq(count + enters - leaves)
    return count
