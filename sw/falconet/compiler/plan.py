"""Decide what streams and what stays: groups of operations, ring sizes, tile sizes.

A *group* is a run of operations whose weights are resident together; its inner tensors live in
rings of a few rows, so the group works depth first in row stripes. Tensors that cross a group's
border are kept whole in the scratchpad. Groups are cut where least data crosses, by dynamic
programming over the operations in order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from falconet.compiler.detect import ScanOp
from falconet.compiler.lower import Network
from falconet.compiler.ops import (
    TILE_CYCLES,
    Buffer,
    ImageOp,
    LoadOp,
    MacOp,
    Op,
    StoreOp,
    tile_rows,
)
from falconet.compiler.spill import insert_spills
from falconet.isa import Dst, Engine, FalconetError

__all__ = ["Plan", "make_plan"]

CUT_COST = 300  # words; keeps groups from being cut for nothing


@dataclass
class Plan:
    """Operations in order, and which group each belongs to."""

    net: Network
    ops: list[Op]
    group_of: list[int]
    slack: int
    writers: dict[int, list[int]] = field(default_factory=dict)  # id(buffer) -> op indices
    readers: dict[int, list[int]] = field(default_factory=dict)

    @property
    def n_groups(self) -> int:
        return self.group_of[-1] + 1

    def index(self) -> None:
        """Find the writers and readers of every buffer."""
        self.writers, self.readers = {}, {}
        for i, op in enumerate(self.ops):
            if op.output is not None:
                self.writers.setdefault(id(op.output.buffer), []).append(i)
            for slot in op.inputs:
                self.readers.setdefault(id(slot.buffer), []).append(i)


def make_plan(net: Network, fill: float = 0.9, slack: int = 2, spill: float = math.inf) -> Plan:
    """Group, ring and tile the network so that at most ``fill`` of the scratchpad is planned.

    ``slack``: tiles that a ring holds beyond what its readers need at once. ``spill``: tensors of
    more words than this go through DDR where they cross from group to group.
    """
    ops = _order(net)
    for op in ops:
        op.row_step = tile_rows(op)
    plan = Plan(net, ops, [0] * len(ops), slack)
    plan.index()
    plan.group_of = _cut(plan, int(net.arch.scratchpad_words * fill), spill)
    if spill < math.inf:
        insert_spills(plan, spill)
    _rings(plan)
    _chunk(plan)
    return plan


def _order(net: Network) -> list[Op]:
    """Loads just before their first reader, stores and scans just after the last writer."""
    loads = [op for op in net.ops if op.engine is Engine.LOAD]
    stores = [op for op in net.ops if isinstance(op, StoreOp | ScanOp)]
    ordered: list[Op] = []
    for op in net.ops:
        if op in loads or op in stores:
            continue
        for load in [ld for ld in loads
                     if any(s.buffer is ld.output.buffer for s in op.inputs)]:  # type: ignore[union-attr]
            ordered.append(load)
            loads.remove(load)
        ordered.append(op)
    ordered = loads + ordered
    for store in stores:
        last = max(i for i, op in enumerate(ordered) if op.output is not None
                   and any(op.output.buffer is s.buffer for s in store.inputs))
        ordered.insert(last + 1, store)
    return ordered


def _weight_words(op: Op) -> int:
    return sum(op.block_words(b) for b in range(op.blocks)) if op.memory is not None else 0


def _ring_rows(buf: Buffer, plan: Plan, at_once: bool = True) -> int:
    """Rows that producer and consumers need at once, and the slack.

    Consumers that want all rows at once count if ``at_once``; else the tensor goes through DDR.
    """
    readers = plan.readers.get(id(buf), [])
    if not at_once:
        readers = [r for r in readers if not plan.ops[r].at_once]
    elif not readers:
        return buf.height
    step = max(plan.ops[w].row_step for w in plan.writers[id(buf)])
    window = 0
    for r in readers:
        op = plan.ops[r]
        for tile in op.tiles():
            for slot, (lo, hi) in zip(op.inputs, op.needs(tile.y0, tile.y1)):
                if slot.buffer is buf:
                    window = max(window, hi - lo)
    rows = max(2, window + plan.slack * step)
    return rows if rows < 0.9 * buf.height else buf.height


def _called(plan: Plan, op: Op) -> str:
    """What the ONNX file calls an operation."""
    if op.layer in range(len(plan.net.graph.nodes)):
        return f"node '{plan.net.graph.nodes[op.layer].origin}'"
    if isinstance(op, LoadOp | ImageOp):
        return f"input '{op.source.name}'"
    return f"output '{op.target.name}'" if isinstance(op, StoreOp) else f"node '{op.name}'"


def _cut(plan: Plan, capacity: int, spill: float) -> list[int]:
    ops, n = plan.ops, len(plan.ops)
    arch = plan.net.arch
    buffers = {id(b): b for b in plan.net.buffers if id(b) in plan.writers}
    users = {k: sorted(plan.writers[k] + plan.readers.get(k, [])) for k in buffers}
    whole = {k: b.height * b.row_words for k, b in buffers.items()}
    ring = {k: _ring_rows(buffers[k], plan) * buffers[k].row_words for k in buffers}
    stripe = {k: _ring_rows(buffers[k], plan, at_once=False) * buffers[k].row_words
              for k in buffers}
    crossing = [
        sum(whole[k] * (1 + (whole[k] > spill)) for k, u in users.items() if u[0] < i <= u[-1])
        for i in range(n + 1)
    ]
    words = {m: [_weight_words(op) if op.memory is m else 0 for op in ops]
             for m in (Dst.WEIGHTS, Dst.VECTOR)}
    limit = {Dst.WEIGHTS: arch.weight_words // 2, Dst.VECTOR: arch.vector_words // 2}

    def overweight(i: int, j: int) -> bool:
        return any(sum(w[i:j]) > limit[m] for m, w in words.items())

    def need(k: int, i: int, j: int) -> int:
        """Words of buffer k while operations i..j-1 run."""
        used = [u for u in users[k] if i <= u < j]
        if used and len(used) == len(users[k]):
            return ring[k]
        if whole[k] > spill:
            every = overweight(i, j) or any(ops[u].at_once for u in used)
            return (whole[k] if every else stripe[k]) if used else 0
        return whole[k] if users[k][0] < j and users[k][-1] >= i else 0

    def feasible(i: int, j: int) -> bool:
        """Operations i..j-1 as one group."""
        for engine in (Engine.MAC, Engine.VEC):
            if len({op.table for op in ops[i:j] if op.engine is engine and op.table}) > 1:
                return False
        return sum(need(k, i, j) for k in alive) <= capacity

    living: list[list[int]] = [[] for _ in ops]
    for k, u in users.items():
        for at in range(u[0], u[-1] + 1):
            living[at].append(k)
    best: list[tuple[float, int]] = [(0.0, 0)] + [(math.inf, 0)] * n
    for j in range(1, n + 1):
        alive: set[int] = set()  # buffers that operations i..j-1 need, or leave in peace
        for i in range(j - 1, -1, -1):
            alive.update(living[i])
            if best[i][0] == math.inf:
                continue
            if j - i > 1 and overweight(i, j):
                break
            cost = best[i][0] + crossing[i] + CUT_COST
            if cost < best[j][0] and feasible(i, j):
                best[j] = (cost, i)
    if best[n][0] == math.inf:
        j = max(k for k in range(n + 1) if best[k][0] < math.inf)
        raise FalconetError(
            f"{_called(plan, ops[j])}: its tensors do not fit the scratchpad of '{arch.name}' "
            f"({arch.scratchpad_words} words), even in row stripes where its weights stay on chip; "
            "use a smaller input or a larger preset"
        )
    group_of, j, starts = [0] * n, n, []
    while j > 0:
        starts.append((best[j][1], j))
        j = best[j][1]
    for g, (i, j) in enumerate(reversed(starts)):
        group_of[i:j] = [g] * (j - i)
    return group_of


def _rings(plan: Plan) -> None:
    for buf in plan.net.buffers:
        writers = plan.writers.get(id(buf), [])
        users = writers + plan.readers.get(id(buf), [])
        inside = len({plan.group_of[i] for i in users}) == 1
        buf.ring = _ring_rows(buf, plan) if users and inside else buf.height


def _chunk(plan: Plan) -> None:
    """Operations whose weights exceed half the memory go block by block, over all rows."""
    arch = plan.net.arch
    depth = {Dst.WEIGHTS: arch.weight_words, Dst.VECTOR: arch.vector_words}
    chunked: set[int] = set()  # buffers written chunk by chunk
    for op in plan.ops:
        if op.memory is None or op.output is None:
            continue
        after = any(id(s.buffer) in chunked for s in op.inputs)
        if _weight_words(op) <= depth[op.memory] // 2 and not (
            after and not isinstance(op, MacOp)
        ):
            continue
        op.row_step = op.height
        op.chunks = _chunks(op, depth[op.memory] // 4)
        if len(op.chunks) > 1:
            chunked.add(id(op.output.buffer))
            for slot in (*op.inputs, op.output):
                slot.buffer.ring = slot.buffer.height


def _chunks(op: Op, words: int) -> list[tuple[int, int]]:
    chunks, b0 = [], 0
    for b in range(op.blocks):
        size = sum(op.block_words(i) for i in range(b0, b + 1))
        op.chunks = [(b0, b)]
        busy = b > b0 and sum(op.cycles(t) for t in op.tiles()) >= TILE_CYCLES
        if b > b0 and (size > words or busy):
            chunks.append((b0, b))
            b0 = b
    return [*chunks, (b0, op.blocks)]
