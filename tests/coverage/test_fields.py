"""Bins are whole, and what was seen is counted."""

from __future__ import annotations

from itertools import pairwise

import pytest
from fields import Seen, bins

from falconet.isa import Field, Load, instruction_classes


@pytest.mark.parametrize("field", [f for c in instruction_classes() for f in c.layout],
                         ids=lambda f: f"{f.name}-{f.width}")
def test_bins_cover_every_value_once(field: Field) -> None:
    ranges = bins(field)
    assert ranges[0][0] == field.lo and ranges[-1][1] == field.hi
    assert all(a[1] + 1 == b[0] for a, b in pairwise(ranges))


def test_what_was_seen_is_not_missed() -> None:
    seen, offset = Seen(), next(f for f in Load.layout if f.name == "offset")
    before = len(seen.missed("LOAD", offset))
    seen.add([Load(offset=0, run=1), Load(offset=1, run=1), Load(offset=77, run=1)])
    missed = seen.missed("LOAD", offset)
    highest = (offset.hi + 1) // 2
    assert len(missed) == before - 3 == 3
    assert missed == [(highest, highest), (highest + 1, offset.hi - 1), (offset.hi, offset.hi)]
