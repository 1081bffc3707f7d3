"""Scratchpad addresses: buffers that live at the same time never share a word.

A buffer lives from the first tile that writes it to the last that reads it, in program order. The
largest are placed first, each at the lowest address that is free for its whole life (greedy by
size, as in Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).
"""

from __future__ import annotations

from falconet.compiler.ops import Buffer
from falconet.compiler.plan import Plan
from falconet.compiler.schedule import Task

__all__ = ["allocate"]


def allocate(plan: Plan, tasks: list[Task]) -> Buffer | None:
    """Give every buffer its ``base``; the first buffer that finds no room, or None."""
    life: dict[int, tuple[int, int]] = {}
    for at, task in enumerate(tasks):
        if task.tile is None:
            continue
        op = plan.ops[task.op]
        for slot in (*op.inputs, *([op.output] if op.output else [])):
            first, _ = life.get(id(slot.buffer), (at, at))
            life[id(slot.buffer)] = first, at
    placed: list[tuple[int, int, int, int]] = []  # base, end, first, last
    for buf in sorted(plan.net.buffers, key=lambda b: (-b.words, b.name)):
        if id(buf) not in life:
            continue
        first, last = life[id(buf)]
        base = 0
        for lo, hi, a, b in sorted(placed):
            if a <= last and first <= b:
                if base + buf.words <= lo:
                    break
                base = max(base, hi)
        if base + buf.words > plan.net.arch.scratchpad_words:
            return buf
        buf.base = base
        placed.append((base, base + buf.words, first, last))
    return None
