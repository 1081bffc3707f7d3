"""Comparison of detections, with what differs in the message."""

from __future__ import annotations

import numpy as np

from falconet.runtime.detections import Detections


def same_detections(name: str, found: Detections | None, expected: Detections | None) -> None:
    """Demand the same records, landmarks and counts of machine ``name``."""
    if found is None or expected is None:
        assert found is expected, f"{name}: detections or none"
        return
    counts = [(len(d.records), d.candidates) for d in (found, expected)]
    assert counts[0] == counts[1], f"{name}: {counts[0]} boxes and candidates, not {counts[1]}"
    different = np.flatnonzero(found.records != expected.records)
    assert not len(different), (
        f"{name}: record {different[0]} is {found.records[different[0]]}, not "
        f"{expected.records[different[0]]}"
    )
    np.testing.assert_array_equal(found.landmarks, expected.landmarks, name)
