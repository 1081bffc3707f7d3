"""What must hold after each stage of the compiler, checked in every compilation.

A failure is a fault of the compiler, not of the file: AssertionError, naming what is wrong where.
All of it is about a fifth of a compilation. What each word of memory really sees, in every order
of events, is checked by ``falconet_sim.compare.hazards``, which takes far longer.
"""

from __future__ import annotations

import numpy as np

from falconet.compiler.emit.code import Code, Step
from falconet.compiler.machine.network import Network
from falconet.compiler.machine.place import Buffer, Slot, weight_depths
from falconet.compiler.machine.transfer import LoadOp, StoreOp
from falconet.compiler.schedule.allocate import lives
from falconet.compiler.schedule.plan import Plan
from falconet.compiler.schedule.ring import window_rows
from falconet.compiler.schedule.simulate import Schedule, Task
from falconet.compiler.schedule.weights import TABLE, WeightLoad
from falconet.isa import Dst, Engine, Instruction

__all__ = ["check_network", "check_places", "check_plan", "check_schedule", "check_waits"]


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


# ---------------------------------------------------------------------------- lowering


def check_network(net: Network) -> None:
    """Every tensor has one place inside its buffer; every block is written once, and before it is
    read."""
    tensors = [*net.graph.inputs, *(n.output for n in net.graph.nodes)]
    _must(sorted(net.slots) == sorted(tensors), "tensors and places are not one to one")
    lanes = net.arch.lanes
    for name, slot in net.slots.items():
        c, height, _ = net.graph.tensors[name].shape
        at, buf = np.asarray(slot.lane_of), slot.buffer
        _must(slot.name == name and buf in net.buffers, f"tensor '{name}' is in no buffer")
        _must(0 <= slot.block0 and slot.block0 + slot.blocks <= buf.blocks,
              f"tensor '{name}' reaches beyond the blocks of '{buf.name}'")
        _must(buf.height == height, f"tensor '{name}' has {height} rows, its buffer {buf.height}")
        _must(len(at) == c == len(np.unique(at)) and at.min() >= 0
              and at.max() < slot.blocks * lanes, f"tensor '{name}': two channels in one lane")
    writer: dict[tuple[Buffer, int], str] = {}
    for op in net.ops:
        for slot in [op.output] if op.output is not None else []:
            for key in _blocks(slot):
                _must(key not in writer, f"'{op.name}' and '{writer.get(key)}' write block "
                                         f"{key[1]} of '{slot.buffer.name}'")
                writer[key] = op.name
    for op in net.ops:
        for slot in op.inputs:
            _must(all(key in writer for key in _blocks(slot)),
                  f"'{op.name}' reads blocks of '{slot.buffer.name}' that nothing writes")


def _blocks(slot: Slot) -> list[tuple[Buffer, int]]:
    return [(slot.buffer, b) for b in range(slot.block0, slot.block0 + slot.blocks)]


# ---------------------------------------------------------------------------- plan


def check_plan(plan: Plan, rings: dict[Buffer, int]) -> None:
    """Tiles cover their operation once; what they read is inside its buffer; rings hold what one
    tile reads or writes, and all rows of what crosses groups; weights fit their memories."""
    _must(len(plan.ops) == len(plan.tilings) == len(plan.group_of), "the plan's lists differ")
    steps = np.diff([0, *plan.group_of])
    _must(bool(((steps == 0) | (steps == 1)).all()), "groups are not in order")
    depths = weight_depths(plan.net.arch)
    for op, tiling in zip(plan.ops, plan.tilings):
        ends = [0, *(b1 for _, b1 in tiling.chunks)]
        _must([b0 for b0, _ in tiling.chunks] == ends[:-1] and ends[-1] == op.blocks
              and tiling.rows > 0, f"the tiles of '{op.name}' do not cover its blocks once")
        brought = tiling.loads(op.height)
        _must(all(brought[t.chunk] == (t.b0, t.b1) for t in tiling.tiles(op.height)),
              f"a tile of '{op.name}' uses weights of other blocks")
        if op.memory is not None:
            most = max(op.chunk_words(b0, b1) for b0, b1 in tiling.chunks)
            _must(most <= depths[op.memory], f"weights of '{op.name}' exceed their memory")
    for i, op in enumerate(plan.ops):
        for slot, rows in zip(op.inputs, zip(*plan.work(i).needs)):
            _must(all(0 <= lo <= hi <= slot.buffer.height for lo, hi in rows),
                  f"'{op.name}' reads rows outside '{slot.buffer.name}'")
    for buf in plan.buffers:
        writers, readers = plan.writers.get(buf, []), plan.readers.get(buf, [])
        _must(bool(writers), f"nothing writes '{buf.name}'")
        crosses = len({plan.group_of[i] for i in writers + readers}) > 1
        least = max([window_rows(plan, buf, readers),
                     *(min(plan.tilings[w].rows, plan.ops[w].height) for w in writers)])
        _must(rings[buf] == buf.height if crosses else least <= rings[buf] <= buf.height,
              f"'{buf.name}' holds {rings[buf]} of {buf.height} rows, and needs "
              f"{buf.height if crosses else least}")


