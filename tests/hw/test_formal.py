"""The proofs close, and a mutated component makes them fail.

All of it is ``python -m falconet_hw.formal --mutants``; here are the proofs that take seconds, and
of their mutants the first.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from falconet.isa import FalconetError
from falconet_hw.detect import overlap
from falconet_hw.formal import PROOFS, Mutant

pytestmark = pytest.mark.timeout(300)

QUICK = [name for name, proof in PROOFS.items() if proof.quick]


@pytest.mark.parametrize("name", QUICK)
def test_proofs_close(name: str, tmp_path: Path) -> None:
    assert PROOFS[name].close(tmp_path)


@pytest.mark.parametrize("name", QUICK)
def test_a_mutant_is_found(name: str, tmp_path: Path) -> None:
    proof = PROOFS[name]
    assert proof.kills(next(iter(proof.mutants)), tmp_path)
    assert (tmp_path / f"{name}_mutant.vcd").exists()


@pytest.mark.parametrize("name", PROOFS)
def test_every_mutant_is_one(name: str) -> None:
    proof = PROOFS[name]
    assert len(proof.mutants) >= 5
    for mutant in proof.mutants.values():
        mutant.apply(proof.module)


def test_a_mutant_that_does_not_apply_is_refused() -> None:
    for fault in (Mutant("return (low", "shift + 7", "0"), Mutant("delay(", "m", "n")):
        with pytest.raises(FalconetError, match="change the mutant with the source"):
            fault.apply(overlap)
