"""Campaigns of faults and of hostile programs, as tables; what is amiss is named at once."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict

import inject
from bad_runs import new_board, run_bad, works
from hostile import KINDS, hostile

from falconet.isa import ErrorCode, FalconetError, Status, preset
from falconet_app.commands.console import working

Rows = list[dict[str, str]]


def faults(arch_name: str, seed: int, first: int, count: int) -> tuple[Rows, list[str]]:
    """Inject until ``count`` faults have reached the machine: a table by kind, and what is lost."""
    arch, lost = preset(arch_name), list[str]()
    injected, reached = Counter[str](), Counter[str]()
    worst: dict[str, int] = defaultdict(int)
    k, board = first, new_board(arch, stall_cycles=inject.PATIENCE)
    with working(f"{count} faults") as step:
        while sum(reached.values()) < count:
            step.share(sum(reached.values()) / count)
            try:
                found = inject.inject(board, arch, seed * 1_000_000 + k)
            except (inject.Lost, FalconetError) as e:
                amiss(lost, f"fault {k} of seed {seed}: {e}")
                found = inject.Outcome("lost")
                board = new_board(arch, stall_cycles=inject.PATIENCE)
                inject.case.cache_clear()
            k += 1
            injected[found.kind] += 1
            reached[found.kind] += found.delivered
            worst[found.kind] = max(worst[found.kind], found.stopped)
    rows = [row(kind, injected[kind], reached[kind], len(lost) if kind == "lost" else 0,
                worst[kind]) for kind in sorted(injected)]
    rows.append(row("all", injected.total(), reached.total(), len(lost), max(worst.values())))
    return rows, lost


def row(kind: str, injected: int, reached: int, lost: int, worst: int) -> dict[str, str]:
    good = str(reached - lost)
    return {"fault": kind, "injected": str(injected), "reached the machine": str(reached),
            "reported": good, "recovered": good,
            "most cycles until it stopped": str(worst) if worst else ""}


def amiss(lost: list[str], text: str) -> None:
    lost.append(text)
    print(text, file=sys.stderr, flush=True)


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
                    amiss(lost, f"hostile program {k} of seed {seed}, {kind}: {e}")
                    board = new_board(arch)
                    continue
                ends[ErrorCode(ended.code).name if ended.status == Status.ERROR
                     else "DONE" if ended.status == Status.DONE else "reset"] += 1
            refused = {c.name: str(ends[c.name]) for c in list(ErrorCode)[1:]}
            rows.append({"program": kind, "run": str(count), **refused, "DONE": str(ends["DONE"]),
                         "ended by RESET": str(ends["reset"]),
                         "next program right": str(sum(ends.values()))})
    return rows, lost
