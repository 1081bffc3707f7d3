"""Which proof about its component a mutant breaks."""

from __future__ import annotations

from pathlib import Path

import schemata
from mutations import HARDWARE, Mutant, mutants
from netlist import write

from falconet_hw.formal import PROOFS
from falconet_hw.formal.prove import prove_netlist

__all__ = ["broken_proof"]


def broken_proof(m: Mutant) -> str:
    """The name of a proof with a counterexample from reset, or nothing."""
    for proof in PROOFS.values():
        if str(Path(str(proof.module.__file__)).relative_to(HARDWARE)) != m.first.component:
            continue
        modules = schemata.netlist_of((proof.small or proof.make)(proof.module), "top")
        for twin in mutants(modules):
            if twin.identity == m.identity:
                netlist = write(schemata.apply(modules, [(1, twin)], constant=1))
                if not prove_netlist(netlist, f"{proof.name}_netlist_mutant", steps=proof.steps,
                                     induction=0):
                    return proof.name
    return ""
