"""What docs/formal.md says of a proof."""

from __future__ import annotations

from formal import Proof


def described(proof: Proof) -> dict[str, str]:
    return {
        "proof": f"`{proof.name}`", "on": proof.component, "shows": proof.shows,
        "widths": proof.widths, "assumes": proof.assumes, "cycles": proof.depth,
        "mutants": "; ".join(proof.mutants),
    }


def line(proof: Proof) -> str:
    """A row of the table."""
    return "| " + " | ".join(described(proof).values()) + " |"
