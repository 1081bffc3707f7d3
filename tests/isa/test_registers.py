"""The register table: one name and one offset each, and all that the contract promises."""

from __future__ import annotations

import pytest

from falconet.isa import MAGIC, REGISTERS, Engine, Segment, register


def test_unique_and_aligned() -> None:
    assert len({r.name for r in REGISTERS}) == len(REGISTERS)
    assert len({r.offset for r in REGISTERS}) == len(REGISTERS)
    assert all(r.offset % 4 == 0 and 0 <= r.offset < 256 for r in REGISTERS)
    assert all(r.access in ("ro", "rw") and r.doc for r in REGISTERS)


def test_families() -> None:
    for s in Segment:
        assert register(f"{s.name}_SIZE").offset == register(f"{s.name}_BASE").offset + 4
        assert register(f"{s.name}_BASE").access == "rw"
    for e in Engine:
        assert register(f"RETIRED_{e.name}").access == register(f"BUSY_{e.name}").access == "ro"
    assert register("ID").offset == 0
    assert MAGIC.to_bytes(4, "big") == b"FLCN"


def test_unknown() -> None:
    with pytest.raises(KeyError):
        register("COLOUR")
