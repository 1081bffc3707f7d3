"""Tensors that go through DDR: stored row by row where they are made, loaded where they are used.

Each group gets a buffer of its own for such a tensor, a ring like any other. A group that makes
the whole tensor reads its own buffer; every other group gets a load, and in a group that makes a
part of the tensor every reader gets one, which waits for the stores before it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from falconet.compiler.ops import Buffer, DdrTensor, ImageOp, LoadOp, Op, Slot, StoreOp, tile_rows
from falconet.isa import Engine, Segment

if TYPE_CHECKING:
    from falconet.compiler.plan import Plan

__all__ = ["insert_spills"]


def insert_spills(plan: Plan, limit: float) -> None:
    """Rewrite the plan's operations; buffers of at most ``limit`` words stay as they are."""
    before: dict[int, list[Op]] = {}  # op index -> operations to put in front
    after: dict[int, list[Op]] = {}
    for buf in list(plan.net.buffers):
        users = plan.writers.get(id(buf), []) + plan.readers.get(id(buf), [])
        groups = sorted({plan.group_of[i] for i in users})
        if len(groups) > 1 and buf.height * buf.row_words > limit:
            _spill(plan, buf, groups, before, after)
    ops: list[Op] = []
    group_of: list[int] = []
    for i, op in enumerate(plan.ops):
        for new in (*before.get(i, []), op, *after.get(i, [])):
            ops.append(new)
            group_of.append(plan.group_of[i])
    plan.ops, plan.group_of = ops, group_of
    plan.index()


def _spill(plan: Plan, buf: Buffer, groups: list[int], before: dict[int, list[Op]],
           after: dict[int, list[Op]]) -> None:
    net, lanes = plan.net, plan.net.arch.lanes
    writers, readers = plan.writers[id(buf)], plan.readers[id(buf)]
    loads = [plan.ops[w] for w in writers if plan.ops[w].engine is Engine.LOAD]
    ddr = DdrTensor(buf.name, Segment.WORK, 0, buf.row_words * lanes, buf.height)
    if not loads:
        ddr.offset = net.reserve(Segment.WORK, buf.height * ddr.pitch)
    makers = {plan.group_of[w] for w in writers}
    for group in groups:
        here = [r for r in readers if plan.group_of[r] == group]
        local = dataclasses.replace(buf, name=f"{buf.name}@{group}")
        net.buffers.append(local)
        for w in (w for w in writers if plan.group_of[w] == group):
            op = plan.ops[w]
            assert op.output is not None
            op.output = _moved(op.output, local)
            if not loads:
                after.setdefault(w, []).append(_store(op.output, ddr, lanes))
        if makers == {group} or not here:
            for r in here:
                _redirect(plan.ops[r], buf, local)
            continue
        if group not in makers:
            for r in here:
                _redirect(plan.ops[r], buf, local)
            before.setdefault(min(here), []).append(_load(loads, local, ddr, lanes))
            continue
        for r in here:  # a part that one reads may be made of what another has read
            back = dataclasses.replace(buf, name=f"{buf.name}@{group}/{r}")
            net.buffers.append(back)
            _redirect(plan.ops[r], buf, back)
            before.setdefault(r, []).append(_load(loads, back, ddr, lanes))
    net.buffers.remove(buf)


def _moved(slot: Slot, to: Buffer) -> Slot:
    return dataclasses.replace(slot, buffer=to)


def _redirect(op: Op, old: Buffer, new: Buffer) -> None:
    op.inputs = [_moved(s, new) if s.buffer is old else s for s in op.inputs]


def _store(slot: Slot, ddr: DdrTensor, lanes: int) -> StoreOp:
    part = dataclasses.replace(ddr, offset=ddr.offset + slot.block0 * slot.buffer.width * lanes)
    op = StoreOp(f"spill {ddr.name}", -1, [slot], None, ddr.height, target=part, lanes=lanes)
    op.row_step = tile_rows(op)
    return op


def _load(loads: list[Op], buf: Buffer, ddr: DdrTensor, lanes: int) -> Op:
    slot = Slot(buf, 0, buf.blocks, np.arange(buf.blocks * lanes))
    op: Op
    if loads:
        first = loads[0]
        assert isinstance(first, (LoadOp, ImageOp))
        op = dataclasses.replace(first, output=slot)
    else:
        op = LoadOp(f"reload {ddr.name}", -1, [], slot, ddr.height, source=ddr, lanes=lanes)
    op.row_step = tile_rows(op)
    return op
