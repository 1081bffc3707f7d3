"""Where groups end: where least data crosses, by dynamic programming over the operations."""

from __future__ import annotations

import dataclasses
import math
from itertools import accumulate

from falconet.compiler.machine import cost
from falconet.compiler.machine.detect import ScanOp
from falconet.compiler.machine.place import Buffer, weight_depths
from falconet.compiler.schedule.chunk import weight_words
from falconet.compiler.schedule.plan import Plan
from falconet.compiler.schedule.ring import local_rows, ring_rows
from falconet.compiler.schedule.spill import blocks_of
from falconet.isa import Dst, Engine, FalconetError

__all__ = ["set_groups"]


def set_groups(plan: Plan) -> None:
    """Set ``group_of``. Raises FalconetError naming the first operation that fits no group."""
    grouping, n = _Grouping(plan), len(plan.ops)
    best: list[tuple[float, int]] = [(0.0, 0)] + [(math.inf, 0)] * n
    for j in range(1, n + 1):
        alive: set[Buffer] = set()  # buffers that operations i..j-1 need, or leave in peace
        for i in range(j - 1, -1, -1):
            alive.update(grouping.living[i])
            if best[i][0] == math.inf:
                continue
            if j - i > 1 and (grouping.overweight(i, j) or grouping.two_tables(i, j)):
                break
            price = best[i][0] + (grouping.cycles(i, j, alive) if plan.policy.stripe
                                  else grouping.crossing[i] + cost.CUT_COST)
            if price < best[j][0] and grouping.feasible(i, j, alive):
                best[j] = (price, i)
    if best[n][0] == math.inf:
        first = max(k for k in range(n + 1) if best[k][0] < math.inf)
        arch, words = plan.net.arch, grouping.need(first, first + 1, set(grouping.living[first]))
        raise FalconetError(
            f"{plan.called(plan.ops[first])}: the rows that must be on chip while it works take "
            f"{words} words, and the scratchpad of '{arch.name}' holds {grouping.capacity}; use a "
            "smaller input or a larger preset"
        )
    j, starts = n, []
    while j > 0:
        starts.append((best[j][1], j))
        j = best[j][1]
    for g, (i, j) in enumerate(reversed(starts)):
        plan.group_of[i:j] = [g] * (j - i)


