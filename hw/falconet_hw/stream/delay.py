"""Delay lines, register copies, carries: what all pipelined datapaths share."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Signal, Value

__all__ = ["add_with_carry", "copies", "delay"]


def delay(
    m: Module, value: Any, cycles: int, *, name: str, reset: bool = False, shared: bool = False,
) -> Any:
    """``value`` as it was ``cycles`` cycles ago.

    Registers are reset-less (so that a synthesiser may use shift-register LUTs) and start at 0;
    with ``reset=True`` they are cleared by reset, as valid bits must be. With ``shared=True`` the
    last one is: a flip-flop, faster than the end of a shift register, for values with many sinks.
    """
    for i in range(cycles):
        has_reset = reset or (shared and i == cycles - 1)
        stage = Signal.like(value, name=f"{name}_d{i + 1}", init=0, reset_less=not has_reset)
        m.d.sync += stage.eq(value)
        value = stage
    return value


def copies(m: Module, value: Value, count: int, *, name: str) -> list[Signal]:
    """``count`` (at most 8) registers of ``value`` as it was two cycles ago, to share its sinks.

    Synthesis merges equal registers. These differ in their initial value and, one stage earlier,
    in polarity, so each may hold either value in the first two cycles. Reset does not touch them.
    """
    if not 1 <= count <= 8:
        raise ValueError(f"count={count} must be 1 to 8")
    width = len(value)
    ones = (1 << width) - 1
    roots: list[tuple[Signal, int]] = []
    leaves: list[Signal] = []
    for i in range(count):
        if i < 4:
            root = Signal(width, name=f"{name}_root{i}", init=ones * (i & 1), reset_less=True)
            roots.append((root, ones * (i >> 1)))
            m.d.sync += root.eq(value ^ Const(ones * (i >> 1), width))
        root, flip = roots[i % 4]
        leaf = Signal(width, name=f"{name}_copy{i}", init=ones * (i >> 2), reset_less=True)
        m.d.sync += leaf.eq(root ^ Const(flip, width))
        leaves.append(leaf)
    return leaves


def add_with_carry(a: Value, b: Value, carry: Value) -> Value:
    """``a + b + carry`` (signed) in a form that costs one carry chain and no logic before it."""
    return (Cat(carry, a).as_signed() + Cat(carry, b).as_signed()) >> 1
