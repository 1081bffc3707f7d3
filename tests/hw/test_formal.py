"""The proofs close, and a mutated component makes them fail."""

from __future__ import annotations

import types
from pathlib import Path

import pytest

from falconet_hw.detect import overlap
from falconet_hw.formal.__main__ import PROOFS
from falconet_hw.formal.overlap import OverlapProof
from falconet_hw.formal.prove import prove

pytestmark = pytest.mark.timeout(300)

MUTANTS = {
    "greater or equal": ('"over")', "inter > least", "inter >= least"),
    "union without the intersection": ("union = ", "self.i_sum - self.i_inter", "self.i_sum"),
    "the wrong end of a box": ("first = ", "Mux(b1 > r1, b1, r1)", "Mux(b1 > r1, r1, b1)"),
    "no clamp at 0": ("shared.append", "Mux(extent < 0, 0, extent)", "extent"),
    "a coordinate without its sign": ("for k in", "signed(bits) for k", "bits for k"),
    "a product one bit short": ("part_bits = ", "cut + t + 1, ", "cut + t - 1, "),
    "a part of the union lost": ('"low", "high"', "union[cut:]", "union[cut + 1:]"),
    "a stage too many": ("inter = delay(m, self", "self.LATENCY - 1", "self.LATENCY"),
}


@pytest.mark.parametrize("name", ["parts_16", "overlap_4"])
def test_proofs_close(name: str, tmp_path: Path) -> None:
    component = PROOFS[name]()
    assert prove(component, name, steps=component.steps, directory=tmp_path)


@pytest.mark.parametrize("fault", MUTANTS)
def test_a_mutant_is_found(fault: str, tmp_path: Path) -> None:
    line, right, wrong = MUTANTS[fault]
    lines = Path(overlap.__file__).read_text().splitlines()
    (at,) = [i for i, text in enumerate(lines) if line in text and right in text]
    lines[at] = lines[at].replace(right, wrong)
    mutant = types.ModuleType("mutant")
    exec("\n".join(lines), mutant.__dict__)
    component = OverlapProof(mutant.Overlap(box_bits=3, threshold_bits=3))
    assert not prove(component, "mutant", steps=component.steps, directory=tmp_path)
    assert (tmp_path / "mutant.vcd").exists()


def test_the_unchanged_component_is_no_mutant(tmp_path: Path) -> None:
    component = OverlapProof(overlap.Overlap(box_bits=3, threshold_bits=3))
    assert prove(component, "same", steps=component.steps, directory=tmp_path)
