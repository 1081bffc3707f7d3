"""Proofs about the hardware; docs/formal.md says what they show."""

from falconet_hw.formal import (
    axi,
    burst,
    control,
    credits,
    dispatch,
    fifo,
    output,
    overlap,
    packing,
    registers,
    topk,
    window,
)
from falconet_hw.formal.proof import Mutant, Proof

__all__ = ["PROOFS", "Mutant", "Proof"]

PROOFS: dict[str, Proof] = {
    proof.name: proof
    for module in (
        axi, burst, window, control, registers, dispatch, packing, output, fifo, credits, topk,
        overlap,
    )
    for proof in module.PROOFS
}
"""By name, in the order of docs/formal.md."""
