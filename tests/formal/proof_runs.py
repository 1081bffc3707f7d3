"""Runs proofs and their mutants."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from falconet.isa import FalconetError, near
from formal import PROOFS
from formal.proof import Proof
from formal.prover import Failure

__all__ = ["Result", "run"]


@dataclass(frozen=True)
class Result:
    """Of a proof: why it does not close, or nothing; the seconds of one core; the mutants that were
    not found (None: none was tried)."""

    proof: Proof
    failure: Failure | None
    seconds: float
    alive: tuple[str, ...] | None

    @property
    def found(self) -> str:
        """Mutants found, of all."""
        total = len(self.proof.mutants)
        return f"{total - len(self.alive or ())} of {total}"


def _seconds() -> float:
    """Of this process and the tools that it has started."""
    return sum(os.times()[:4])


def run(names: Collection[str] = (), *, mutants: bool) -> Iterator[Result]:
    """The proofs called ``names``, or all, one after the other.

    Raises
    ------
    FalconetError
        A name is unknown.
    """
    for name in names:
        if name not in PROOFS:
            raise FalconetError(f"there is no proof '{name}'; {near(name, PROOFS)}choose from: "
                                f"{', '.join(PROOFS)}")
    for proof in [PROOFS[name] for name in names] or PROOFS.values():
        start = _seconds()
        failure = proof.fails()
        seconds = _seconds() - start
        alive = tuple(m for m in proof.mutants if not proof.kills(m)) if mutants else None
        yield Result(proof, failure, seconds, alive)
