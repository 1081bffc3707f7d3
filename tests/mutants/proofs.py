"""Which proof about its component a mutant breaks."""

from __future__ import annotations

from pathlib import Path

import schemata
from formal import PROOFS
from formal.prover import prove_netlist
from mutations import HARDWARE, Mutant, mutants
from netlist import write

__all__ = ["broken_proof"]


def broken_proof(m: Mutant) -> str:
    """The name of a proof that fails, as the test-suite runs it or further from reset; or nothing.

    An induction may fail from a state that is never reached: ask only of mutants that are not
    proved equal.
    """
    for proof in PROOFS.values():
        if str(Path(str(proof.module.__file__)).relative_to(HARDWARE)) != m.first.component:
            continue
        modules = schemata.netlist_of((proof.small or proof.make)(proof.module), "top")
        for twin in mutants(modules):
            if twin.identity == m.identity:
                netlist = write(schemata.apply(modules, [(1, twin)], constant=1))
                if prove_netlist(netlist, f"{proof.name}_netlist_mutant", steps=proof.steps,
                                     induction=proof.induction):
                    return proof.name
    return ""
