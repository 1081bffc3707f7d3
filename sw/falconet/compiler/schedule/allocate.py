"""Scratchpad addresses: buffers that live at the same time never share a word.

A buffer lives from the first tile that writes it to the last that reads it, in program order. The
largest are placed first, each at the lowest address that is free for its whole life (greedy by
size, as in Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).
"""

from __future__ import annotations

from falconet.compiler.machine.place import Buffer
from falconet.compiler.schedule.simulate import Schedule

__all__ = ["allocate", "lives"]


def lives(schedule: Schedule) -> dict[Buffer, tuple[int, int]]:
    """First and last task that touch each buffer."""
    life: dict[Buffer, tuple[int, int]] = {}
    for at, task in enumerate(schedule.tasks):
        if task.tile is not None:
            for slot in schedule.plan.ops[task.op].slots:
                first, _ = life.get(slot.buffer, (at, at))
                life[slot.buffer] = first, at
    return life


def allocate(schedule: Schedule) -> Buffer | None:
    """Set ``bases``; the first buffer that finds no room, or None."""
    life, rings = lives(schedule), schedule.rings
    words = {b: rings[b] * b.row_words for b in life}
    placed: list[tuple[int, int, int, int]] = []  # base, end, first, last
    for buf in sorted(life, key=lambda b: (-words[b], b.name)):
        first, last = life[buf]
        base = 0
        for lo, hi, a, b in sorted(placed):
            if a <= last and first <= b:
                if base + words[buf] <= lo:
                    break
                base = max(base, hi)
        if base + words[buf] > schedule.plan.net.arch.scratchpad_words:
            return buf
        schedule.bases[buf] = base
        placed.append((base, base + words[buf], first, last))
    return None
