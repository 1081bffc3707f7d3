"""How far every operation is while its network is scheduled."""

from __future__ import annotations

from falconet.compiler.machine.op import Tile
from falconet.compiler.machine.place import Buffer
from falconet.compiler.machine.transfer import LoadOp, StoreOp
from falconet.compiler.schedule.plan import Plan
from falconet.isa import Engine

__all__ = ["Progress"]

_NEVER = 1 << 30
_FULL = 0.95  # of the scratchpad that groups under way may take


class Progress:
    """How far the tiles of every operation are, and which of them may start.

    ``open`` holds, engine by engine, the operations whose next tile may be ready; one that is found
    not to be leaves it until something that it waits for has changed.
    """

    def __init__(self, plan: Plan, rings: dict[Buffer, int]) -> None:
        self.plan, self.ops, self.rings = plan, plan.ops, rings
        self.work = [plan.work(i) for i in range(len(plan.ops))]
        self.total = [len(w.tiles) for w in self.work]
        self.issued = [0] * len(self.ops)
        self.finished = [0] * len(self.ops)
        self.rows_done = {b: [0] * b.blocks for b in plan.buffers}
        self.sources = [[(self.rows_done[s.buffer], s) for s in op.inputs] for op in self.ops]
        index = {op.name: i for i, op in enumerate(self.ops) if op.engine is Engine.DETECT}
        self.after = [[index[name] for name in op.after] for op in self.ops]
        self.stores: dict[str, list[int]] = {}
        for i, op in enumerate(self.ops):
            if isinstance(op, StoreOp):
                self.stores.setdefault(op.target.name, []).append(i)
        self.behind = [self.stores.get(op.source.name, []) if isinstance(op, LoadOp) else []
                       for op in self.ops]
        self.wakes = self._wakes()
        self.low: dict[tuple[int, Buffer], list[int]] = {}
        self.spans = plan.spans(rings)
        self.group = 0
        self.group_left = [0] * plan.n_groups
        for g, n in zip(plan.group_of, self.total):
            self.group_left[g] += n
        self.open: dict[Engine, set[int]] = {e: set() for e in Engine}
        self.limit = -1
        self._open_groups()

    def _wakes(self) -> list[list[int]]:
        """For each operation those whose next tile may be ready when one of its tiles is done."""
        wakes: list[set[int]] = [set() for _ in self.ops]
        for i, op in enumerate(self.ops):
            if op.output is not None:
                wakes[i].update(self.plan.readers.get(op.output.buffer, []))
            for slot in op.inputs:
                wakes[i].update(self.plan.writers[slot.buffer])
            for k in (*self.after[i], *self.behind[i]):
                wakes[k].add(i)
        return [sorted(w) for w in wakes]

    def _open_groups(self) -> None:
        while self.limit < self.group + self.plan.policy.ahead and self._fits(self.limit + 1):
            self.limit += 1
            for i, g in enumerate(self.plan.group_of):
                if g == self.limit:
                    self.wake(i)

    def _fits(self, last: int) -> bool:
        """Whether the groups from the first unfinished one to ``last`` may be under way together.
        """
        if last <= self.group or not self.plan.policy.stripe:
            return True
        words = sum(n for a, b, n in self.spans if a <= last and b >= self.group)
        return words <= _FULL * self.plan.net.arch.scratchpad_words

    def wake(self, i: int) -> None:
        if self.issued[i] < self.total[i] and self.plan.group_of[i] <= self.limit:
            self.open[self.ops[i].engine].add(i)

    def finish(self, i: int, tile: Tile) -> None:
        """A tile is done: its rows are there, those that it read are free."""
        self.finished[i] += 1
        output = self.ops[i].output
        if output is not None:
            rows = self.rows_done[output.buffer]
            for b in range(output.block0 + tile.b0, output.block0 + tile.b1):
                rows[b] = tile.y1
        self.group_left[self.plan.group_of[i]] -= 1
        if not self.group_left[self.group]:
            while self.group < len(self.group_left) - 1 and not self.group_left[self.group]:
                self.group += 1
            self._open_groups()
        for k in self.wakes[i]:
            self.wake(k)

    def done(self, i: int) -> bool:
        return self.finished[i] == self.total[i]

    def inputs_ready(self, i: int) -> bool:
        op, work, k = self.ops[i], self.work[i], self.issued[i]
        tile = work.tiles[k]
        if not all(self.done(a) for a in self.after[i]):
            return False
        for store in self.behind[i]:
            at = self.finished[store]
            if store < i and at < self.total[store] and (
                    self.work[store].tiles[at].y0 < tile.y1):
                return False
        for (rows, slot), (_, hi) in zip(self.sources[i], work.needs[k]):
            b0, b1 = op.block_range(tile, slot)
            if min(rows[slot.block0 + b0:slot.block0 + b1]) < hi:
                return False
        return True

    def room(self, i: int) -> bool:
        """Whether the ring has done with the rows that the next tile overwrites."""
        output = self.ops[i].output
        if output is None:
            return True
        buf = output.buffer
        gone = self.work[i].tiles[self.issued[i]].y1 - self.rings[buf]
        return self.rings[buf] >= buf.height or gone <= 0 or all(
            self._low_water(r, buf) >= gone for r in self.plan.readers[buf])

    def _low_water(self, i: int, buf: Buffer) -> int:
        """First row of ``buf`` that operation ``i`` still has to read."""
        if (i, buf) not in self.low:
            self.low[i, buf] = [
                min(n[0] for s, n in zip(self.ops[i].inputs, needs) if s.buffer is buf)
                for needs in self.work[i].needs] + [_NEVER]
        return self.low[i, buf][self.finished[i]]
