"""Rows of the detect engine, 16 bytes each, little endian: its table and its records.

Row ``r`` begins at lane word ``r * row_words``. In the detect table (``Dst.DETECT``) the rows below
``Arch.TABLE_ANCHORS`` (128) hold two ENTRY each, those from there on one ANCHOR each, row
``Arch.TABLE_OPTIONS`` (144) the OPTIONS. The records (``Src.RECORDS``) are ``Arch.candidates``
RECORD rows and then the COUNTS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from falconet.isa.machine.fields import Field, place

__all__ = ["ANCHOR", "COUNTS", "ENTRY", "OPTIONS", "RECORD", "ROWS", "Row"]


@dataclass(frozen=True)
class Row:
    """A row, or part of one, as fields from bit 0 on."""

    name: str
    doc: str
    fields: tuple[Field, ...]

    @property
    def bits(self) -> int:
        return self.fields[-1].offset + self.fields[-1].width

    @property
    def dtype(self) -> list[Any]:
        """What ``numpy.dtype`` makes the row of. Fields narrower than a byte share the one that
        the first of them names; a field of no usual width is an array of bytes."""
        found: list[Any] = []
        for f in self.fields:
            if f.offset % 8 == 0:
                size = max(f.width // 8, 1)
                kind = "i" if f.signed else "u"
                found.append((f.name, f"<{kind}{size}") if size in (1, 2, 4)
                             else (f.name, "u1", size))
        return found


def _row(name: str, doc: str, *fields: Field) -> Row:
    return Row(name, doc, place(fields))


RECORD = _row(
    "RECORD", "A box that was found.",
    *(Field(n, 16, "edge, 1/16 pixel", signed=True) for n in ("x1", "y1", "x2", "y2")),
    Field("score", 16, "in units of 2**-16"),
    Field("label", 8, "class"),
    Field("anchor", 4, "anchor that it came from"),
    Field("level", 4, "level"),
    Field("x", 16, "column of the cell"),
    Field("y", 16, "row of the cell"),
)
ENTRY = _row(
    "ENTRY", "What a stored value `q` means: entry `q + 128`. Two make a row.",
    Field("score", 16, "score, in units of 2**-16; SCAN with `softmax`: exponential"),
    Field("objectness", 16, "objectness, in units of 2**-16"),
    Field("centre", 16, "how far a centre moves, in units of 2**-centre_shift", signed=True),
    Field("size", 16, "size, in units of 2**-size_shift; SCAN with `bins`: exponential"),
)
ANCHOR = _row(
    "ANCHOR", "One anchor of a cell.",
    Field("width", 16, "1/16 pixel"),
    Field("height", 16, "1/16 pixel"),
    Field("cx", 16, "its centre in cell (0, 0), x, 1/16 pixel", signed=True),
    Field("cy", 16, "y", signed=True),
    Field("box", 16, "words from `box_base` to its box channels"),
    Field("objectness", 16, "words from `obj_base` to its objectness"),
    Field("mark", 16, "MARK: words from `base` to its first channel; SCAN with `softmax`: from "
          "`score_base` to its first class"),
    Field("lane", 8, "the lane of that"),
    Field("box_lane", 8, "SCAN with `bins`: the lane of its first box channel"),
)
OPTIONS = _row(
    "OPTIONS", "The options of a run.",
    Field("score_min", 16, "least score, in units of 2**-16"),
    Field("q_min", 16, "least stored score that may reach it", signed=True, minimum=-128,
          maximum=128),
    Field("threshold", 32, "IoU that suppresses, in units of 2**-16", maximum=1 << 16),
    Field("maximum", 16, "most records that stay"),
    Field("zero", 48, "", maximum=0),
)
COUNTS = _row(
    "COUNTS", "What SUPPRESS leaves behind the records.",
    Field("stay", 32, "records that stay"),
    Field("candidates", 32, "seen by SCAN since `first`; more than `Arch.candidates`: some were "
          "given up"),
    Field("zero", 64, "", maximum=0),
)
ROWS = (RECORD, COUNTS, ENTRY, ANCHOR, OPTIONS)
