"""What specifications of streams and queues have in common."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Signal, Value
from amaranth.hdl import Assert

__all__ = ["assert_steady", "before"]


def before(m: Module, value: Any, name: str) -> Signal:
    """``value`` a cycle ago; 0 after reset."""
    last = Signal.like(Value.cast(value), name=f"{name}_before", init=0)
    m.d.sync += last.eq(value)
    return last


def assert_steady(m: Module, valid: Any, ready: Any, payload: Any, name: str) -> None:
    """An offer stays, with its payload, until it is taken; reset alone takes it back."""
    held = before(m, valid & ~ready, f"{name}_held")
    payload = Cat(*payload) if isinstance(payload, list) else Value.cast(payload)
    same = before(m, payload, f"{name}_payload") == payload
    m.d.comb += Assert(~held | (valid & same))
