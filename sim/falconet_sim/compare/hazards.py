"""Does a program wait for everything it must? Then every device computes the same, at any speed.

The simulators see one order of events each; this checks all orders. It takes the words that each
instruction really read and wrote (from the instruction-set simulator) and what its waits promise:

* an instruction has started only after its waits were met, and after its engine's former one;
* what it waited for had, before it started, all that *it* waited for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, Engine, FalconetError, Instruction, Program, Segment, Src
from falconet.runtime.device import Int8
from falconet_sim.iss.machine import Access, Machine, Step
from falconet_sim.iss.simulator import IssDevice

__all__ = ["check_hazards", "required_waits"]

Counts = NDArray[np.int64]
_UNIT = Arch.DATA_BYTES
_HOST = (Segment.CODE.name, Segment.INPUT.name)


class _Marks:
    """For each unit of each memory: the last instruction of every engine that read or wrote it.

    A unit is a lane word on chip, 8 bytes in DDR. Instructions count from 1 within their engine.
    """

    def __init__(self, program: Program) -> None:
        machine = Machine(program)
        self.lanes = program.arch.lanes
        sizes = {d.name: len(words) for d, words in machine.words.items()}
        sizes |= {Src.RECORDS.name: len(machine.records)}
        sizes |= {s.name: len(data) // _UNIT for s, data in machine.ddr.items()}
        self.last = {name: np.zeros((len(Engine), 2, n), np.int64) for name, n in sizes.items()}

    def of(self, access: Access) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The marks of a memory [engine, write, unit], and the units that an access touches."""
        marks = self.last[access.memory.name]
        if not isinstance(access.memory, Segment):
            return marks, access.address
        units = access.address // _UNIT
        if access.data is not None:
            units = (units[:, None] + np.arange(self.lanes // _UNIT)).reshape(-1)
        return marks, units

    def needs(self, step: Step) -> Counts:
        """How many instructions of each engine must have retired before the step may start.

        A word that nothing has written is refused, unless the host has (segments CODE, INPUT).
        """
        engine = step.instruction.engine
        assert engine is not None
        need = np.zeros(len(Engine), np.int64)
        for access in step.reads:
            marks, units = self.of(access)
            if not units.size or access.memory.name in _HOST:
                continue
            writers = marks[:, 1, units]
            blank = ~writers.any(0)
            if blank.any():
                at = int(np.asarray(units)[int(blank.argmax())])
                raise FalconetError(
                    f"instruction {step.index} ({step.instruction}): reads word {at} of "
                    f"{access.memory.name}, which nothing has written"
                )
            need = np.maximum(need, writers.max(1))
        own = int(need[engine])
        for access in step.writes:
            marks, units = self.of(access)
            if units.size:
                need = np.maximum(need, marks[:, :, units].max((1, 2)))
        need[engine] = own  # an engine reads and writes in order
        return need

    def record(self, step: Step, ordinal: int) -> None:
        engine = step.instruction.engine
        for write, accesses in enumerate((step.reads, step.writes)):
            for access in accesses:
                marks, units = self.of(access)
                marks[engine, write, units] = ordinal


def _declared(ins: Instruction, issued: Counts) -> Counts:
    """The wait fields as counts since the start: the latest that 16 bits can mean."""
    waits = np.array([getattr(ins, f"wait_{e.name.lower()}") for e in Engine], np.int64)
    return issued - ((issued - waits) & 0xFFFF)


class _Promises:
    """What is sure to have retired when an instruction starts."""

    def __init__(self) -> None:
        self.known: list[list[Counts]] = [[np.zeros(len(Engine), np.int64)] for _ in Engine]

    def start(self, ins: Instruction) -> Counts:
        engine = ins.engine
        assert engine is not None
        issued = np.array([len(k) - 1 for k in self.known])
        sure = np.maximum(_declared(ins, issued), self.known[engine][-1])
        for e in Engine:
            sure = np.maximum(sure, self.known[e][int(sure[e])])
        self.known[engine].append(sure)
        return sure


def check_hazards(program: Program, inputs: dict[str, Int8]) -> None:
    """Refuse a program in which some instruction does not wait for what it depends on.

    Raises
    ------
    FalconetError
        naming the instruction, and the one that it should have waited for.
    """
    marks, promises = _Marks(program), _Promises()
    order: list[list[int]] = [[] for _ in Engine]

    def observe(step: Step) -> None:
        engine = step.instruction.engine
        assert engine is not None
        sure, need = promises.start(step.instruction), marks.needs(step)
        for e in Engine:
            if need[e] > sure[e]:
                missed = order[e][int(need[e]) - 1]
                raise FalconetError(
                    f"instruction {step.index} ({step.instruction}): must wait for {need[e]} "
                    f"instructions of {e.name} (instruction {missed}), but is only sure of "
                    f"{sure[e]}"
                )
        order[engine].append(step.index)
        marks.record(step, len(order[engine]))

    IssDevice(program, observer=observe).run(inputs)


def required_waits(program: Program, inputs: dict[str, Int8]) -> list[list[int]]:
    """For each instruction, END excepted, the smallest waits that suffice."""
    marks, waits = _Marks(program), []
    count: Any = [0] * len(Engine)

    def observe(step: Step) -> None:
        engine = step.instruction.engine
        assert engine is not None
        waits.append([int(n) & 0xFFFF for n in marks.needs(step)])
        count[engine] += 1
        marks.record(step, count[engine])

    IssDevice(program, observer=observe).run(inputs)
    return waits
