"""Where two machines part, and which instruction stored what they give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from falconet.isa import SEGMENT_GRAIN, Arch, Program, Segment
from falconet.isa.program.forms import Detect
from falconet.runtime.detections import RECORD, Detections
from falconet.runtime.device import RunResult
from falconet_sim.iss.machine import Step

__all__ = ["Difference", "Extent", "Stores"]


@dataclass(frozen=True)
class Extent:
    """How many of the elements of a tile differ, and in which lanes they are; of ``boxes``, that
    have no lanes, how many boxes."""

    different: int
    of: int
    lanes: tuple[int, ...] = ()
    boxes: bool = False

    @classmethod
    def of_words(cls, wrong: NDArray[np.bool_], of: int) -> Extent:
        """From which bytes of words [n, lanes] differ."""
        return cls(int(wrong.sum()), of, tuple(int(i) for i in np.flatnonzero(wrong.any(0))))

    def __str__(self) -> str:
        what = "boxes" if self.boxes else "elements"
        where = f", in lanes {_runs(self.lanes)}" if self.lanes else ""
        return f"{self.different:,} of {self.of:,} {what} differ{where}"


def _runs(numbers: tuple[int, ...]) -> str:
    """Ascending numbers, those without gap put together: ``0 to 3, 7``."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and runs[-1][-1] == n - 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(f"{r[0]} to {r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)


@dataclass(frozen=True)
class Difference:
    """Where two machines part: ``expected`` is the simpler model's, ``found`` the other's, at the
    first element; ``extent`` is of all that the instruction writes, or of the output."""

    machine: str
    index: int
    instruction: str
    tile: str
    element: str
    expected: str
    found: str
    extent: Extent

    def __str__(self) -> str:
        return (
            f"{self.machine}: instruction {self.index} ({self.instruction})\n"
            f"  writes {self.tile}\n  {self.element}: expected {self.expected}, found {self.found}"
            f"\n  {self.extent}"
        )


class Stores:
    """Remembers which instruction wrote each byte of segment OUTPUT last.

    ``observe`` takes every Step of a run.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.instructions = program.instructions()
        size = int(program.header["segments"].get("output", 0)) + SEGMENT_GRAIN
        self.writer = np.full(size, -1, np.int64)

    def observe(self, step: Step) -> None:
        for a in step.writes:
            if isinstance(a.memory, Segment) and a.memory is Segment.OUTPUT:
                lanes = np.arange(self.program.arch.lanes)
                self.writer[a.address[:, None] + lanes] = step.index

    def difference(self, machine: str, want: RunResult, got: RunResult) -> Difference | None:
        """The first element of the outputs, then of the boxes, that two runs have different."""
        lanes = self.program.arch.lanes
        for t in self.program.header["outputs"]:
            expected, found = want.outputs[t["name"]], got.outputs[t["name"]]
            wrong = np.argwhere(expected != found)
            if not len(wrong):
                continue
            c, y, x = (int(v) for v in wrong[0])
            own = np.asarray(t["lane_of"])
            extent = Extent(len(wrong), expected.size,
                            tuple(int(i) for i in np.unique(own[wrong[:, 0]] % lanes)))
            block, lane = divmod(int(own[c]), lanes)
            width = expected.shape[2]
            byte = t["offset"] + ((y * t["blocks"] + block) * width + x) * lanes + lane
            return self._at(
                machine, byte, f"output '{t['name']}'", f"row {y}, column {x}, channel {c}",
                str(expected[c, y, x]), str(found[c, y, x]), extent,
            )
        if (detect := self.program.detect) is None:
            return None
        assert want.detections is not None and got.detections is not None
        return self._boxes(machine, detect, want.detections, got.detections)

    def _boxes(self, machine: str, detect: Detect, want: Detections, got: Detections
               ) -> Difference | None:
        """What comes first in the machine: candidates, boxes, their number, landmarks."""
        limit, per = detect.limit, detect.rows
        n = min(len(want.records), len(got.records))
        alike = ((want.records[:n] == got.records[:n])
                 & (want.landmarks[:n] == got.landmarks[:n]).all((1, 2)))
        most = max(len(want.records), len(got.records))
        extent = Extent(most - int(alike.sum()), most, boxes=True)

        def at(row: int, element: str, expected: object, found: object) -> Difference:
            byte = detect.output + row * Arch.ROW_BYTES
            return self._at(machine, byte, "the boxes", element, str(expected), str(found), extent)

        if want.candidates != got.candidates:
            return at(0, "candidates", want.candidates, got.candidates)
        for r, (expected, found) in enumerate(zip(want.records, got.records)):
            for name in RECORD.names or ():
                if expected[name] != found[name]:
                    return at(1 + r, f"box {r}, {name}", expected[name], found[name])
        if len(want.records) != len(got.records):
            return at(0, "number", len(want.records), len(got.records))
        for r, p, axis in np.argwhere(want.landmarks != got.landmarks)[:1]:
            return at(1 + limit + per * int(r) + int(2 * p + axis) // 8,
                      f"box {r}, landmark {p}, {'xy'[axis]}",
                      want.landmarks[r, p, axis], got.landmarks[r, p, axis])
        return None

    def _at(self, machine: str, byte: int, tile: str, element: str, expected: str, found: str,
            extent: Extent) -> Difference:
        index = int(self.writer[byte])
        instruction = str(self.instructions[index]) if index >= 0 else "none stores it"
        return Difference(machine, index, instruction, tile, element, expected, found, extent)
