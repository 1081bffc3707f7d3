"""``python tests/fuzz_faults --faults N``: faults of the bus and the driver; hostile programs.

Fault ``k`` depends on the seed and ``k`` alone, so that ``--first k --faults 1`` repeats it. One
that is not dealt with as it must be is named, and the command ends with 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fault_tables import faults, programs  # noqa: E402

from falconet_app.commands.pages import show  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=500, help="that reach the machine")
    parser.add_argument("--hostile", type=int, default=0, help="programs of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first fault")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--markdown", type=Path, help="put the tables into this page")
    given = parser.parse_args()
    command = (f"python tests/fuzz_faults --faults {given.faults} --hostile {given.hostile} "
               f"--seed {given.seed}")
    lost = list[str]()
    if given.faults:
        rows, lost = faults(given.preset, given.seed, given.first, given.faults)
        show(rows, given.markdown, "fault campaign", f"Faults injected into the RTL, "
             f"{given.preset}: {len(lost)} lost", command, False)
    if given.hostile:
        rows, more = programs(given.preset, given.seed, given.hostile)
        lost += more
        show(rows, given.markdown, "hostile campaign", f"Hostile programs on the RTL, "
             f"{given.preset}: {len(more)} amiss", command, False)
    return bool(lost)


if __name__ == "__main__":
    sys.exit(main())