# ---------------------------------------------------------------------------- schedule


def check_schedule(schedule: Schedule) -> None:
    """Each tile comes once, in order, after what it reads has been written and while its weights
    and its table are loaded; no ring is overwritten before all have read it."""
    replay = _Replay(schedule)
    for task in schedule.tasks:
        if task.load is not None:
            replay.load(task.load)
        else:
            replay.tile(task)
    for i, op in enumerate(schedule.plan.ops):
        complete = replay.next[i] == len(schedule.plan.work(i).tiles)
        _must(complete, f"tiles of '{op.name}' are missing")


class _Replay:
    """The tasks in program order, as if each were done before the next."""

    def __init__(self, schedule: Schedule) -> None:
        self.plan, self.rings = schedule.plan, schedule.rings
        self.depths = weight_depths(self.plan.net.arch)
        self.next = [0] * len(self.plan.ops)
        self.last = {(i, t.chunk): k for i in range(len(self.plan.ops))
                     for k, t in enumerate(self.plan.work(i).tiles)}  # tile that uses a load
        self.rows = {b: np.zeros(b.blocks, np.int64) for b in self.plan.buffers}
        self.loads: set[tuple[int, int]] = set()
        self.resident: dict[Dst, list[WeightLoad]] = {m: [] for m in self.depths}
        self.tables: dict[Dst, bytes] = {}

    def load(self, load: WeightLoad) -> None:
        op = self.plan.ops[load.op]
        if load.chunk == TABLE:
            assert op.table is not None
            self.tables[load.memory] = op.table
            return
        depth = self.depths[load.memory]
        resident = [old for old in self.resident[load.memory] if self._used(old)]
        for old in resident:
            gap = (load.base - old.base) % depth
            _must(gap >= old.words and gap + load.words <= depth,
                  f"weights of '{op.name}' overwrite those of '{self.plan.ops[old.op].name}'")
        self.resident[load.memory] = [*resident, load]
        if load.first:
            _must(bool(resident) and (resident[-1].op, resident[-1].chunk) == (load.op, load.chunk)
                  and load.base == (resident[-1].base + resident[-1].words) % depth,
                  f"the weights of a tile of '{op.name}' do not lie together")
        if load.last:
            self.loads.add((load.op, load.chunk))

    def _used(self, load: WeightLoad) -> bool:
        return self.next[load.op] <= self.last[load.op, load.chunk]

    def tile(self, task: Task) -> None:
        i, tile = task.op, task.tile
        op, work = self.plan.ops[i], self.plan.work(i)
        k = self.next[i]
        _must(k < len(work.tiles) and tile == work.tiles[k], f"tile {k} of '{op.name}' is not next")
        assert tile is not None
        _must(op.memory is None or (i, tile.chunk) in self.loads,
              f"'{op.name}' starts before its weights are loaded")
        memory = {Engine.MAC: Dst.MAC_TABLE, Engine.VEC: Dst.VEC_TABLE}.get(op.engine, Dst.DETECT)
        _must(op.table is None or self.tables.get(memory) == op.table,
              f"'{op.name}' starts while another table is loaded")
        for slot, (_, hi) in zip(op.inputs, work.needs[k]):
            b0, b1 = op.block_range(tile, slot)
            rows = self.rows[slot.buffer][slot.block0 + b0:slot.block0 + b1]
            _must(int(rows.min()) >= hi, f"'{op.name}' reads rows of '{slot.buffer.name}' that are "
                                         "not written yet")
        self.next[i] += 1
        if op.output is not None:
            self._write(op.output, tile.b0, tile.b1, tile.y1)

    def _write(self, slot: Slot, b0: int, b1: int, y1: int) -> None:
        buf = slot.buffer
        self.rows[buf][slot.block0 + b0:slot.block0 + b1] = y1
        gone = y1 - self.rings[buf]
        if self.rings[buf] == buf.height or gone <= 0:
            return
        for r in self.plan.readers[buf]:
            work = self.plan.work(r)
            for needs in work.needs[self.next[r]:][:1]:
                lowest = min(n[0] for s, n in zip(work.op.inputs, needs) if s.buffer is buf)
                _must(lowest >= gone, f"'{buf.name}' is overwritten before '{work.op.name}' has "
                                      "read it")


def check_places(schedule: Schedule) -> None:
    """Each buffer is inside the scratchpad; no two that live at once share a word."""
    life, depth = lives(schedule), schedule.plan.net.arch.scratchpad_words
    _must(set(life) <= set(schedule.bases), "a buffer has no place")
    buffers = sorted(life, key=lambda b: life[b])
    spans = np.array([(schedule.bases[b], schedule.bases[b] + schedule.rings[b] * b.row_words,
                       *life[b]) for b in buffers])
    for at, (base, end, first, last) in enumerate(spans):
        _must(0 <= base and end <= depth, f"'{buffers[at].name}' is not inside the scratchpad")
        lo, hi, a, b = spans[:at].T
        meet = (lo < end) & (base < hi) & (a <= last) & (first <= b)
        if meet.any():
            other = buffers[int(meet.argmax())].name
            raise AssertionError(f"'{buffers[at].name}' and '{other}' live at once and share words")


