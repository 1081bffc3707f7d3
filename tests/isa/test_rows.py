"""The rows of the detect engine: bytes for numpy, bits for the hardware, one definition."""

from __future__ import annotations

import numpy as np
import pytest

from falconet.isa import Arch
from falconet.isa.machine.rows import ANCHOR, COUNTS, ENTRY, OPTIONS, RECORD, ROWS, Row
from falconet_hw.detect.forms import AnchorLayout, EntryLayout, OptionsLayout, RecordLayout


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_bytes_and_bits_agree(row: Row) -> None:
    dtype = np.dtype(row.dtype)
    assert row.bits == 8 * dtype.itemsize
    assert 8 * Arch.ROW_BYTES % row.bits == 0
    for f in row.fields:
        if f.offset % 8 == 0:
            assert dtype.fields is not None and dtype.fields[f.name][1] == f.offset // 8


def test_a_record_byte_by_byte() -> None:
    record = np.zeros(1, np.dtype(RECORD.dtype))
    record["x1"], record["y2"], record["score"], record["label"] = -2, 0x1234, 0xABCD, 7
    record["anchor"], record["x"], record["y"] = 5 + 16 * 3, 9, 10
    assert record.tobytes().hex() == "feff" "0000" "0000" "3412" "cdab" "07" "35" "0900" "0a00"
    word = int.from_bytes(record.tobytes(), "little")
    fields = {f.name: word >> f.offset & (1 << f.width) - 1 for f in RECORD.fields}
    assert (fields["anchor"], fields["level"], fields["y2"]) == (5, 3, 0x1234)


@pytest.mark.parametrize("layout, row", [
    (RecordLayout(), RECORD), (EntryLayout(), ENTRY), (AnchorLayout(), ANCHOR),
    (OptionsLayout(), OPTIONS),
], ids=lambda v: getattr(v, "name", ""))
def test_the_hardware_reads_what_numpy_writes(layout: object, row: Row) -> None:
    places = {name: field.offset for name, field in layout.fields.items()}  # type: ignore[attr-defined]
    assert places == {f.name: f.offset for f in row.fields if f.name != "zero"}


def test_sizes_in_the_contract() -> None:
    assert [r.bits for r in (RECORD, COUNTS, ENTRY, ANCHOR, OPTIONS)] == [128, 128, 64, 128, 128]
    assert (Arch.TABLE_ANCHORS, Arch.TABLE_OPTIONS, Arch.TABLE_ROWS) == (128, 144, 145)
