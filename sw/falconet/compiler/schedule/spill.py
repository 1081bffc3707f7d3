"""Tensors that go through DDR: stored row by row where they are made, loaded where they are used.

Each group gets a buffer of its own for such a tensor, a ring like any other. A group that makes
the whole tensor reads its own buffer; every other group gets a load, and in a group that makes a
part of the tensor every reader gets one, which waits for the stores before it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from falconet.compiler.machine.op import Op
from falconet.compiler.machine.place import Buffer, DdrTensor, Slot, aligned
from falconet.compiler.machine.transfer import LoadOp, StoreOp
from falconet.compiler.schedule.plan import Plan
from falconet.isa import Engine, Segment

__all__ = ["blocks_of", "insert_spills"]


def insert_spills(plan: Plan, limit: float) -> None:
    """Rewrite the plan's operations; buffers of at most ``limit`` words stay as they are."""
    spills = _Spills(plan)
    for buf in list(plan.buffers):
        groups = sorted({plan.group_of[i] for i in plan.users(buf)})
        if len(groups) > 1 and buf.height * buf.row_words > limit:
            spills.spill(buf, groups)
    ops: list[Op] = []
    group_of: list[int] = []
    for i, op in enumerate(plan.ops):
        for new in (*spills.before.get(i, []), op, *spills.after.get(i, [])):
            ops.append(new)
            group_of.append(plan.group_of[i])
    kept = dict(zip(plan.ops, plan.tilings))
    plan.ops, plan.group_of = ops, group_of
    tile = plan.policy.tile
    plan.tilings = [kept[op] if op in kept else plan.shop.tiling(op, tile) for op in ops]
    plan.index()


@dataclass(frozen=True)
class _Piece:
    """Buffer ``new`` holds blocks of ``old`` from ``first`` on."""

    old: Buffer
    new: Buffer
    first: int

    def moved(self, slot: Slot) -> Slot:
        """The slot where it is now."""
        if slot.buffer is not self.old:
            return slot
        return dataclasses.replace(slot, buffer=self.new, block0=slot.block0 - self.first)


def blocks_of(plan: Plan, buf: Buffer, users: list[int]) -> tuple[int, int]:
    """First and one past the last block of a buffer that some operations use."""
    slots = [s for i in users for s in plan.ops[i].slots if s.buffer is buf]
    return min(s.block0 for s in slots), max(s.block0 + s.blocks for s in slots)


class _Spills:
    """Operations to put before and after those of the plan, by index."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.lanes = plan, plan.net.arch.lanes
        self.before: dict[int, list[Op]] = {}
        self.after: dict[int, list[Op]] = {}

    def spill(self, buf: Buffer, groups: list[int]) -> None:
        plan = self.plan
        writers, readers = plan.writers[buf], plan.readers[buf]
        loads = [plan.ops[w] for w in writers if plan.ops[w].engine is Engine.LOAD]
        pitch = buf.row_words * self.lanes
        ddr = DdrTensor(buf.name, Segment.WORK, plan.work_bytes, pitch, buf.height)
        if not loads:
            plan.work_bytes += aligned(buf.height * pitch)
        makers = {plan.group_of[w] for w in writers}
        for group in groups:
            here = [r for r in readers if plan.group_of[r] == group]
            wrote = [w for w in writers if plan.group_of[w] == group]
            together = makers == {group} or not wrote
            local = self._piece(buf, f"{buf.name}@{group}", wrote + here if together else wrote)
            for w in wrote:
                self._write(w, local, None if loads else ddr)
            if together:
                for r in here:
                    self._read(r, local)
                if not wrote:
                    self.before.setdefault(min(here), []).append(self._load(loads, local, ddr))
                continue
            for r in here:  # a part that one reads may be made of what another has read
                back = self._piece(buf, f"{buf.name}@{group}/{r}", [r])
                self._read(r, back)
                self.before.setdefault(r, []).append(self._load(loads, back, ddr))
        plan.buffers.remove(buf)

    def _piece(self, buf: Buffer, name: str, users: list[int]) -> _Piece:
        """A buffer for the blocks that some operations use."""
        first, end = blocks_of(self.plan, buf, users)
        made = dataclasses.replace(buf, name=name, blocks=end - first)
        self.plan.buffers.append(made)
        return _Piece(buf, made, first)

    def _write(self, i: int, new: _Piece, ddr: DdrTensor | None) -> None:
        op = self.plan.ops[i]
        assert op.output is not None
        output = new.moved(op.output)
        self.plan.ops[i] = dataclasses.replace(op, output=output)
        if ddr is not None:
            offset = ddr.offset + op.output.block0 * new.old.width * self.lanes
            self.after.setdefault(i, []).append(StoreOp(
                f"spill {ddr.name}", -1, (output,), None, ddr.height, lanes=self.lanes,
                target=dataclasses.replace(ddr, offset=offset)))

    def _read(self, i: int, new: _Piece) -> None:
        op = self.plan.ops[i]
        self.plan.ops[i] = dataclasses.replace(op, inputs=tuple(map(new.moved, op.inputs)))

    def _load(self, loads: list[Op], piece: _Piece, ddr: DdrTensor) -> Op:
        buf = piece.new
        slot = Slot(buf, 0, buf.blocks, np.arange(buf.blocks * self.lanes))
        offset = piece.first * buf.width * self.lanes
        if loads and isinstance(loads[0], LoadOp):
            source = loads[0].source
            source = dataclasses.replace(source, offset=source.offset + offset)
            return dataclasses.replace(loads[0], output=slot, source=source)
        if loads:
            return dataclasses.replace(loads[0], output=slot)
        source = dataclasses.replace(ddr, offset=ddr.offset + offset)
        return LoadOp(f"reload {ddr.name}", -1, (), slot, ddr.height, source=source,
                      lanes=self.lanes)
