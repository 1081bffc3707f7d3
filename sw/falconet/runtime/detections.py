"""Boxes of the machine: the options of a run, and what the detect engine left in memory.

``detect`` is :attr:`falconet.isa.Program.detect`; the integers are those of docs/arithmetic.md,
section Detection.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, FalconetError
from falconet.isa.machine.rows import COUNTS, ENTRY, OPTIONS
from falconet.isa.machine.rows import RECORD as RECORD_ROW
from falconet.isa.program.forms import Detect

__all__ = [
    "RECORD", "Detections", "Limits", "Options", "Records", "gaussian_weights", "limits",
    "pack_options", "q_min", "unpack_detections",
]

Records = NDArray[np.void]

RECORD = np.dtype(RECORD_ROW.dtype)
"""A record (docs/isa.md, Rows): box in 1/16 pixel, score in 2**-16, class, ``anchor + 16 * level``,
and the cell that it came from."""

_ENTRY, _OPTIONS, _COUNTS = (np.dtype(r.dtype) for r in (ENTRY, OPTIONS, COUNTS))


@dataclass(frozen=True)
class Options:
    """Run-time options of one run; None takes the program's default.

    Parameters
    ----------
    score:
        Least score of a box, 0 to 1.
    iou:
        Overlap from which a box suppresses another, 0 to 1 (1: never).
    sigma:
        Width of the Gaussian, positive; only mode ``soft_gaussian`` uses it.
    maximum:
        Most boxes to return, 1 to the program's ``limit``.
    """

    score: float | None = None
    iou: float | None = None
    sigma: float | None = None
    maximum: int | None = None

    def __post_init__(self) -> None:
        def need(field: str, ok: bool, rule: str) -> None:
            if not ok:
                raise FalconetError(f"options: {field}={getattr(self, field)}; give {rule}")

        need("score", self.score is None or 0 <= self.score <= 1, "a number from 0 to 1")
        need("iou", self.iou is None or 0 <= self.iou <= 1, "a number from 0 to 1")
        need("sigma", self.sigma is None or 0 < self.sigma < math.inf, "a positive number")
        whole = isinstance(self.maximum, (int, np.integer))
        need("maximum", self.maximum is None or (whole and self.maximum >= 1),
             "a whole number from 1")


@dataclass(frozen=True)
class Limits:
    """The options of a run in the machine's integers.

    ``score_min`` uint16 and ``threshold`` [0, 65536] in units of 2**-16; ``maximum`` boxes;
    ``weights`` uint16 [256, 2], columns g and d of docs/arithmetic.md, in mode ``soft_gaussian``.
    """

    score_min: int
    threshold: int
    maximum: int
    weights: NDArray[np.uint16] | None = None


def gaussian_weights(sigma: float) -> NDArray[np.uint16]:
    """uint16 [256, 2]: ``exp(-IoU**2 / sigma)`` from IoU = i / 256, and how far it falls by the
    next entry, in units of 2**-16."""
    g = [min(65535, round(65536 * math.exp(-((i / 256) ** 2) / sigma))) for i in range(257)]
    return np.array([(a, a - b) for a, b in itertools.pairwise(g)], np.uint16)


def limits(detect: Detect, options: Options | None = None) -> Limits:
    """The options of a run, the program's defaults filled in."""
    o = options or Options()
    room = detect.limit
    if o.maximum is not None and o.maximum > room:
        raise FalconetError(
            f"options: maximum={o.maximum}; the program has room for {room}: give 1 to {room}, or "
            "compile it with a greater maximum"
        )
    score = detect.score if o.score is None else o.score
    iou = detect.iou if o.iou is None else o.iou
    weights = None
    if detect.mode == "soft_gaussian":
        weights = gaussian_weights(detect.sigma if o.sigma is None else o.sigma)
    return Limits(
        min(max(round(score * 65536), 0), 65535), round(iou * 65536),
        room if o.maximum is None else int(o.maximum), weights,
    )


def q_min(table: Sequence[int], score_min: int) -> int:
    """The least stored score ``q`` with ``table[q + 128] >= score_min``; 128 if there is none.

    Raises
    ------
    FalconetError
        for a table that falls somewhere: scores below ``q_min`` are skipped unseen.
    """
    if any(a > b for a, b in itertools.pairwise(table)):
        raise FalconetError("detect: a score table falls; recompile the network")
    return sum(entry < score_min for entry in table) - 128


def pack_options(detect: Detect, options: Options | None = None) -> list[tuple[int, bytes]]:
    """What the driver writes into segment INPUT for a run: (byte offset, bytes) each.

    A row of options a level, and the Gaussian weights in the detect table's columns score and
    objectness.
    """
    lim = limits(detect, options)
    written = []
    for level in detect.levels:
        row = np.zeros(1, _OPTIONS)
        row["score_min"], row["threshold"] = lim.score_min, lim.threshold
        row["q_min"], row["maximum"] = q_min(level.score, lim.score_min), lim.maximum
        written.append((level.options, row.tobytes()))
    if lim.weights is not None and detect.weights >= 0:
        entries = np.zeros(256, _ENTRY)
        entries["score"], entries["objectness"] = lim.weights.T
        written.append((detect.weights, entries.tobytes()))
    return written


@dataclass(frozen=True, eq=False)
class Detections:
    """What the detect engine found; equal means equal in every bit.

    Parameters
    ----------
    records:
        RECORD [n], best score first.
    landmarks:
        int16 [n, points, 2]: x, y in 1/16 pixel.
    candidates:
        How many were above the least score; more than ``Arch.candidates``: some were given up.
    """

    records: Records
    landmarks: NDArray[np.int16]
    candidates: int

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        # Field by field: a Ctrl-C while numpy compares whole records comes out as its TypeError.
        return (
            self.candidates == other.candidates
            and all(np.array_equal(self.records[name], other.records[name])
                    for name in self.records.dtype.names or ())
            and np.array_equal(self.landmarks, other.landmarks)
        )

    def dropped(self, room: int) -> int:
        """How many candidates, the worst ones, nobody looked at; ``room``: ``Arch.candidates``."""
        return max(self.candidates - room, 0)


def unpack_detections(output: NDArray[np.uint8], detect: Detect) -> Detections:
    """The detections out of the bytes of segment OUTPUT (a copy).

    At ``detect.output``: the row of counts, ``limit`` records, ``limit * rows`` rows of
    landmarks.
    """
    room, rows, points = detect.limit, detect.rows, detect.points
    at, size = detect.output, Arch.ROW_BYTES * (1 + room * (1 + rows))
    if at < 0 or at + size > len(output):
        raise FalconetError(
            f"detect: bytes {at} to {at + size} are not in segment OUTPUT of {len(output)} bytes; "
            "recompile the network"
        )
    data = output[at : at + size].tobytes()
    counts = np.frombuffer(data, _COUNTS, 1)[0]
    n, candidates = int(counts["stay"]), int(counts["candidates"])
    if n > room:
        raise FalconetError(
            f"detect: the machine counts {n} boxes, the program has room for {room}; reset the "
            "machine and run again"
        )
    records = np.frombuffer(data, RECORD, n, Arch.ROW_BYTES).copy()
    values = np.frombuffer(data, "<i2", offset=Arch.ROW_BYTES * (1 + room))
    landmarks = values.reshape(room, 8 * rows)[:n, : 2 * points].reshape(n, points, 2).copy()
    return Detections(records, landmarks, candidates)
