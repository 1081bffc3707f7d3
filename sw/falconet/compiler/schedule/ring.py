"""How many rows of a tensor are on chip at a time."""

from __future__ import annotations

from falconet.compiler.machine.place import Buffer
from falconet.compiler.schedule.plan import Plan

__all__ = ["ring_rows", "set_rings"]

_WHOLE = 0.9  # a ring of more than this share of the rows saves nothing


def window_rows(plan: Plan, buf: Buffer, readers: list[int]) -> int:
    """The most rows of a buffer that one tile of one reader needs."""
    window = 0
    for r in readers:
        work = plan.work(r)
        for k, slot in enumerate(work.op.inputs):
            if slot.buffer is buf:
                window = max(window, max(n[k][1] - n[k][0] for n in work.needs))
    return window


def ring_rows(plan: Plan, buf: Buffer) -> int:
    """Rows that producer and consumers need at once, and the slack."""
    readers = plan.readers.get(buf, [])
    if not readers:
        return buf.height
    step = max(plan.tilings[w].rows for w in plan.writers[buf])
    return _held(plan, buf, window_rows(plan, buf, readers), step)


def local_rows(plan: Plan, buf: Buffer, users: list[int]) -> int:
    """Rows of a tensor through DDR in a group of which ``users`` write or read it."""
    readers = [u for u in users if u in plan.readers[buf]]
    step = max((plan.tilings[u].rows for u in users if u not in readers), default=1)
    return _held(plan, buf, max(1, window_rows(plan, buf, readers)), step)


def _held(plan: Plan, buf: Buffer, window: int, step: int) -> int:
    slack = plan.policy.slack
    rows = max(2 if slack else 1, step, window + slack * step)
    return rows if rows < _WHOLE * buf.height else buf.height


def set_rings(plan: Plan) -> None:
    """Rings for the tensors that no other group reads; all others are whole."""
    for buf in plan.buffers:
        users = plan.users(buf)
        inside = len({plan.group_of[i] for i in users}) == 1
        plan.rings[buf] = ring_rows(plan, buf) if inside else buf.height
