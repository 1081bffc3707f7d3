"""What the blocks of the detect engine exchange; docs/isa.md (Rows) describes the rows."""

from __future__ import annotations

from amaranth import signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, Signature

from falconet.isa import Arch
from falconet.isa.machine.rows import ANCHOR, ENTRY, OPTIONS, RECORD, Row

__all__ = [
    "RECORD_LATENCY", "TABLE_LATENCY", "AnchorLayout", "EntryLayout", "OptionsLayout",
    "RecordLayout", "RecordPortSignature", "TableReadSignature",
]

TABLE_LATENCY = 2
"""Cycles from a row's number to the row."""

RECORD_LATENCY = 2
"""Cycles from a record's row number to the record: the memory and its output register."""

_ROW = 8 * Arch.ROW_BYTES


class _RowLayout(data.FlexibleLayout):
    """The fields of a row, each with as many bits as its values need."""

    def __init__(self, row: Row) -> None:
        super().__init__(row.bits, {
            f.name: data.Field(
                signed(f.width) if f.signed else unsigned(f.hi.bit_length()), f.offset)
            for f in row.fields if f.hi
        })


class RecordLayout(_RowLayout):
    """A box that was found. Better first: ``score`` down, then (level, y, x, anchor, label) up."""

    def __init__(self) -> None:
        super().__init__(RECORD)


class EntryLayout(_RowLayout):
    """What a stored value means; two in a row."""

    def __init__(self) -> None:
        super().__init__(ENTRY)


class AnchorLayout(_RowLayout):
    """One anchor of a cell: size and centre in 1/16 pixel; where its channels are."""

    def __init__(self) -> None:
        super().__init__(ANCHOR)


class OptionsLayout(_RowLayout):
    """The options of the run."""

    def __init__(self) -> None:
        super().__init__(OPTIONS)


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
