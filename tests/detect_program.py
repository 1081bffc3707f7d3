"""Programs that are nothing but a detection head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from assembler import Array, Assembler

from falconet.isa import (
    Arch,
    Dst,
    Load,
    Mark,
    Program,
    Scan,
    Segment,
    Src,
    Store,
    Suppress,
    Suppression,
)


def table_rows(arch: Arch, level: dict[str, Any], columns: Sequence[Sequence[int]], points: int,
               far: int = 0, scan: bool = False) -> bytes:
    """The detect table of a level up to its last anchor; columns as in SCAN, empty ones are 0.

    The anchors' tensors begin ``far`` words before their bases. SCAN's ``mark`` is of the scores.
    """
    lanes, box = arch.lanes, 4 * level.get("bins", 1)
    entries = np.zeros((256, 4), np.int64)
    for i, column in enumerate(columns):
        if len(column):
            entries[:, i] = column
    rows = np.zeros((len(level["anchors"]), 8), np.int64)
    for a, (row, sizes) in enumerate(zip(rows, level["anchors"])):
        channels = box * a, a, 2 * points * a
        row[:4] = sizes
        row[4:7] = [c // lanes * level["width"] - far for c in channels]
        row[7] = channels[2] % lanes
        if scan:
            first = level["n_class"] * a
            row[6] = first // lanes * level["width"]
            row[7] = first % lanes | channels[0] % lanes << 8
    return b"".join((v & 0xFFFF).astype("<u2").tobytes() for v in (entries, rows))


def detection_program(
    arch: Arch, detect: dict[str, Any], tensors: dict[str, Array], *,
    waits: Sequence[Sequence[int]] | None = None, far: int = 0, stripe: int = 4095,
) -> tuple[Program, dict[str, Array]]:
    """A program that is nothing but a detection head, and its inputs, the heads' tensors.

    Every device runs it, the golden model too. ``detect`` is as in the program's header, but the
    program lays out its segments on its own. Without ``waits`` each instruction waits for all that
    precede it. A SCAN is of ``stripe`` rows.
    """
    asm = Assembler(arch)
    detect = add_detection(asm, detect, tensors, far=far, stripe=stripe)
    program = asm.program(waits)
    names = [t["name"] for t in asm.inputs]
    program.header |= {
        "detect": detect, "graph_offset": 0,  # a graph that hands its inputs on
        "graph": {"inputs": names, "outputs": names, "nodes": [], "tensors": asm.inputs},
    }
    return program, dict(tensors)


def add_detection(
    asm: Assembler, detect: dict[str, Any], tensors: dict[str, Array], *, first: int = 0,
    between: Callable[[], None] = lambda: None, far: int = 0, stripe: int = 4095,
) -> dict[str, Any]:
    """All that a head needs, on scratchpad words from ``first`` on; what the header says of it.

    ``between`` is called after each instruction of the detect engine, and may add others. The bases
    of boxes, objectness and landmarks lie ``far`` words (modulo 2**16) behind the tensors. Levels
    are scanned in stripes of ``stripe`` rows, the last one first.
    """
    arch, per = asm.arch, asm.arch.row_words
    levels = [dict(level) for level in detect["levels"]]
    limit, rows, points = detect["limit"], detect["rows"], detect["points"]
    detect = {**detect, "levels": levels, "weights": -1}
    free = [first]

    def load(name: str) -> dict[str, int]:
        """Load a head: the scratchpad address of the tensor, and its steps."""
        channels, height, width = tensors[name].shape
        blocks = -(-channels // arch.lanes)
        words = height * blocks * width
        base = free[0] if free[0] + words <= arch.scratchpad_words else first
        assert base + words <= arch.scratchpad_words
        free[0] = base + words
        at = asm.input(name, words, shape=[channels, height, width])
        asm.add(Load(segment=Segment.INPUT, offset=at, base=base, run=words))
        return {"base": base, "y_step": blocks * width, "b_step": width}

    def reserve(size: int) -> int:
        at = asm.segments["input"]
        asm.segments["input"] += size + 127 & ~127
        return at

    def cells(number: int, shift: str) -> dict[str, int]:
        level = levels[number]
        return {"level": number, "stride_x": level["stride"][0], "stride_y": level["stride"][1],
                "centre_shift": level[shift], "grid": level["grid"]}

    for i, level in enumerate(levels):
        scores, boxes = load(level["scores"]), load(level["boxes"])
        objects = load(level["objectness"]) if level["objectness"] else {"base": 0, "y_step": 0}
        score = "softmax" if level.get("softmax") else "score"
        columns = [level[k] for k in (score, "objectness_table", "centre", "size")]
        asm.constant(table_rows(arch, level, columns, points, far, True), Dst.DETECT)
        level["options"] = reserve(arch.ROW_BYTES)
        asm.add(Load(segment=Segment.INPUT, offset=level["options"], dst=Dst.DETECT,
                     base=arch.TABLE_OPTIONS * per, run=per))
        n_channels = level["n_class"] * len(level["anchors"])
        whole = Scan(
            **{f"score_{k}": v for k, v in scores.items()},
            box_base=boxes["base"] + far & 0xFFFF, box_y_step=boxes["y_step"],
            box_b_step=boxes["b_step"], bins=level.get("bins", 0),
            softmax=int(bool(level.get("softmax"))), background=level.get("background", 0),
            obj_base=objects["base"] + far & 0xFFFF, obj_y_step=objects["y_step"],
            n_x=level["width"], n_b=-(-n_channels // arch.lanes),
            n_channels=n_channels, n_class=level["n_class"],
            objectness=int(bool(level["objectness"])), form=level["form"],
            **cells(i, "centre_shift"), size_shift=level["size_shift"],
            **dict(zip(("x_lo", "x_hi", "y_lo", "y_hi"), level["clip"])),
        )
        starts = range(0, level["height"], stripe)[::-1]
        for y in starts:
            bases = {f"{k}_base": getattr(whole, f"{k}_base") + y * getattr(whole, f"{k}_y_step")
                     & 0xFFFF for k in ("score", "box", "obj")}
            asm.add(whole.replace(**bases, y0=y, n_y=min(stripe, level["height"] - y),
                                  first=int(i == 0 and y == starts[0])))
        between()
    if detect["mode"] == "soft_gaussian":
        detect["weights"] = reserve(2048)
        asm.add(Load(segment=Segment.INPUT, offset=detect["weights"], dst=Dst.DETECT,
                     run=2048 // arch.lanes))
    asm.add(Suppress(mode=Suppression[detect["mode"].upper()], agnostic=int(detect["agnostic"]),
                     limit=limit))
    between()
    for i, level in enumerate(levels):
        if points:
            view = load(level["landmarks"])
            view["base"] = view["base"] + far & 0xFFFF
            columns = [[], [], level["mark"]]
            asm.constant(table_rows(arch, level, columns, points, far), Dst.DETECT)
            asm.add(Mark(**view, n_values=2 * points, **cells(i, "mark_shift"), limit=limit))
            between()
    at = detect["output"] = asm.segments["output"]
    asm.segments["output"] += arch.ROW_BYTES * (1 + limit * (1 + rows)) + 127 & ~127
    stored = (arch.candidates, 1, 0), (0, limit, 1), (limit, limit * rows, 1 + limit)
    for row, count, to in stored:
        if count:
            asm.add(Store(segment=Segment.OUTPUT, offset=at + to * arch.ROW_BYTES,
                          src=Src.RECORDS, base=row * per, run=count * per))
    return detect
