"""Put tiles into an order: simulate the engines at compile time and take what is ready.

Every engine, when free, takes the deepest operation whose next tile has its inputs, its weights
and, where rows live in a ring, room for its output. Tiles of the next groups may start early. The
order in which tiles start is the program's order; waits are derived later from the memory that
the instructions really touch, so a wrong estimate costs cycles, never correctness.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from falconet.compiler.detect import ScanOp
from falconet.compiler.ops import LoadOp, Op, StoreOp, Tile
from falconet.compiler.plan import Plan
from falconet.isa import Dst, Engine

__all__ = ["Task", "WeightLoad", "make_schedule"]

_TABLES = {Engine.MAC: Dst.MAC_TABLE, Engine.VEC: Dst.VEC_TABLE, Engine.DETECT: Dst.DETECT}
DRAIN = 40  # cycles from an engine's last issue to its last write


@dataclass
class WeightLoad:
    """A chunk of weights (or a table) on its way into its memory, at ``base`` (words)."""

    op: int
    chunk: int
    memory: Dst
    data: bytes
    words: int
    base: int = 0


@dataclass
class Task:
    """A tile of an operation, or a load of weights, in program order."""

    start: int
    engine: Engine
    op: int
    tile: Tile | None = None
    load: WeightLoad | None = None


class _WeightMemory:
    """First in, first out: a chunk is given back when its last tile is done."""

    def __init__(self, depth: int, loads: list[WeightLoad], tiles_left: dict[tuple[int, int], int]
                 ) -> None:
        self.depth, self.loads, self.tiles_left = depth, loads, tiles_left
        self.next, self.oldest, self.used, self.head = 0, 0, 0, 0

    def offer(self) -> WeightLoad | None:
        while self.oldest < self.next:
            old = self.loads[self.oldest]
            if self.tiles_left[old.op, old.chunk]:
                break
            self.used -= old.words
            self.oldest += 1
        if self.next == len(self.loads):
            return None
        load = self.loads[self.next]
        return load if self.used + load.words <= self.depth else None

    def take(self) -> WeightLoad:
        load = self.loads[self.next]
        load.base = self.head % self.depth
        self.head += load.words
        self.used += load.words
        self.next += 1
        return load


class _Deadlock(Exception):
    def __init__(self, blocked: list[Op]) -> None:
        self.blocked = blocked


def make_schedule(plan: Plan, ahead: int) -> list[Task]:
    """Order all tiles; ``ahead``: how many groups beyond the first unfinished one may start.

    Rings that turn out too short are lengthened and the work begins again; so it does where levels
    of a detection head were ready in another order than they were scanned in.
    """
    scans = [i for i, op in enumerate(plan.ops) if isinstance(op, ScanOp)]
    while True:
        try:
            simulation = _Simulation(plan, ahead, scans)
            tasks = simulation.run()
            ready = sorted(scans, key=lambda i: simulation.ready[i])
            if ready == scans or sorted(scans) != scans:
                return tasks
            scans = ready
        except _Deadlock as stuck:
            for op in stuck.blocked:
                assert op.output is not None
                buf = op.output.buffer
                buf.ring = min(buf.height, buf.ring + op.row_step)


class _Simulation:
    def __init__(self, plan: Plan, ahead: int, scans: list[int]) -> None:
        self.plan, self.ops, self.ahead = plan, plan.ops, ahead
        arch = plan.net.arch
        self.tiles = [op.tiles() for op in self.ops]
        self.issued = [0] * len(self.ops)
        self.finished = [0] * len(self.ops)
        self.rows_done = {id(b): [0] * b.blocks for b in plan.net.buffers}
        self.loaded: set[tuple[int, int, bool]] = set()
        left: dict[tuple[int, int], int] = {}
        for i, tiles in enumerate(self.tiles):
            for t in tiles:
                left[i, t.chunk] = left.get((i, t.chunk), 0) + 1
        self.tiles_left = left
        self.memories = [
            _WeightMemory(depth, self._loads(memory), left)
            for memory, depth in ((Dst.WEIGHTS, arch.weight_words), (Dst.VECTOR, arch.vector_words))
        ]
        others = [i for i in range(len(self.ops)) if i not in scans]
        self.tables = {e: self._tables(e, scans + others) for e in _TABLES}
        self.ready = dict.fromkeys(scans, -1)  # when the inputs of a scan were complete
        index = {id(op): i for i, op in enumerate(self.ops)}
        self.after = [[index[id(b)] for b in op.after] for op in self.ops]
        self.group_left = [0] * plan.n_groups
        for i, tiles in enumerate(self.tiles):
            self.group_left[plan.group_of[i]] += len(tiles)
        self.group = 0
        self.stores: dict[str, list[int]] = {}
        for i, op in enumerate(self.ops):
            if isinstance(op, StoreOp):
                self.stores.setdefault(op.target.name, []).append(i)
        self.by_engine = {
            e: [i for i, op in enumerate(self.ops) if op.engine is e] for e in Engine
        }

    def _loads(self, memory: Dst) -> list[WeightLoad]:
        lanes, taps = self.plan.net.arch.lanes, self.plan.net.arch.taps
        size = lanes * lanes if memory is Dst.WEIGHTS else lanes * taps
        loads = []
        for i, op in enumerate(self.ops):
            if op.memory is memory:
                for c, (b0, b1) in enumerate(op.chunks):
                    data = op.weights(b0, b1)
                    loads.append(WeightLoad(i, c, memory, data, len(data) // size))
        return loads

    def _tables(self, engine: Engine, order: list[int]) -> list[tuple[WeightLoad, list[int]]]:
        """Loads of tables in order, each with the operations that use it."""
        dst = _TABLES[engine]
        runs: list[tuple[WeightLoad, list[int]]] = []
        for i in order:
            op = self.ops[i]
            if op.engine is engine and op.table is not None:
                if not runs or runs[-1][0].data != op.table or dst is Dst.DETECT:
                    runs.append((WeightLoad(i, -1, dst, op.table, 1), []))
                runs[-1][1].append(i)
        return runs

    def run(self) -> list[Task]:
        total = sum(len(t) for t in self.tiles)
        order: list[Task] = []
        events: list[tuple[int, int, Task]] = []
        free = {e: 0 for e in Engine}
        now = serial = done = 0
        while done < total:
            for engine in Engine:
                if free[engine] <= now:
                    task = self._pick(engine, now)
                    if task is not None:
                        busy = self._cycles(task)
                        free[engine] = now + busy
                        serial += 1
                        heapq.heappush(events, (now + busy + DRAIN, serial, task))
                        heapq.heappush(events, (now + busy, -serial, task))
                        order.append(task)
            if not events:
                raise _Deadlock(self._blocked())
            now, mark, task = heapq.heappop(events)
            if mark > 0:
                done += self._finish(task)
                for i, at in self.ready.items():
                    if at < 0 and self._inputs_ready(i, self.tiles[i][0]):
                        self.ready[i] = now
        return order

    def _cycles(self, task: Task) -> int:
        if task.load is not None:
            return 40 + len(task.load.data) // 12
        assert task.tile is not None
        return self.ops[task.op].cycles(task.tile)

    def _finish(self, task: Task) -> int:
        if task.load is not None:
            self.loaded.add((task.op, task.load.chunk, task.load.chunk < 0))
            return 0
        tile, op = task.tile, self.ops[task.op]
        assert tile is not None
        self.finished[task.op] += 1
        self.tiles_left[task.op, tile.chunk] -= 1
        g = self.plan.group_of[task.op]
        self.group_left[g] -= 1
        while self.group < len(self.group_left) - 1 and not self.group_left[self.group]:
            self.group += 1
        if op.output is not None:
            rows = self.rows_done[id(op.output.buffer)]
            for b in range(op.output.block0 + tile.b0, op.output.block0 + tile.b1):
                rows[b] = tile.y1
        return 1

    def _next(self, i: int) -> Tile | None:
        return self.tiles[i][self.issued[i]] if self.issued[i] < len(self.tiles[i]) else None

    def _inputs_ready(self, i: int, tile: Tile) -> bool:
        op = self.ops[i]
        if any(self.finished[k] < len(self.tiles[k]) for k in self.after[i]):
            return False
        for store in self.stores.get(op.source.name, []) if isinstance(op, LoadOp) else []:
            done = self.finished[store]
            if store < i and done < len(self.tiles[store]) and self.tiles[store][done].y0 < tile.y1:
                return False
        for slot, (_, hi) in zip(op.inputs, op.needs(tile.y0, tile.y1)):
            rows = self.rows_done[id(slot.buffer)]
            b0, b1 = slot.block0, slot.block0 + slot.blocks
            if op.memory is Dst.VECTOR:
                b0, b1 = slot.block0 + tile.b0, slot.block0 + tile.b1
            if min(rows[b0:b1]) < hi:
                return False
        return True

    def _room(self, i: int, tile: Tile) -> bool:
        out = self.ops[i].output
        if out is None or out.buffer.whole:
            return True
        gone = tile.y1 - out.buffer.ring
        return gone <= 0 or all(
            self._low_water(r, out.buffer) >= gone for r in self.plan.readers[id(out.buffer)]
        )

    def _low_water(self, i: int, buffer: object) -> int:
        """First row of ``buffer`` that operation ``i`` still has to read."""
        op, k = self.ops[i], self.finished[i]
        if k == len(self.tiles[i]):
            return 1 << 30
        tile = self.tiles[i][k]
        needs = op.needs(tile.y0, tile.y1)
        return min(n[0] for s, n in zip(op.inputs, needs) if s.buffer is buffer)

    def _weights_ready(self, i: int, tile: Tile) -> bool:
        op = self.ops[i]
        if op.memory is not None and (i, tile.chunk, False) not in self.loaded:
            return False
        if op.table is not None:
            run = next(load for load, users in self.tables[op.engine] if i in users)
            return (run.op, -1, True) in self.loaded
        return True

    def _pick(self, engine: Engine, now: int) -> Task | None:
        limit = self.group + self.ahead
        for i in reversed(self.by_engine[engine]):
            if self.plan.group_of[i] > limit:
                continue
            tile = self._next(i)
            if (tile is not None and self._weights_ready(i, tile)
                    and self._inputs_ready(i, tile) and self._room(i, tile)):
                self.issued[i] += 1
                return Task(now, engine, i, tile=tile)
        return self._pick_weights(now) if engine is Engine.LOAD else None

    def _pick_weights(self, now: int) -> Task | None:
        best: WeightLoad | None = None
        source: _WeightMemory | None = None
        for memory in self.memories:
            load = memory.offer()
            if load is not None and (best is None or load.op < best.op):
                best, source = load, memory
        for runs in self.tables.values():
            for k, (load, _) in enumerate(runs):
                if (load.op, -1, True) in self.loaded or load.base < 0:
                    continue
                before = runs[k - 1][1] if k else []
                if all(self.finished[u] == len(self.tiles[u]) for u in before) and (
                        best is None or load.op <= best.op):
                    best, source = load, None
                break
        if best is None:
            return None
        if source is not None:
            source.take()
        else:
            best.base = -1  # under way
        return Task(now, Engine.LOAD, best.op, load=best)

    def _blocked(self) -> list[Op]:
        stuck = [
            self.ops[i] for i in range(len(self.ops))
            if (tile := self._next(i)) is not None and self._weights_ready(i, tile)
            and self._inputs_ready(i, tile) and not self._room(i, tile)
        ]
        if not stuck:
            names = [op.name for i, op in enumerate(self.ops)
                     if self._next(i) is not None and not isinstance(op, StoreOp)]
            raise AssertionError(f"schedule stuck at {names[:5]}")
        return stuck
