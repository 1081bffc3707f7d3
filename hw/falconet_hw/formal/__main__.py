"""``python -m falconet_hw.formal``: all proofs, or those named, each with its seconds of CPU."""

from __future__ import annotations

import argparse
import sys

from falconet.isa import FalconetError
from falconet_hw.formal.run import run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("proofs", nargs="*", metavar="PROOF", help="all, if none is named")
    parser.add_argument("--mutants", action="store_true", help="and try all their mutants")
    options = parser.parse_args()
    wrong = 0
    for result in run(options.proofs, mutants=options.mutants):
        name = result.proof.name
        answer = "proved" if result.closes else f"WRONG, see build/formal/{name}.vcd"
        if options.mutants:
            answer += f", mutants found: {result.found}"
        print(f"{name:<16} {result.proof.depth:<18}{result.seconds:7.1f} s  {answer}", flush=True)
        for mutant in result.alive or ():
            print(f"    not found: {mutant}", flush=True)
        wrong += not result.good
    return wrong > 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FalconetError as e:
        sys.exit(f"error: {e}")
