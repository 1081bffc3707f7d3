"""The proofs close, and a mutated component makes them fail.

All of it is ``python tests/formal --mutants``; here are the proofs that take seconds, and
of their mutants the first.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from formal import PROOFS, Mutant
from formal.prover import prove

from falconet.isa import FalconetError
from falconet_hw.detect import overlap

pytestmark = pytest.mark.timeout(300)

QUICK = [name for name, proof in PROOFS.items() if proof.quick]


@pytest.mark.parametrize("name", QUICK)
def test_proofs_close(name: str, tmp_path: Path) -> None:
    assert not PROOFS[name].fails(tmp_path)


@pytest.mark.parametrize("name", QUICK)
def test_a_mutant_is_found(name: str, tmp_path: Path) -> None:
    proof = PROOFS[name]
    assert proof.kills(next(iter(proof.mutants)), tmp_path)
    assert (tmp_path / f"{name}_mutant.vcd").exists()


@pytest.mark.parametrize(("mutant", "said"), [
    ("takes from an empty memory", "base case fails in cycle 1 from reset: "),
    ("an entry too many", "induction fails in cycle 1 from a state that may never be reached: "),
])
def test_a_failure_names_the_assertion(mutant: str, said: str, tmp_path: Path) -> None:
    proof = PROOFS["fifo_4"]
    failure = prove(proof.make(proof.mutants[mutant].apply(proof.module)), "broken",
                    steps=proof.base, induction=proof.induction, directory=tmp_path)
    assert failure is not None and str(failure).startswith(f"{said}{failure.assertions[0]}")
    for place in failure.assertions:
        file, line = place.split(":")
        source = (Path(__file__).parents[2] / file).read_text().splitlines()
        assert "Assert(" in source[int(line) - 1]
    assert failure.waveform.exists()


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
