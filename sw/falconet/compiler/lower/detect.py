"""A detection head as operations of the detect engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.machine.detect import (
    ENTRIES,
    DetectOp,
    MarkOp,
    RecordsOp,
    ScanOp,
    SuppressOp,
)
from falconet.compiler.machine.network import Network
from falconet.compiler.machine.place import Slot
from falconet.isa import Arch, Segment, Suppression
from falconet.isa.machine.rows import ANCHOR, ENTRY
from falconet.isa.program.forms import Detect, DetectLevel

__all__ = ["lower_detect"]


def lower_detect(net: Network, detect: Detect, places: dict[str, str]) -> None:
    """Append the operations of a head to the network, and its description with offsets in DDR.

    ``places``: for each head the tensor that holds its channels lane by lane.
    """
    arch, row = net.arch, Arch.ROW_BYTES
    limit, values = detect.limit, 2 * detect.points
    options = net.reserve(Segment.INPUT, row * len(detect.levels))
    gaussian = detect.mode == "soft_gaussian"
    weights = net.reserve(Segment.INPUT, row * ENTRIES) if gaussian else -1
    rows = limit * (1 + detect.rows)
    output = net.reserve(Segment.OUTPUT, row * (1 + rows))
    levels = tuple(dataclasses.replace(level, options=options + row * i)
                   for i, level in enumerate(detect.levels))
    net.detect = dataclasses.replace(detect, output=output, weights=weights, levels=levels)

    def slots(*heads: str) -> tuple[Slot, ...]:
        return tuple(net.slots[places[name]] for name in heads if name)

    def add(op: DetectOp) -> str:
        layer = len(net.graph.nodes) + len(net.extra_layers)
        net.extra_layers.append((op.name, op.what))
        net.ops.append(dataclasses.replace(op, layer=layer))
        return op.name

    common: dict[str, Any] = {"arch": arch}
    last = tuple(
        add(ScanOp(f"scan {i}", -1, slots(level.scores, level.boxes, level.objectness), None,
                   level.height, **common, level=level, number=i,
                   table=_table(level, level.centre, values, arch, scan=True),
                   hosted=(level.options, Arch.TABLE_OPTIONS, 1)))
        for i, level in enumerate(levels)
    )
    last = (add(SuppressOp(
        "suppress", -1, (), None, 1, after=last, **common, limit=limit,
        mode=Suppression[detect.mode.upper()], agnostic=detect.agnostic,
        table=b"" if gaussian else None, hosted=(weights, 0, ENTRIES) if gaussian else None,
    )),)
    if values:
        last = tuple(
            add(MarkOp(f"mark {i}", -1, slots(level.landmarks), None, 1, after=last, **common,
                       level=level, number=i, table=_table(level, level.mark, values, arch),
                       limit=limit, n_values=values))
            for i, level in enumerate(levels)
        )
    net.ops.append(RecordsOp("store boxes", -1, (), None, 1, after=last, arch=arch, rows=rows,
                             offset=output))


def _table(level: DetectLevel, centre: Sequence[int], values: int, arch: Arch, *,
           scan: bool = False) -> bytes:
    """The rows of a level's entries and anchors; ``centre`` is the table of offsets, ``values``
    counts the coordinates of a record's landmarks; ``scan``: of the table that SCAN reads."""
    entries = np.zeros(256, np.dtype(ENTRY.dtype))
    columns = {"score": level.softmax or level.score, "objectness": level.objectness_table,
               "centre": centre, "size": level.size}
    for column, table in columns.items():
        if table:
            entries[column] = table
    anchors = np.zeros(len(level.anchors), np.dtype(ANCHOR.dtype))
    a: NDArray[np.int64] = np.arange(len(anchors))
    for name, values_of in zip(("width", "height", "cx", "cy"), zip(*level.anchors)):
        anchors[name] = values_of
    box = 4 * (level.bins or 1) * a
    mark = level.n_class * a if scan and level.softmax else values * a
    for name, channel in ("box", box), ("objectness", a), ("mark", mark):
        anchors[name] = channel // arch.lanes * level.width
    anchors["lane"] = mark % arch.lanes
    anchors["box_lane"] = box % arch.lanes if level.bins else 0
    return entries.tobytes() + anchors.tobytes()
