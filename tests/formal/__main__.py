"""``python tests/formal``: all proofs with all their mutants, as a table; see docs/formal.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from falconet.commands.console import working
from falconet.commands.pages import show
from falconet.isa import FalconetError
from falconet_hw.formal import PROOFS
from falconet_hw.formal.run import Result, run


def row(result: Result) -> dict[str, str]:
    proof = result.proof
    return {
        "proof": f"`{proof.name}`", "on": proof.component, "shows": proof.shows,
        "widths": proof.widths, "assumes": proof.assumes, "cycles": proof.depth,
        "seconds": f"{result.seconds:.0f}", "mutants found": result.found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("proofs", nargs="*", metavar="PROOF", help="all, if none is named")
    parser.add_argument("--markdown", type=Path, help="put the table into this page")
    options = parser.parse_args()
    results = []
    names = options.proofs or list(PROOFS)
    with working(f"{len(names)} proofs") as step:
        for result in run(names, mutants=True):
            results.append(result)
            step.share(len(results) / len(names))
            if not result.good:
                raise FalconetError(
                    f"{result.proof.name} " + ("does not close" if not result.closes else
                    f"does not see the mutant '{(result.alive or ('',))[0]}'"))
    show([row(r) for r in results], options.markdown, "formal", "The proofs",
         "python tests/formal", False)


if __name__ == "__main__":
    try:
        main()
    except FalconetError as e:
        sys.exit(f"formal: {e}")
