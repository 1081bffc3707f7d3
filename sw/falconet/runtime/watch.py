"""When instructions ran, without a trace port: the counters, read again and again.

A retirement is dated by the first look that saw it: late by up to the time between two looks, which
is some 30 cycles on the simulated board and some thousand over Python on a board. An instruction is
taken to start as soon as its engine's former one has retired and its waits are met.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Engine, Program
from falconet.runtime.device import Trace

__all__ = ["trace_of", "watch"]


class Watched(Protocol):
    @property
    def program(self) -> Program: ...

    def read(self, name: str) -> int: ...


def watch(machine: Watched, timeout: float) -> Callable[[int], Trace]:
    """Look at a machine until its cycles stand still or ``timeout`` seconds have passed.

    Returns what makes a trace of it, given the cycles of the run.
    """
    looks: list[list[int]] = []
    deadline = time.monotonic() + timeout
    while len(looks) < 2 or looks[-1][-1] != looks[-2][-1]:
        retired = [machine.read(f"RETIRED_{e.name}") for e in Engine]
        looks.append([*retired, machine.read("CYCLES")])
        if time.monotonic() > deadline:
            break
    program, seen = machine.program, np.array(looks, np.int64)
    return lambda cycles: trace_of(program, seen, cycles)


def trace_of(program: Program, looks: NDArray[np.int64], cycles: int) -> Trace:
    """A trace from looks at a run of ``cycles``.

    Parameters
    ----------
    looks:
        [n, engines + 1]: instructions retired by each engine, and the cycle after they were read.
    """
    instructions = program.instructions()
    n = program.n_instructions
    start, retire = np.full(n, cycles, np.int64), np.full(n, cycles, np.int64)
    times = np.minimum(looks[:, -1], cycles)
    of = {e: [i for i, ins in enumerate(instructions) if ins.engine is e] for e in Engine}
    for column, e in enumerate(Engine):
        # The first look at which k + 1 instructions had retired.
        first = np.searchsorted(looks[:, column], np.arange(1, len(of[e]) + 1))
        retire[of[e]] = np.append(times, cycles)[np.minimum(first, len(times))]
    for e in Engine:
        free = 0
        for i in of[e]:
            start[i] = max(free, _met(instructions[i], i, of, retire))
            start[i] = min(start[i], retire[i])
            free = int(retire[i])
    return Trace(start, retire)


def _met(instruction: object, index: int, of: dict[Engine, list[int]],
         retire: NDArray[np.int64]) -> int:
    """The cycle in which an instruction's waits were met."""
    met = 0
    for e in Engine:
        issued = int(np.searchsorted(of[e], index))
        wait = int(getattr(instruction, f"wait_{e.name.lower()}"))
        count = issued - ((issued - wait) & 0xFFFF)  # waits are modulo 2**16
        if count > 0:
            met = max(met, int(retire[of[e][count - 1]]))
    return met
