"""Proofs about the hardware; docs/formal.md says what they show."""

from formal import (
    prove_axi,
    prove_burst,
    prove_control,
    prove_credits,
    prove_dispatch,
    prove_fifo,
    prove_output,
    prove_overlap,
    prove_packing,
    prove_registers,
    prove_softmax,
    prove_topk,
    prove_window,
)
from formal.proof import Mutant, Proof

__all__ = ["PROOFS", "Mutant", "Proof"]

PROOFS: dict[str, Proof] = {
    proof.name: proof
    for module in (
        prove_axi, prove_burst, prove_window, prove_control, prove_registers, prove_dispatch,
        prove_packing, prove_output, prove_fifo, prove_credits, prove_topk,
        prove_softmax, prove_overlap,
    )
    for proof in module.PROOFS
}
"""By name, in the order of docs/formal.md."""
