"""The rows of the detect table and of the records as the simulator reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, Dst, FalconetError
from falconet.isa.machine.rows import ANCHOR, ENTRY, OPTIONS
from falconet.runtime.detections import Records
from falconet_sim.iss.machine import Machine

__all__ = [
    "Ints", "RunOptions", "all_rows", "anchor_rows", "best_first", "column", "run_options",
    "scaled", "to_rows",
]

Ints = NDArray[np.int64]

_ENTRY, _ANCHOR, _OPTIONS = (np.dtype(row.dtype) for row in (ENTRY, ANCHOR, OPTIONS))


@dataclass(frozen=True)
class RunOptions:
    """The row of options."""

    score_min: int
    q_min: int
    threshold: int
    maximum: int


def run_options(machine: Machine) -> RunOptions:
    """The row of options, refused if its values are not legal."""
    row = machine.rows(Dst.DETECT, Arch.TABLE_OPTIONS, 1).view(_OPTIONS)[0, 0]
    found = RunOptions(*(int(row[name]) for name in ("score_min", "q_min", "threshold", "maximum")))
    if not -128 <= found.q_min <= 128 or found.threshold > 1 << 16 or row["zero"].any():
        raise FalconetError(
            f"row {Arch.TABLE_OPTIONS} of DETECT: q_min={found.q_min}, "
            f"threshold={found.threshold}; load the options of the run into it"
        )
    return found


def column(machine: Machine, name: str) -> Ints:
    """A column of the detect table's 256 entries."""
    rows = machine.rows(Dst.DETECT, 0, Arch.TABLE_ANCHORS)
    return np.asarray(rows.view(_ENTRY).reshape(-1)[name], np.int64)


def anchor_rows(machine: Machine, count: int) -> dict[str, Ints]:
    """The fields of the first ``count`` anchors, [count] each."""
    rows = machine.rows(Dst.DETECT, Arch.TABLE_ANCHORS, count).view(_ANCHOR).reshape(-1)
    return {name: rows[name].astype(np.int64) for name in _ANCHOR.names or ()}


def scaled(value: Ints, by: Ints | int, shift: int) -> Ints:
    """``value * by / 2**shift``, rounded half up."""
    return (value * by + (1 << (shift - 1))) >> shift


def best_first(records: Records) -> Ints:
    """Positions of records, the best first."""
    r, mark = records, records["anchor"].astype(np.int64)
    keys = r["label"], mark & 15, r["x"], r["y"], mark >> 4, -r["score"].astype(np.int64)
    return np.lexsort(keys)


def all_rows(machine: Machine) -> NDArray[np.uint8]:
    """A copy of the records and their row of counts, uint8 [candidates + 1, 16]."""
    rows: NDArray[np.uint8] = machine.records.copy().view(np.uint8).reshape(-1, Arch.ROW_BYTES)
    return rows


def to_rows(records: Records) -> NDArray[np.uint8]:
    """Records [N] as rows uint8 [N, 16]."""
    return np.frombuffer(records.tobytes(), np.uint8).reshape(-1, Arch.ROW_BYTES)
