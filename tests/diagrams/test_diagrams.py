"""The timing diagrams show what the RTL does, and what the contracts say of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from amaranth.hdl import Fragment

sys.path.insert(0, str(Path(__file__).parent))

from diagram_benches import ARCH, DIAGRAMS

from falconet_hw.engine.output import OutputStage
from falconet_hw.scratchpad.banks import READ_LATENCY

IMAGES = Path(__file__).parents[2] / "docs/images"


@pytest.mark.parametrize("name", DIAGRAMS)
def test_the_diagram_is_up_to_date(name: str, tmp_path: Path) -> None:
    drawn = tmp_path / "now.svg"
    DIAGRAMS[name].draw(tmp_path, drawn)
    same = drawn.read_bytes() == (IMAGES / f"timing-{name}.svg").read_bytes()
    assert same, "if this is meant: python tests/diagrams"


def values(name: str, folder: Path) -> dict[str, tuple[int | None, ...]]:
    return {w.name.signal: w.values for w in DIAGRAMS[name].record(folder).waves}


def test_latencies_are_those_of_the_contract(tmp_path: Path) -> None:
    seen = values("scratchpad", tmp_path)
    for port, first in (("mac", 0x11), ("vec", 0x22)):
        taken = [v & r for v, r in zip(seen[f"{port}_req__valid"], seen[f"{port}_req__ready"])]
        assert seen[f"{port}_data"].index(first) - taken.index(1) == READ_LATENCY
    assert 0 in seen["vec_req__ready"], "no two ports want one bank"
    seen = values("output", tmp_path)
    stage = OutputStage(arch=ARCH)
    Fragment.get(stage, None)
    assert seen["o_valid"].index(1) - seen["i_valid"].index(1) == stage.latency
