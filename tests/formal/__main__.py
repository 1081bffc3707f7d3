"""``python tests/formal``: all proofs, or those named; docs/formal.md says what they show."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from falconet.isa import FalconetError
from falconet_app.commands.console import working
from falconet_app.commands.pages import show
from formal import PROOFS
from formal.proof_runs import run
from formal.proof_table import described


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/formal", description=__doc__)
    parser.add_argument("proofs", nargs="*", metavar="PROOF", help="all, if none is named")
    parser.add_argument("--mutants", action="store_true", help="and find all their mutants")
    parser.add_argument("--list", action="store_true", help="say what they are, prove nothing")
    parser.add_argument("--markdown", type=Path, metavar="PAGE",
                        help="put the table of --list, or that of --mutants, into this page")
    options = parser.parse_args()
    if options.markdown and (options.proofs or options.list == options.mutants):
        parser.error("--markdown wants --list or --mutants, and all proofs")
    if options.list:
        show([described(p) for p in PROOFS.values()], options.markdown, "formal", "The proofs",
             "python tests/formal --list", False)
        return
    rows, wrong = [], []
    names = options.proofs or list(PROOFS)
    with working(f"{len(names)} proofs") as step:
        for result in run(names, mutants=options.mutants):
            name = result.proof.name
            if result.failure:
                wrong.append(f"{name}: {result.failure}")
            wrong += [f"{name} does not find the mutant '{m}'" for m in result.alive or ()]
            row = {"proof": f"`{name}`", "seconds of one core": f"{result.seconds:.0f}"}
            if options.mutants:
                row["mutants found"] = result.found
            rows.append(row)
            step.share(len(rows) / len(names))
    show(rows, None if wrong else options.markdown, "formal run", "A run",
         "python tests/formal --mutants", False)
    if wrong:
        raise FalconetError("\n".join(wrong))


if __name__ == "__main__":
    try:
        main()
    except FalconetError as e:
        sys.exit(f"formal: {e}")
