"""What the blocks of the detect engine exchange; docs/isa.md (SCAN) describes the rows."""

from __future__ import annotations

from amaranth import signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, Signature

from falconet.isa import Arch

__all__ = [
    "RECORD_LATENCY", "TABLE_LATENCY", "AnchorLayout", "EntryLayout", "OptionsLayout",
    "RecordLayout", "RecordPortSignature", "TableReadSignature",
]

TABLE_LATENCY = 2
"""Cycles from a row's number to the row."""

RECORD_LATENCY = 2
"""Cycles from a record's row number to the record: the memory and its output register."""

_ROW = 8 * Arch.ROW_BYTES


class RecordLayout(data.StructLayout):
    """A box that was found. Better first: ``score`` down, then (level, y, x, anchor, label) up."""

    def __init__(self) -> None:
        super().__init__({
            "x1": signed(16), "y1": signed(16), "x2": signed(16), "y2": signed(16),
            "score": 16, "label": 8, "anchor": 4, "level": 4, "x": 16, "y": 16,
        })


class EntryLayout(data.StructLayout):
    """What a stored value means; two in a row."""

    def __init__(self) -> None:
        super().__init__({"score": 16, "objectness": 16, "centre": signed(16), "size": 16})


class AnchorLayout(data.StructLayout):
    """One anchor of a cell: size and centre in 1/16 pixel; where its channels are."""

    def __init__(self) -> None:
        super().__init__({
            "width": 16, "height": 16, "cx": signed(16), "cy": signed(16),
            "box": 16, "objectness": 16, "mark": 16, "lane": 16,
        })


class OptionsLayout(data.FlexibleLayout):
    """The options of the run."""

    def __init__(self) -> None:
        super().__init__(_ROW, {
            "score_min": data.Field(16, 0), "q_min": data.Field(signed(16), 16),
            "threshold": data.Field(17, 32), "maximum": data.Field(16, 64),
        })


class TableReadSignature(Signature):
    """Reading rows of the detect table (as seen by the reader): one a cycle, no hand-shake."""

    def __init__(self) -> None:
        super().__init__({"row": Out(8), "data": In(_ROW)})


class RecordPortSignature(Signature):
    """The record memory (as seen by its user): a read and a write each cycle, no hand-shake.

    A read of a row in a cycle after its write sees the new record; in the same cycle, the old.
    """

    def __init__(self, arch: Arch) -> None:
        row = range(arch.candidates)
        super().__init__({
            "read_row": Out(row), "read_data": In(RecordLayout()),
            "write_row": Out(row), "write_data": Out(RecordLayout()), "write": Out(1),
        })
