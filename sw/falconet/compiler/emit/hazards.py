"""Waits: which instructions of each engine must have retired before another may start."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.machine.detect import RECORDS
from falconet.compiler.machine.place import Memory, Region
from falconet.isa import Arch, Dst, Engine

__all__ = ["Hazards"]

_ROWS = 4096  # of a tensor in DDR


class Hazards:
    """Who wrote and who read each unit of each memory last, as counts of retired instructions."""

    def __init__(self, arch: Arch) -> None:
        self.size: dict[Memory, int] = {
            Dst.SCRATCHPAD: arch.scratchpad_words, Dst.WEIGHTS: arch.weight_words,
            Dst.VECTOR: arch.vector_words, Dst.MAC_TABLE: 1, Dst.VEC_TABLE: 1,
            Dst.DETECT: arch.TABLE_ROWS, RECORDS: 1,
        }
        self.marks: dict[tuple[Memory, bool], NDArray[np.int32]] = {}
        self.count = [0] * len(Engine)

    def _mark(self, memory: Memory, write: bool) -> NDArray[np.int32]:
        key = memory, write
        if key not in self.marks:
            size = self.size.get(memory, _ROWS)
            self.marks[key] = np.zeros((len(Engine), size), np.int32)
        return self.marks[key]

    def waits(self, engine: Engine, reads: list[Region], writes: list[Region]) -> list[int]:
        """The counts to wait for; records the instruction as the next of its engine."""
        need = np.zeros(len(Engine), np.int32)
        for memory, lo, hi in reads:
            np.maximum(need, self._mark(memory, True)[:, lo:hi].max(1), out=need)
        own = need[engine]
        for memory, lo, hi in writes:
            for kind in (True, False):
                np.maximum(need, self._mark(memory, kind)[:, lo:hi].max(1), out=need)
        need[engine] = own  # an engine reads and writes in order: only its own RAW needs a wait
        self.count[engine] += 1
        mine = self.count[engine]
        for kind, regions in ((False, reads), (True, writes)):
            for memory, lo, hi in regions:
                self._mark(memory, kind)[engine, lo:hi] = mine
        return [int(n) for n in need]
