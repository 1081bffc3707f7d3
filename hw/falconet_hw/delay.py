"""Delay lines: the one helper that all pipelined datapaths share."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal

__all__ = ["delay"]


def delay(m: Module, value: Any, cycles: int, *, name: str, reset: bool = False) -> Any:
    """``value`` as it was ``cycles`` cycles ago.

    Registers are reset-less (so that a synthesiser may use shift-register LUTs) and start at 0;
    with ``reset=True`` they are cleared by reset, as valid bits must be.
    """
    for i in range(cycles):
        stage = Signal.like(value, name=f"{name}_d{i + 1}", init=0, reset_less=not reset)
        m.d.sync += stage.eq(value)
        value = stage
    return value
