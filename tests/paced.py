"""A machine that takes as long as it is told to, for whatever is about time and threads."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from falconet.isa import (
    ISA_VERSION,
    MAGIC,
    REGISTERS,
    Control,
    End,
    FalconetError,
    Program,
    Segment,
    Status,
    preset,
)
from falconet.runtime.bus import Wake
from falconet.runtime.driver import Driver

Bytes = NDArray[np.uint8]
SIDE = 8
NAMES = {r.offset: r.name for r in REGISTERS}


def plain_program() -> Program:
    """Takes photographs, without a detection head; y: what :func:`look` makes of the input."""
    return Program(preset("tiny"), End().encode(), {
        "model": "plain", "instructions": 1, "layers": [], "steps": [[-1] * 2 + [0] * 4],
        "inputs": [{"name": "x", "format": "image", "shape": [3, SIDE, SIDE], "pitch": 3 * SIDE,
                    "offset": 0, "scale": 1.0, "zero_point": -128}],
        "outputs": [{"name": "y", "shape": [8, 1, 1], "offset": 0, "scale": 1.0,
                     "zero_point": -128}],
        "segments": {"input": 3 * SIDE * SIDE, "output": 8, "work": 0},
        "meta": {"preprocess": {"fit": "stretch", "size": [SIDE, SIDE], "colour": "RGB",
                                "mean": [0, 0, 0], "std": [1, 1, 1]}},
    })


def look(stored: Bytes) -> Bytes:
    """First, last, least and greatest value of the input."""
    pixels = stored[: 3 * SIDE * SIDE].view(np.int8)
    found = np.array([pixels[0], pixels[-1], pixels.min(), pixels.max()], np.int8)
    return np.resize(found.view(np.uint8), 8)


class PacedBuffer:
    def __init__(self, owner: PacedBoard, address: int, nbytes: int) -> None:
        self.owner, self.physical_address = owner, address
        self.array: Bytes = np.zeros(nbytes, np.uint8)

    def flush(self) -> None: ...

    def invalidate(self) -> None: ...

    def free(self) -> None:
        self.owner.buffers.remove(self)
        self.array[:] = 0x55  # whoever still reads or writes it shows


class PacedBoard:
    """Bus and memory of a machine that is done ``seconds`` after START.

    Then, and not before, ``outcome`` makes segment OUTPUT of segment INPUT. ``runs`` has when each
    run began and when its end was noticed; ``hang`` are numbers of runs that never end.
    """

    has_interrupt = True

    def __init__(self, program: Program, seconds: float, outcome: Callable[[Bytes], Bytes] = look
                 ) -> None:
        self.values = {"ID": MAGIC, "ISA_VERSION": ISA_VERSION, "ARCH_HASH": program.arch.hash}
        self.seconds, self.outcome = seconds, outcome
        self.buffers: list[PacedBuffer] = []
        self.limit = 100
        self.runs: list[tuple[float, float]] = []
        self.hang: set[int] = set()
        self.started, self.began, self.busy = 0, 0.0, False

    def allocate(self, nbytes: int, align: int = 4096) -> PacedBuffer:
        if len(self.buffers) >= self.limit:
            raise FalconetError(f"{nbytes} bytes do not fit")
        taken = {b.physical_address for b in self.buffers}
        address = next(a for a in range(1 << 28, 1 << 30, 1 << 20) if a not in taken)
        self.buffers.append(PacedBuffer(self, address, nbytes))
        return self.buffers[-1]

    def _at(self, segment: Segment) -> Bytes:
        base = self.values[f"{segment.name}_BASE"]
        return next(b.array for b in self.buffers if b.physical_address == base)

    def _left(self) -> float:
        if self.started - 1 in self.hang:
            return 3600.0
        return self.began + self.seconds - time.perf_counter()

    def read_register(self, offset: int) -> int:
        if NAMES[offset] == "STATUS" and self.busy and self._left() <= 0:
            self.busy = False
            self.runs.append((self.began, time.perf_counter()))
            done = self.outcome(self._at(Segment.INPUT))
            self._at(Segment.OUTPUT)[: len(done)] = done
            self.values["STATUS"] = Status.DONE
        return int(self.values.get(NAMES[offset], 0))

    def write_register(self, offset: int, value: int) -> None:
        self.values[NAMES[offset]] = value
        if NAMES[offset] != "CONTROL":
            return
        if value & Control.RESET:
            self.busy, self.values["STATUS"] = False, 0
        if value & Control.START:
            assert not self.busy, "START while the machine works"
            self.busy, self.values["STATUS"] = True, Status.BUSY
            self.started, self.began = self.started + 1, time.perf_counter()

    def wait(self, seconds: float) -> Wake:
        time.sleep(max(0.0, min(seconds, self._left())))
        return Wake.INTERRUPT if self._left() <= 0 else Wake.TIMEOUT

    def pause(self) -> Wake:
        time.sleep(0.0002)
        return Wake.TIMEOUT


def paced(seconds: float, *, timeout: float = 20.0) -> tuple[Driver, PacedBoard]:
    """A driver with :func:`plain_program` loaded, and its board."""
    program = plain_program()
    board = PacedBoard(program, seconds)
    machine = Driver(board, board, name="paced", arch=program.arch, timeout=timeout)
    machine.load(program)
    return machine, board


def plain(value: int) -> Bytes:
    """A photograph all of one value; the machine of :func:`paced` says it back."""
    return np.full((SIDE, SIDE, 3), value, np.uint8)


def value_of(outputs: dict[str, NDArray[np.int8]]) -> int:
    """The value of the photograph that a result is of; -1 if it is of several."""
    seen = outputs["y"].reshape(-1)[:4].astype(int) + 128
    return int(seen[0]) if len(set(seen)) == 1 else -1