class _Grouping:
    """Words that operations i..j-1 take as one group, and what crosses in front of each.

    ``living[i]``: buffers between whose first and last user operation i is; ``crossing[i]``: words
    that a group's border before operation i keeps whole, those that go through DDR twice.
    """

    def __init__(self, plan: Plan) -> None:
        arch, n = plan.net.arch, len(plan.ops)
        self.plan = plan
        self.spill = plan.policy.spill * arch.scratchpad_words
        self.capacity = int(arch.scratchpad_words * plan.policy.fill)
        self.users = {b: sorted(plan.users(b)) for b in plan.buffers if b in plan.writers}
        self.whole = {b: b.height * b.row_words for b in self.users}
        self.ring = {b: ring_rows(plan, b) * b.row_words for b in self.users}
        self.local: dict[tuple[Buffer, int, int], int] = {}
        self.moved: dict[tuple[Buffer, int, int], tuple[int, int]] = {}
        self.busy = {e: list(accumulate(
            (_busy(plan, i) if plan.policy.stripe and op.engine is e else 0
             for i, op in enumerate(plan.ops)), initial=0)) for e in Engine}
        self.following = {e: _following(plan, e) for e in (Engine.MAC, Engine.VEC)}
        self.crossing = [0] * (n + 1)
        self.living: list[list[Buffer]] = [[] for _ in plan.ops]
        for buf, users in self.users.items():
            words = self.whole[buf] * (1 + (self.whole[buf] > self.spill))
            for at in range(users[0], users[-1] + 1):
                self.living[at].append(buf)
                if at > users[0]:
                    self.crossing[at] += words
        whole = plan.policy.stripe > 0  # a group may have all of the memory
        self.limit = {m: depth if whole else depth // 2
                      for m, depth in weight_depths(arch).items()}
        self.before: dict[Dst, list[int]] = {}  # weight words of the operations before each
        self.users_before: dict[Dst, list[int]] = {}  # and how many of them have any
        for memory in self.limit:
            own = [weight_words(op) if op.memory is memory else 0 for op in plan.ops]
            self.before[memory] = list(accumulate(own, initial=0))
            self.users_before[memory] = list(accumulate((int(n > 0) for n in own), initial=0))

    def cycles(self, i: int, j: int, alive: set[Buffer]) -> float:
        """What the busiest engine does for operations i..j-1, and what a border costs."""
        load, store = self.busy[Engine.LOAD], self.busy[Engine.STORE]
        reads, writes = load[j] - load[i], store[j] - store[i]
        for buf in alive:
            if self.whole[buf] > self.spill:
                made, used = self.io(buf, i, j)
                reads, writes = reads + used, writes + made
        return cost.BORDER + max(reads, writes, *(
            self.busy[e][j] - self.busy[e][i] for e in (Engine.MAC, Engine.VEC)))

    def io(self, buf: Buffer, i: int, j: int) -> tuple[int, int]:
        """Cycles of STORE and of LOAD for a tensor through DDR, in the group of i..j-1."""
        users = self.users[buf]
        used = [u for u in users if i <= u < j]
        if not used or len(used) == len(users):
            return 0, 0
        key = buf, used[0], used[-1]
        if key not in self.moved:
            wrote = [u for u in used if u in self.plan.writers[buf]]
            size = self.whole[buf] * self.plan.net.arch.lanes
            pieces = self._pieces(buf, used)[bool(wrote):]
            reads = sum(self._share(buf, p) for p in pieces) * cost.load(size)
            image = any(self.plan.ops[w].engine is Engine.LOAD for w in wrote)
            writes = self._share(buf, wrote) * cost.store(size) if wrote and not image else 0
            self.moved[key] = int(writes), int(reads)
        return self.moved[key]

    def _share(self, buf: Buffer, users: list[int]) -> float:
        first, end = blocks_of(self.plan, buf, users)
        return (end - first) / buf.blocks

    def overweight(self, i: int, j: int) -> bool:
        """Whether operations i..j-1 have more weights than a group may; one that may load its
        weights again has not."""
        return any(
            w[j] - w[i] > self.limit[m]
            and not (self.plan.policy.stripe and n[j] - n[i] == 1)
            for (m, w), n in zip(self.before.items(), self.users_before.values()))

    def feasible(self, i: int, j: int, alive: set[Buffer]) -> bool:
        """Operations i..j-1 as one group, beside what is ``alive`` meanwhile."""
        return self.need(i, j, alive) <= self.capacity

    def two_tables(self, i: int, j: int) -> bool:
        """Whether operation i wants another table of its engine than the later ones up to j; so do
        levels that come in stripes, of which the second would wait for the end of the first."""
        op = self.plan.ops[i]
        if op.engine is Engine.DETECT and op.at_once and not self.whole_level(i):
            return any(isinstance(later, ScanOp) and not self.whole_level(k)
                       for k, later in enumerate(self.plan.ops[i + 1:j], i + 1))
        if op.table is None or op.engine not in (Engine.MAC, Engine.VEC):
            return False
        following = self.following[op.engine]
        return i + 1 < j and following[i + 1] < j and (
            self.plan.ops[following[i + 1]].table != op.table)

    def whole_level(self, i: int) -> bool:
        """Whether operation i wants all rows of its inputs at once."""
        op = self.plan.ops[i]
        return op.at_once and self.plan.tilings[i].rows >= op.height

    def need(self, i: int, j: int, alive: set[Buffer]) -> int:
        """Words of the scratchpad while operations i..j-1 run."""
        return sum(self._need(b, i, j) for b in alive)

    def _need(self, buf: Buffer, i: int, j: int) -> int:
        """Words of a buffer while operations i..j-1 run."""
        users, whole = self.users[buf], self.whole[buf]
        used = [u for u in users if i <= u < j]
        if used and len(used) == len(users):
            return self.ring[buf]
        if whole > self.spill:
            every = self.overweight(i, j) or any(self.whole_level(u) for u in used)
            return whole if every and used else self._local(buf, used)
        return whole if users[0] < j and users[-1] >= i else 0

    def _local(self, buf: Buffer, used: list[int]) -> int:
        """Words of the ring of a tensor through DDR that these operations of a group use."""
        if not used:
            return 0
        key = buf, used[0], used[-1]
        if key not in self.local:
            self.local[key] = sum(self._piece(buf, piece) for piece in self._pieces(buf, used))
        return self.local[key]

    def _pieces(self, buf: Buffer, used: list[int]) -> list[list[int]]:
        """The users that share a ring; where a part of the tensor is made each reader has its own.
        """
        wrote = [u for u in used if u in self.plan.writers[buf]]
        if not wrote or len(wrote) == len(self.plan.writers[buf]):
            return [used]
        return [wrote, *([u] for u in used if u not in wrote)]

    def _piece(self, buf: Buffer, used: list[int]) -> int:
        first, end = blocks_of(self.plan, buf, used)
        return local_rows(self.plan, buf, used) * (end - first) * buf.width


def _busy(plan: Plan, i: int) -> int:
    """Cycles of the engine of an operation, cut as it is."""
    op, tiling = plan.ops[i], plan.tilings[i]
    whole = dataclasses.replace(tiling, rows=op.height)
    return sum(op.cycles(t) for t in whole.tiles(op.height))


def _following(plan: Plan, engine: Engine) -> list[int]:
    """For each operation the first from it on that wants a table of an engine."""
    found = [len(plan.ops)] * (len(plan.ops) + 1)
    for i in range(len(plan.ops) - 1, -1, -1):
        op = plan.ops[i]
        found[i] = i if op.engine is engine and op.table is not None else found[i + 1]
    return found
