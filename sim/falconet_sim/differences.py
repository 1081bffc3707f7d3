"""Where two machines part, and which instruction stored what they give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from falconet.isa import Arch, Program, Segment
from falconet.runtime.detections import RECORD, Detections
from falconet.runtime.device import RunResult
from falconet_sim.machine import Step

__all__ = ["Difference", "Stores"]


@dataclass(frozen=True)
class Difference:
    """Where two machines part: ``expected`` is the simpler model's, ``found`` the other's."""

    machine: str
    index: int
    instruction: str
    tile: str
    element: str
    expected: str
    found: str

    def __str__(self) -> str:
        return (
            f"{self.machine}: instruction {self.index} ({self.instruction})\n"
            f"  writes {self.tile}\n  {self.element}: expected {self.expected}, found {self.found}"
        )


class Stores:
    """Remembers which instruction wrote each byte of segment OUTPUT last.

    ``observe`` takes every Step of a run.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.instructions = program.instructions()
        size = int(program.header["segments"].get("output", 0)) + 128
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
            block, lane = divmod(int(t["lane_of"][c]), lanes)
            width = expected.shape[2]
            byte = t["offset"] + ((y * t["blocks"] + block) * width + x) * lanes + lane
            return self._at(
                machine, byte, f"output '{t['name']}'", f"row {y}, column {x}, channel {c}",
                str(expected[c, y, x]), str(found[c, y, x]),
            )
        if "detect" not in self.program.header:
            return None
        assert want.detections is not None and got.detections is not None
        return self._boxes(machine, want.detections, got.detections)

    def _boxes(self, machine: str, want: Detections, got: Detections) -> Difference | None:
        """What comes first in the machine: candidates, boxes, their number, landmarks."""
        detect = self.program.header["detect"]
        limit, per = int(detect["limit"]), int(detect["rows"])

        def at(row: int, element: str, expected: object, found: object) -> Difference:
            byte = int(detect["output"]) + row * Arch.ROW_BYTES
            return self._at(machine, byte, "the boxes", element, str(expected), str(found))

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

    def _at(self, machine: str, byte: int, tile: str, element: str, expected: str, found: str
            ) -> Difference:
        index = int(self.writer[byte])
        instruction = str(self.instructions[index]) if index >= 0 else "none stores it"
        return Difference(machine, index, instruction, tile, element, expected, found)
