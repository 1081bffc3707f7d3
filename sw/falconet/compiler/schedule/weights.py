"""Weights and tables on their way into their memories."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from falconet.compiler.machine.place import weight_depths
from falconet.compiler.schedule.plan import Plan
from falconet.isa import Arch, Dst, Engine

__all__ = ["TABLE", "TABLES", "TableRun", "WeightLoad", "WeightMemory", "table_runs",
           "weight_loads", "word_bytes"]

TABLES = {Engine.MAC: Dst.MAC_TABLE, Engine.VEC: Dst.VEC_TABLE, Engine.DETECT: Dst.DETECT}
TABLE = -1  # in place of a chunk's number


@dataclass(frozen=True)
class WeightLoad:
    """Load ``chunk`` of an operation's weights, or its table; ``words`` words of ``memory`` from
    ``base`` on, ``size`` bytes.

    A chunk that would not fit twice comes in two parts, so that what there is room for is loaded
    while its forerunner is still in use: ``first`` is the word of the chunk that this load begins
    with, ``last`` whether the chunk is complete with it.
    """

    op: int
    chunk: int
    memory: Dst
    words: int
    size: int
    base: int = 0
    first: int = 0
    last: bool = True


@dataclass(frozen=True)
class TableRun:
    """A table and the operations that use it one after the other."""

    load: WeightLoad
    data: bytes
    users: list[int]


class WeightMemory:
    """First in, first out: a chunk is given back when its last tile is done."""

    def __init__(self, depth: int, loads: list[WeightLoad], tiles_left: dict[tuple[int, int], int]
                 ) -> None:
        self.depth, self.loads, self.tiles_left = depth, loads, tiles_left
        self.next, self.oldest, self.used, self.head = 0, 0, 0, 0

    def offer(self) -> WeightLoad | None:
        """The next load, if there is room for it."""
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
        """What was offered, at its place."""
        load = dataclasses.replace(self.loads[self.next], base=self.head % self.depth)
        self.head += load.words
        self.used += load.words
        self.next += 1
        return load


def word_bytes(arch: Arch) -> dict[Dst, int]:
    """Bytes of a word of each weight memory."""
    return {Dst.WEIGHTS: arch.lanes * arch.rows, Dst.VECTOR: arch.lanes * arch.taps}


def weight_loads(plan: Plan) -> dict[Dst, list[WeightLoad]]:
    """The chunks that go through each weight memory, in order."""
    size = word_bytes(plan.net.arch)
    depths = weight_depths(plan.net.arch)
    loads: dict[Dst, list[WeightLoad]] = {m: [] for m in depths}
    for i, (op, tiling) in enumerate(zip(plan.ops, plan.tilings)):
        if op.memory is not None:
            for c, (b0, b1) in enumerate(tiling.loads(op.height)):
                words, first = op.chunk_words(b0, b1), 0
                for part in _parts(words, depths[op.memory]):
                    loads[op.memory].append(WeightLoad(
                        i, c, op.memory, part, part * size[op.memory], first=first,
                        last=first + part == words))
                    first += part
    return loads


def _parts(words: int, depth: int) -> list[int]:
    """What there is room for beside as many words again, and the rest."""
    beside = depth - words
    return [beside, words - beside] if 0 < beside < words else [words]


def table_runs(plan: Plan, engine: Engine, order: Sequence[int]) -> list[TableRun]:
    """Tables in the order in which operations ``order`` want them; a detect engine's instruction
    wants its own every time."""
    memory = TABLES[engine]
    runs: list[TableRun] = []
    for i in order:
        op = plan.ops[i]
        if op.engine is engine and op.table is not None:
            if not runs or runs[-1].data != op.table or memory is Dst.DETECT:
                runs.append(TableRun(WeightLoad(i, TABLE, memory, 1, len(op.table)), op.table, []))
            runs[-1].users.append(i)
    return runs
