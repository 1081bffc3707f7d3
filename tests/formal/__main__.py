"""``python tests/formal``: all proofs with all their mutants, as tables; see docs/formal.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from proof_table import described

from falconet.commands.console import working
from falconet.commands.pages import show
from falconet.isa import FalconetError
from falconet_hw.formal import PROOFS
from falconet_hw.formal.run import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("proofs", nargs="*", metavar="PROOF", help="all, if none is named")
    parser.add_argument("--list", action="store_true", help="say what they are, prove nothing")
    parser.add_argument("--markdown", type=Path, help="put the tables into this page")
    options = parser.parse_args()
    show([described(p) for p in PROOFS.values()], options.markdown, "formal", "The proofs",
         "python tests/formal --list", False)
    if options.list:
        return
    rows, wrong = [], []
    names = options.proofs or list(PROOFS)
    with working(f"{len(names)} proofs") as step:
        for result in run(names, mutants=True):
            name = result.proof.name
            if not result.closes:
                wrong.append(f"{name} does not close; build/formal/{name}.vcd shows why")
            wrong += [f"{name} does not find the mutant '{m}'" for m in result.alive or ()]
            rows.append({"proof": f"`{name}`", "seconds of one core": f"{result.seconds:.0f}",
                         "mutants found": result.found})
            step.share(len(rows) / len(names))
    if wrong:
        raise FalconetError("; ".join(wrong))
    show(rows, options.markdown, "formal run", "A run", "python tests/formal", False)


if __name__ == "__main__":
    try:
        main()
    except FalconetError as e:
        sys.exit(f"formal: {e}")
