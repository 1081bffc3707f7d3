"""The machine is as fast as it was, to the cycle."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import cycles


@pytest.mark.parametrize("memory", cycles.RECORDED)
def test_cycles_are_as_recorded(memory: str) -> None:
    found, recorded = cycles.measure(memory), json.loads(cycles.FILE.read_text())[memory]
    assert found.keys() == recorded.keys(), "python tests/sim/cycles.py records them again"
    changed = [f"{case}, {what}: {n}, recorded {recorded[case][what]}"
               for case in recorded for what, n in found[case].items() if n != recorded[case][what]]
    assert not changed, f"if this is meant: python tests/sim/cycles.py\n{chr(10).join(changed)}"
