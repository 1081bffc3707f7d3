"""``python tests/fuzz_faults --faults N``: faults of the bus and the driver; hostile programs.

Fault ``k`` depends on the seed and ``k`` alone, so that ``--first k --faults 1`` repeats it. One
that is not dealt with as it must be is named, and the command ends with 1.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import inject  # noqa: E402
from bad_runs import new_board, run_bad, works  # noqa: E402
from hostile import KINDS, hostile  # noqa: E402

from falconet.commands.console import working  # noqa: E402
from falconet.commands.pages import show  # noqa: E402
from falconet.isa import ErrorCode, FalconetError, Status, preset  # noqa: E402

Rows = list[dict[str, str]]


def faults(arch_name: str, seed: int, first: int, count: int) -> tuple[Rows, list[str]]:
    """Inject until ``count`` faults have reached the machine: a table by kind, and what is lost."""
    arch, lost = preset(arch_name), list[str]()
    injected, reached = Counter[str](), Counter[str]()
    worst: dict[str, int] = defaultdict(int)
    k, board = first, new_board(arch, stall_cycles=5000)
    with working(f"{count} faults") as step:
        while sum(reached.values()) < count:
            step.share(sum(reached.values()) / count)
            number = seed * 1_000_000 + k
            try:
                found = inject.inject(board, arch, number)
            except (inject.Lost, FalconetError) as e:
                lost.append(f"fault {k} of seed {seed}: {e}")
                found = inject.Outcome("lost")
                board = new_board(arch, stall_cycles=5000)
                inject.case.cache_clear()
            k += 1
            injected[found.kind] += 1
            reached[found.kind] += found.delivered
            worst[found.kind] = max(worst[found.kind], found.stopped)
    rows = [row(kind, injected[kind], reached[kind], worst[kind]) for kind in sorted(injected)]
    rows.append(row("all", sum(injected.values()), sum(reached.values()), max(worst.values())))
    return rows, lost


def row(kind: str, injected: int, reached: int, worst: int) -> dict[str, str]:
    good = "0" if kind == "lost" else str(reached)
    return {"fault": kind, "injected": str(injected), "reached the machine": str(reached),
            "reported": good, "recovered": good,
            "most cycles until it stopped": str(worst) if worst else ""}


def programs(arch_name: str, seed: int, count: int) -> tuple[Rows, list[str]]:
    """``count`` hostile programs of each kind: how they end."""
    arch, lost, rows = preset(arch_name), list[str](), Rows()
    board = new_board(arch)
    with working(f"{count * len(KINDS)} hostile programs") as step:
        for n, kind in enumerate(KINDS):
            ends = Counter[str]()
            for k in range(count):
                step.share((n + k / count) / len(KINDS))
                try:
                    program, inputs = hostile(arch, kind, seed * 1_000_000 + k)
                    ended = run_bad(board, program, inputs, limit=5000)
                    works(board, arch, k % 16)
                except (AssertionError, FalconetError) as e:
                    lost.append(f"hostile program {k} of seed {seed}, {kind}: {e}")
                    board = new_board(arch)
                    continue
                ends[ErrorCode(ended.code).name if ended.status == Status.ERROR
                     else "DONE" if ended.status == Status.DONE else "reset"] += 1
            refused = {c.name: str(ends[c.name]) for c in list(ErrorCode)[1:]}
            rows.append({"program": kind, "run": str(count), **refused, "DONE": str(ends["DONE"]),
                         "ended by RESET": str(ends["reset"]),
                         "next program right": str(sum(ends.values()))})
    return rows, lost


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
    for text in lost:
        print(text, file=sys.stderr)
    return bool(lost)


if __name__ == "__main__":
    sys.exit(main())