# ---------------------------------------------------------------------------- instructions


def check_waits(schedule: Schedule, code: Code) -> None:
    """Waits point backwards, and a tile's instructions wait for its weights, for all that wrote
    what it reads, and for all that read the ring rows that it overwrites; all that they touch is
    inside the buffers of their operation."""
    waits = _Waits(schedule)
    for step, ins in zip(code.steps, code.instructions):
        waits.see(step, ins)
    waits.close()


class _Waits:
    """Counts of each engine's instructions that wrote and read every row of every tensor last.

    Of a tile that is several instructions the first one counts: a ring may close between them, and
    each of them need not wait for all that the tile does.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule, self.plan = schedule, schedule.plan
        self.count = np.zeros(len(Engine), np.int64)
        self.sure = np.zeros(len(Engine), np.int64)  # what the instructions of a task wait for
        self.task, self.first = -1, self.count + 1  # and its first instruction of each engine
        self.wrote = {b: np.zeros((len(Engine), b.height, b.blocks), np.int32)
                      for b in schedule.bases}
        self.read = {b: np.zeros_like(a) for b, a in self.wrote.items()}
        self.stored: dict[str, np.ndarray[tuple[int], np.dtype[np.int32]]] = {}
        self.loaded: dict[tuple[int, int], int] = {}

    def see(self, step: Step, ins: Instruction) -> None:
        if step.task != self.task:
            self.close()
            self.task, self.first = step.task, self.count + 1
        declared = np.array([getattr(ins, f"wait_{e.name.lower()}") for e in Engine])
        declared = self.count - ((self.count - declared) & 0xFFFF)
        op = self.plan.ops[self.schedule.tasks[step.task].op]
        _must(bool((declared >= 0).all()), f"an instruction of '{op.name}' waits for a later one")
        self.sure = np.maximum(self.sure, declared)
        assert ins.engine is not None
        self.count[ins.engine] += 1
        for regions, slots in ((step.emitted.reads, op.inputs), (step.emitted.writes, op.slots)):
            for memory, lo, hi in regions:
                _must(memory is not Dst.SCRATCHPAD or any(self._inside(s, lo, hi) for s in slots),
                      f"'{op.name}' touches words {lo} to {hi}, outside its buffers")

    def _inside(self, slot: Slot, lo: int, hi: int) -> bool:
        base = self.schedule.bases[slot.buffer]
        return base <= lo and hi <= base + self.schedule.rings[slot.buffer] * slot.buffer.row_words

    def close(self) -> None:
        """The task is complete: did its instructions wait, and what has it done?"""
        if self.task >= 0:
            task = self.schedule.tasks[self.task]
            if task.load is not None:
                self.loaded[task.op, task.load.chunk] = int(self.count[Engine.LOAD])
            else:
                self._tile(task)
        self.sure = np.zeros_like(self.sure)

    def _tile(self, task: Task) -> None:
        tile, op = task.tile, self.plan.ops[task.op]
        assert tile is not None
        engine, y = op.engine, slice(tile.y0, tile.y1)
        if op.memory is not None:
            _must(self.sure[Engine.LOAD] >= self.loaded[task.op, tile.chunk],
                  f"'{op.name}' does not wait for its weights")
        for slot, (lo, hi) in zip(op.inputs, op.needs(tile.y0, tile.y1)):
            wrote = self.wrote[slot.buffer][:, lo:hi, op.blocks_read(tile, slot)]
            need = wrote.max((1, 2), initial=0)
            _must(bool((self.sure >= need).all()),
                  f"'{op.name}' does not wait for what writes '{slot.buffer.name}'")
        if op.output is not None:
            first = op.output.block0
            self._written(task, op.output.buffer, y, slice(first + tile.b0, first + tile.b1))
        for slot, (lo, hi) in zip(op.inputs, op.needs(tile.y0, tile.y1)):
            self.read[slot.buffer][engine, lo:hi, op.blocks_read(tile, slot)] = self.first[engine]
        if isinstance(op, StoreOp):
            rows = self.stored.setdefault(op.target.name, np.zeros(op.height, np.int32))
            rows[y] = self.first[Engine.STORE]
        if isinstance(op, LoadOp) and op.source.name in self.stored:
            _must(self.sure[Engine.STORE] >= self.stored[op.source.name][y].max(),
                  f"'{op.name}' does not wait for the stores of '{op.source.name}'")

    def _written(self, task: Task, buf: Buffer, y: slice, b: slice) -> None:
        ring, engine = self.schedule.rings[buf], task.engine
        gone = self.read[buf][:, max(0, y.start - ring):max(0, y.stop - ring), b]
        need = gone.max((1, 2), initial=0)
        need[engine] = 0  # an engine reads and writes in order
        _must(bool((self.sure >= need).all()), f"'{self.plan.ops[task.op].name}' does not wait for "
                                               f"what reads the rows of '{buf.name}' it overwrites")
        self.wrote[buf][engine, y, b] = self.first[engine]
