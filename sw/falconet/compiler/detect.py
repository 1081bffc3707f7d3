"""Operations of the detect engine: one SCAN a level, SUPPRESS, one MARK a level with landmarks.

Each is a single tile that wants its heads whole. SCANs may come in any order and run while later
levels are still computed; the detect table has one buffer, so each instruction's rows are loaded
when the one before it has retired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.ops import Emitted, Op, Region, Slot, Tile
from falconet.isa import (
    Arch,
    Dst,
    Engine,
    Mark,
    Scan,
    Segment,
    Src,
    Store,
    Suppress,
    Suppression,
)
from falconet.isa.rows import ANCHOR, ENTRY

if TYPE_CHECKING:
    from falconet.compiler.lower import Network

__all__ = ["RECORDS", "DetectOp", "MarkOp", "RecordsOp", "ScanOp", "SuppressOp", "lower_detect"]

RECORDS = "RECORDS"  # Src.RECORDS as a memory; the number alone would be that of Dst.WEIGHTS
_RECORDS: list[Region] = [(RECORDS, 0, 1)]
_OPTIONS: Region = (Dst.DETECT, Arch.TABLE_OPTIONS, Arch.TABLE_OPTIONS + 1)
_ENTRIES = Arch.TABLE_ANCHORS  # rows that the 256 entries take


@dataclass
class DetectOp(Op):
    """Base. ``table``: rows of the detect table from 0 on; ``hosted``: (byte offset in segment
    INPUT, first row, rows) of those that the driver writes."""

    arch: Arch = None  # type: ignore[assignment]
    level: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    hosted: tuple[int, int, int] | None = None

    engine = Engine.DETECT
    at_once: ClassVar[bool] = True
    what: ClassVar[str] = ""

    @property
    def blocks(self) -> int:
        return self.inputs[0].blocks if self.inputs else 1

    def needs(self, y0: int, y1: int) -> list[tuple[int, int]]:
        return [(0, s.buffer.height) for s in self.inputs]

    def _reads(self) -> list[Region]:
        """The heads and the rows of the table."""
        regions = [r for s in self.inputs for r in s.regions(0, s.buffer.height)]
        return regions + _RECORDS + [(Dst.DETECT, 0, len(self.table or b"") // Arch.ROW_BYTES)]

    def _cells(self, shift: str) -> dict[str, int]:
        x, y = self.level["stride"]
        return {"level": self.number, "stride_x": x, "stride_y": y, "grid": self.level["grid"],
                "centre_shift": self.level[shift]}


@dataclass
class ScanOp(DetectOp):
    """One level: scores, boxes and, where the head has them, objectness."""

    what = "scan"

    def cycles(self, tile: Tile) -> int:
        return 2000 + self.blocks * int(self.level["height"] * self.level["width"])

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        level, (scores, boxes, *rest) = self.level, self.inputs
        channels = len(level["anchors"]) * level["n_class"]
        x_lo, x_hi, y_lo, y_hi = level["clip"]
        views = {**_view("score", scores), **_view("box", boxes)}
        del views["box_b_step"]  # the table says where an anchor's channels are
        if rest:
            views |= {k: v for k, v in _view("obj", rest[0]).items() if k != "obj_b_step"}
        ins = Scan(
            **views, **self._cells("centre_shift"), n_y=level["height"], n_x=level["width"],
            n_b=scores.blocks, n_channels=channels, n_class=level["n_class"],
            objectness=bool(rest), form=level["form"], size_shift=level["size_shift"],
            x_lo=x_lo, x_hi=x_hi, y_lo=y_lo, y_hi=y_hi,
        )
        yield Emitted(ins, [*self._reads(), _OPTIONS], _RECORDS)


@dataclass
class SuppressOp(DetectOp):
    """Non-maximum suppression of what the SCANs found."""

    mode: Suppression = Suppression.GREEDY
    agnostic: bool = False
    limit: int = 1

    what = "suppress"

    def cycles(self, tile: Tile) -> int:
        return 4000

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        ins = Suppress(mode=self.mode, agnostic=self.agnostic, limit=self.limit)
        weights: list[Region] = [(Dst.DETECT, 0, _ENTRIES)] if self.hosted else []
        yield Emitted(ins, [*_RECORDS, *weights, _OPTIONS], _RECORDS)


@dataclass
class MarkOp(DetectOp):
    """Landmarks of one level."""

    limit: int = 1
    n_values: int = 2

    what = "mark"

    def cycles(self, tile: Tile) -> int:
        return 1500

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        view = {k.removeprefix("in_"): v for k, v in _view("in", self.inputs[0]).items()}
        ins = Mark(**view, **self._cells("mark_shift"), n_values=self.n_values,
                   limit=self.limit)
        yield Emitted(ins, self._reads(), _RECORDS)


@dataclass
class RecordsOp(Op):
    """The counts, the records and their landmarks to DDR, at ``offset`` in segment OUTPUT."""

    arch: Arch = None  # type: ignore[assignment]
    rows: int = 1
    offset: int = 0

    engine = Engine.STORE
    at_once: ClassVar[bool] = True

    @property
    def blocks(self) -> int:
        return 1

    def cycles(self, tile: Tile) -> int:
        return 120 + (self.rows + 1) * Arch.ROW_BYTES // Arch.DATA_BYTES

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        for first, rows, at in ((self.arch.candidates, 1, 0), (0, self.rows, Arch.ROW_BYTES)):
            ins = Store(segment=Segment.OUTPUT, offset=self.offset + at, src=Src.RECORDS,
                        run=rows * self.arch.row_words, base=first * self.arch.row_words)
            yield Emitted(ins, _RECORDS, [])


def _view(prefix: str, slot: Slot) -> dict[str, int]:
    """Base and steps of a tensor that is there as a whole, channel c in lane c."""
    assert slot.buffer.whole and np.array_equal(slot.lane_of, np.arange(len(slot.lane_of)))
    view = slot.view(prefix, 0)
    return {f"{prefix}_{k}": view[f"{prefix}_{k}"] for k in ("base", "y_step", "b_step")}


def lower_detect(net: Network, detect: dict[str, Any], places: dict[str, str]) -> None:
    """Append the operations of a head to the network, and its description with offsets in DDR.

    ``places``: for each head the tensor that holds its channels lane by lane.
    """
    arch, row = net.arch, Arch.ROW_BYTES
    limit, values = int(detect["limit"]), 2 * int(detect["points"])
    levels = detect["levels"]
    options = net.reserve(Segment.INPUT, row * len(levels))
    gaussian = detect["mode"] == "soft_gaussian"
    weights = net.reserve(Segment.INPUT, row * _ENTRIES) if gaussian else -1
    rows = limit * (1 + detect["rows"])
    output = net.reserve(Segment.OUTPUT, row * (1 + rows))
    levels = [{**level, "options": options + row * i} for i, level in enumerate(levels)]
    net.detect = {**detect, "output": output, "weights": weights, "levels": levels}

    def slots(level: dict[str, Any], *keys: str) -> list[Slot]:
        return [net.slots[places[level[k]]] for k in keys if level[k]]

    def add(op: Op) -> Op:
        if isinstance(op, DetectOp):
            op.layer = len(net.graph.nodes) + len(net.extra_layers)
            net.extra_layers.append((op.name, op.what))
        net.ops.append(op)
        return op

    common: dict[str, Any] = {"arch": arch}
    scans = [
        add(ScanOp(f"scan {i}", -1, slots(level, "scores", "boxes", "objectness"), None, 1,
                   **common, level=level, number=i, table=_table(level, "centre", values, arch),
                   hosted=(level["options"], Arch.TABLE_OPTIONS, 1)))
        for i, level in enumerate(levels)
    ]
    last = [add(SuppressOp(
        "suppress", -1, [], None, 1, after=scans, **common, limit=limit,
        mode=Suppression[detect["mode"].upper()], agnostic=detect["agnostic"],
        table=b"" if gaussian else None, hosted=(weights, 0, _ENTRIES) if gaussian else None,
    ))]
    if values:
        last = [
            add(MarkOp(f"mark {i}", -1, slots(level, "landmarks"), None, 1, after=last, **common,
                       level=level, number=i, table=_table(level, "mark", values, arch),
                       limit=limit, n_values=values))
            for i, level in enumerate(levels)
        ]
    add(RecordsOp("store boxes", -1, [], None, 1, after=last, **common, rows=rows, offset=output))


def _table(level: dict[str, Any], centre: str, values: int, arch: Arch) -> bytes:
    """The rows of a level's entries and anchors; ``centre`` names the table of offsets, ``values``
    counts the coordinates of a record's landmarks."""
    entries = np.zeros(256, np.dtype(ENTRY.dtype))
    columns = {"score": "score", "objectness": "objectness_table", "centre": centre,
               "size": "size"}
    for column, key in columns.items():
        if level[key]:
            entries[column] = level[key]
    anchors = np.zeros(len(level["anchors"]), np.dtype(ANCHOR.dtype))
    a: NDArray[np.int64] = np.arange(len(anchors))
    for name, values_of in zip(("width", "height", "cx", "cy"), zip(*level["anchors"])):
        anchors[name] = values_of
    for name, channel in ("box", 4 * a), ("objectness", a), ("mark", values * a):
        anchors[name] = channel // arch.lanes * level["width"]
    anchors["lane"] = values * a % arch.lanes
    return entries.tobytes() + anchors.tobytes()
