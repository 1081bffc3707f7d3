"""Put tiles into an order: simulate the engines at compile time and take what is ready.

Every engine, when free, takes the deepest operation whose next tile has its inputs, its weights
and, where rows live in a ring, room for its output (or the shallowest, as the policy says). Tiles
of the next groups may start early. The order in which tiles start is the program's order; waits are
derived later from the memory that the instructions really touch, so a wrong estimate costs cycles,
never correctness.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from falconet.compiler.machine import cost
from falconet.compiler.machine.detect import ScanOp
from falconet.compiler.machine.op import Tile
from falconet.compiler.machine.place import Buffer, weight_depths
from falconet.compiler.machine.transfer import StoreOp
from falconet.compiler.schedule.plan import Plan
from falconet.compiler.schedule.policy import Order
from falconet.compiler.schedule.progress import Progress
from falconet.compiler.schedule.weights import (
    TABLE,
    TABLES,
    TableRun,
    WeightLoad,
    WeightMemory,
    table_runs,
    weight_loads,
)
from falconet.isa import Engine, FalconetError

__all__ = ["Schedule", "Stuck", "Task", "make_schedule"]

_ENGINES = tuple(Engine)


@dataclass(frozen=True)
class Task:
    """A tile of an operation, or a load of weights, in program order."""

    start: int
    engine: Engine
    op: int
    tile: Tile | None = None
    load: WeightLoad | None = None


@dataclass
class Schedule:
    """A plan's tasks in program order, the rows that each buffer holds, and, once they are
    allocated, the word where each begins."""

    plan: Plan
    rings: dict[Buffer, int]
    tasks: list[Task]
    bases: dict[Buffer, int] = field(default_factory=dict)

    @property
    def cycles(self) -> int:
        """The estimate: when the last task starts."""
        return self.tasks[-1].start


class Stuck(FalconetError):
    """A plan in whose order something waits for what comes later, however long the rings are."""


class _Deadlock(Exception):
    def __init__(self, blocked: list[int]) -> None:
        self.blocked = blocked


def make_schedule(plan: Plan) -> Schedule:
    """Order all tiles.

    Rings that turn out too short are lengthened and the work begins again, with stripes when all
    is done; so it does where levels of a detection head were ready in another order than they were
    scanned in. Levels that come in stripes keep their order, which is that of the groups. Raises
    Stuck if longer rings do not help.
    """
    rings = dict(plan.rings)
    scans = [i for i, op in enumerate(plan.ops) if isinstance(op, ScanOp)]
    keep = any(plan.tilings[i].rows < plan.ops[i].height for i in scans)
    again = False
    while True:
        try:
            simulation = _Simulation(plan, rings, scans)
            tasks = simulation.run()
        except _Deadlock as stuck:
            simulation.lengthen(stuck.blocked)
            continue
        ready = sorted(scans, key=lambda i: simulation.ready[i])
        if simulation.lengthened and not again:
            again = True  # now from the start with the rings that they have become
        elif keep or ready == scans or sorted(scans) != scans:
            return Schedule(plan, rings, tasks)
        else:
            scans = ready


class _Simulation:
    """Engines, weight memories and time."""

    def __init__(self, plan: Plan, rings: dict[Buffer, int], scans: list[int]) -> None:
        self.plan, self.progress = plan, Progress(plan, rings)
        self.deepest = plan.policy.order is Order.DEEPEST
        self.tiles_left: dict[tuple[int, int], int] = {}
        for i, work in enumerate(self.progress.work):
            for t in work.tiles:
                self.tiles_left[i, t.chunk] = self.tiles_left.get((i, t.chunk), 0) + 1
        loads, depths = weight_loads(plan), weight_depths(plan.net.arch)
        self.memories = [WeightMemory(depths[m], loads[m], self.tiles_left) for m in loads]
        order = scans + [i for i in range(len(plan.ops)) if i not in scans]
        self.tables = {e: table_runs(plan, e, order) for e in TABLES}
        self.next_table = dict.fromkeys(TABLES, 0)
        self.run_of: dict[int, TableRun] = {
            i: run for runs in self.tables.values() for run in runs for i in run.users}
        self.loaded: set[tuple[int, int]] = set()  # operation and chunk, or TABLE
        self.lengthened = False
        self.ready = dict.fromkeys(scans, -1)  # when the inputs of a scan were complete

    def run(self) -> list[Task]:
        """Tasks in the order of their starts; raises _Deadlock, or Stuck."""
        left = sum(self.progress.total)
        order: list[Task] = []
        events: list[tuple[int, int, Task]] = []
        free = dict.fromkeys(Engine, 0)
        polled: Sequence[Engine] = _ENGINES  # engines for which something may have changed
        now = serial = 0
        while left:
            for engine in polled:
                task = self._pick(engine, now) if free[engine] <= now else None
                if task is not None:
                    free[engine] = now + self._cycles(task)
                    serial += 1
                    heapq.heappush(events, (free[engine] + cost.DRAIN, serial, task))
                    heapq.heappush(events, (free[engine], -serial, task))
                    order.append(task)
            if not events:
                blocked = self._blocked()
                if not self.plan.policy.stripe:
                    raise _Deadlock(blocked)
                self.lengthen(blocked)
                continue
            now, mark, task = heapq.heappop(events)
            if mark > 0:
                polled = _ENGINES
                self._finish(task, now)
                left -= task.tile is not None
            else:
                polled = [e for e in _ENGINES if free[e] == now]
        return order

    def lengthen(self, blocked: list[int]) -> None:
        """Give the rings of operations that want room another tile each."""
        self.lengthened = True
        for i in blocked:
            output = self.plan.ops[i].output
            assert output is not None
            buf, rings = output.buffer, self.progress.rings
            rings[buf] = min(buf.height, rings[buf] + self.plan.tilings[i].rows)
            self.progress.wake(i)

    def _cycles(self, task: Task) -> int:
        if task.load is not None:
            return cost.weights(task.load.size)
        return self.progress.work[task.op].cycles[self.progress.issued[task.op] - 1]

    def _finish(self, task: Task, now: int) -> None:
        if task.load is not None:
            if task.load.last:
                self.loaded.add((task.op, task.load.chunk))
            for i in self.run_of[task.op].users if task.load.chunk == TABLE else [task.op]:
                self.progress.wake(i)
            return
        assert task.tile is not None
        self.tiles_left[task.op, task.tile.chunk] -= 1
        self.progress.finish(task.op, task.tile)
        for i, at in self.ready.items():
            if at < 0 and self.progress.inputs_ready(i):
                self.ready[i] = now

    def _weights_ready(self, i: int) -> bool:
        op, tile = self.plan.ops[i], self.progress.work[i].tiles[self.progress.issued[i]]
        if op.memory is not None and (i, tile.chunk) not in self.loaded:
            return False
        return i not in self.run_of or (self.run_of[i].load.op, TABLE) in self.loaded

    def _pick(self, engine: Engine, now: int) -> Task | None:
        progress = self.progress
        waiting = progress.open[engine]
        for i in sorted(waiting, reverse=self.deepest):
            if self._weights_ready(i) and progress.inputs_ready(i) and progress.room(i):
                tile = progress.work[i].tiles[progress.issued[i]]
                progress.issued[i] += 1
                if progress.issued[i] == progress.total[i]:
                    waiting.remove(i)
                return Task(now, engine, i, tile=tile)
            waiting.remove(i)
        return self._pick_weights(now) if engine is Engine.LOAD else None

    def _pick_weights(self, now: int) -> Task | None:
        """Of what has room, the load that the earliest operation waits for."""
        best: WeightLoad | None = None
        source: WeightMemory | Engine | None = None
        for memory in self.memories:
            load = memory.offer()
            if load is not None and (best is None or load.op < best.op):
                best, source = load, memory
        for engine, runs in self.tables.items():
            k = self.next_table[engine]
            if k == len(runs):
                continue
            before = runs[k - 1].users if k else []
            load = runs[k].load
            if all(self.progress.done(u) for u in before) and (best is None or load.op <= best.op):
                best, source = load, engine
        if best is None or source is None:
            return None
        if isinstance(source, WeightMemory):
            best = source.take()
        else:
            self.next_table[source] += 1
        return Task(now, Engine.LOAD, best.op, load=best)

    def _blocked(self) -> list[int]:
        """Operations that only want room in a ring."""
        progress = self.progress
        left = [i for i in range(len(self.plan.ops)) if progress.issued[i] < progress.total[i]]
        stuck = [i for i in left if self._weights_ready(i) and progress.inputs_ready(i)
                 and not progress.room(i)]
        if not stuck:
            plan = self.plan
            first = min(left, key=lambda i: (isinstance(plan.ops[i], StoreOp), i))
            raise Stuck(
                f"{plan.called(plan.ops[first])}: in the order that was tried it waits for what "
                f"finds no room in the memories of '{plan.net.arch.name}'; use a smaller input or "
                "a larger preset")
        return stuck
