"""``python tests/mutants --count 200 --seed 1``: faults in the machine's netlist; who sees them.

Mutants of preset ``tiny`` are drawn from the seed; those proved equal to the original are set
aside, the others meet the fast suite. One that lives is set aside if it can be proved that no
reachable state tells it from the original; else it meets the proofs about its component. Results
are lines of JSON, so that a campaign goes on where it was; those of another netlist are passed
over. What survivors.json says of those that live is printed with them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import judge  # noqa: E402
import schemata  # noqa: E402
from equal import equal, equal_from_reset  # noqa: E402
from judge import Verdict  # noqa: E402
from mutations import Mutant, draw, mutants  # noqa: E402
from netlist import Module  # noqa: E402
from proofs import broken_proof  # noqa: E402

from falconet.isa import FalconetError, preset  # noqa: E402
from falconet_app.commands.console import working  # noqa: E402
from falconet_app.commands.pages import put_section, revision  # noqa: E402
from falconet_sim.rtl.library import source_key  # noqa: E402

TINY = preset("tiny")
WHY = HERE / "survivors.json"
"""Of each survivor: why it lives, and whether it is the same machine to all who can look."""

EQUAL = "equal"

FLIPS = ("operator", "signed", "narrow", "result", "constant", "value")
"""Kinds of faults of operators, widths and constants."""


class Results:
    """What is known of each mutant of this netlist: the last line of a file with its key."""

    def __init__(self, file: Path) -> None:
        self.file, self.source = file, source_key(f"{TINY.hash:08x}")
        self.known: dict[str, dict[str, str]] = {}
        self.read()

    def read(self) -> None:
        if self.file.exists():
            for line in self.file.read_text().splitlines():
                entry = json.loads(line)
                if entry["source"] == self.source:
                    self.known[entry["mutant"]] = entry

    def add(self, m: Mutant, by: str, why: str = "", seconds: float = 0) -> None:
        entry = {"source": self.source, "mutant": m.key, "by": by, "why": why, "seconds": seconds}
        self.known[m.key] = entry
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as f:
            f.write(json.dumps(entry) + "\n")

    def by(self, m: Mutant) -> str | None:
        """The test that killed it, empty if none did, EQUAL; None if nothing is known."""
        return self.known[m.key]["by"] if m.key in self.known else None


def set_aside(modules: list[Module], todo: list[Mutant], results: Results,
              proved: Callable[[list[Module], Mutant], bool]) -> None:
    """Those that are ``proved`` equal."""
    with working(f"comparing {len(todo)} mutants with the original") as step:
        for i, m in enumerate(todo):
            step.share(i / len(todo))
            if proved(modules, m):
                results.add(m, EQUAL)


def table(rows: list[dict[str, str]]) -> str:
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *(list(r.values()) for r in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def kind(m: Mutant) -> str:
    return m.site[2].partition(" ")[0]


def scores(chosen: list[Mutant], results: Results, group: Callable[[Mutant], str], head: str
           ) -> list[dict[str, str]]:
    """A row a group, and one for all: how many met the suite, and how many it killed."""
    met, killed, same = Counter[str](), Counter[str](), Counter[str]()
    for m in chosen:
        for name in (group(m), "all"):
            by = results.by(m)
            same[name] += by == EQUAL
            met[name] += by != EQUAL
            killed[name] += by not in (EQUAL, "")
    names = [*sorted({group(m) for m in chosen}), "all"]
    return [{head: n, "equal": str(same[n]), "mutants": str(met[n]), "killed": str(killed[n]),
             "share": f"{killed[n] / met[n]:.1%}" if met[n] else "-"} for n in names]


def report(chosen: list[Mutant], results: Results, command: str) -> str:
    by = Counter((results.by(m) or "").partition("::")[0] for m in chosen
                 if results.by(m) not in (EQUAL, ""))
    proofs = sum(n for name, n in by.items() if name.startswith("proof "))
    by = Counter({name: n for name, n in by.items() if not name.startswith("proof ")})
    total = scores(chosen, results, lambda m: m.first.component, "component")
    all_ = total[-1]
    flips = scores([m for m in chosen if kind(m) in FLIPS], results, kind, "kind")[-1]
    reasons = json.loads(WHY.read_text()) if WHY.exists() else {}
    living = [m for m in chosen if results.by(m) == ""]
    survivors = [{
        "place": f"`{m.first.place}`",
        "of": f"`{m.first.module.removeprefix('machine.') or 'machine'}`",
        "source": f"`{m.source.replace('|', chr(92) + '|')}`",
        "mutant": m.first.what.replace("|", "\\|"),
        "why it lives": reasons[m.key]["why"] if m.key in reasons else "not explained",
        "seen by": "nobody" if m.key in reasons and reasons[m.key]["same"] else "no test",
    } for m in living]
    same = sum(s["seen by"] == "nobody" for s in survivors)
    killed, met = int(all_["killed"]), int(all_["mutants"])
    text = (
        f"`{command}` at commit {revision()}.\n\n"
        f"{len(chosen)} mutants of `tiny` were drawn. {all_['equal']} are proved equal to the "
        f"original and do not count. Of the {met} others the fast suite kills {killed}, "
        f"{killed / met:.1%}: {proofs} of them by a proof alone. {same} of the {met - killed} that "
        "live are the same machine to all who can look, by the arguments in the last table; of "
        f"the {met - same} that are not, {killed / (met - same):.1%} are killed. Of the faults of "
        f"operators, widths and constants ({', '.join(FLIPS)}) {flips['killed']} of "
        f"{flips['mutants']} are killed, {flips['share']}; the bar for these is 95%. The first "
        "test that failed was in "
        + ", ".join(f"`{name or 'a crash'}` ({n})" for name, n in by.most_common()) + ".\n\n"
        + table(total) + "\n\n"
        + table(scores(chosen, results, kind, "kind")) + "\n"
    )
    if survivors:
        text += "\nSurvivors:\n\n" + table(survivors) + "\n"
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("build/mutants/results.jsonl"))
    parser.add_argument("--again", action="store_true", help="run survivors again")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--mutant", default="", help="only mutants with this in their name")
    parser.add_argument("--only", default="", help="only tests with this in their name")
    parser.add_argument("--markdown", type=Path, help="put the tables into this page")
    given = parser.parse_args()
    modules = schemata.machine(TINY)
    chosen = draw(mutants(modules), given.count, given.seed)
    results = Results(given.results)
    set_aside(modules, [m for m in chosen if results.by(m) is None], results, equal)
    wanted = (None, "") if given.again else (None,)
    todo = [i for i, m in enumerate(chosen, 1)
            if given.mutant in m.key and results.by(m) in wanted]

    def found(number: int, verdict: Verdict) -> None:
        m = chosen[number - 1]
        results.add(m, verdict.by, verdict.why, verdict.seconds)
        print(f"\n{number} {m.key}: {verdict.by or 'SURVIVES'} {verdict.seconds:.1f} s",
              flush=True)

    if todo:
        library = schemata.library(TINY, chosen)
        jobs = [multiprocessing.get_context("fork").Process(
            target=judge.run, args=(TINY, library, todo[i :: given.jobs], found),
            kwargs={"only": given.only}) for i in range(given.jobs)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        results.read()
    alive = [m for m in chosen if results.by(m) == "" and given.mutant in m.key]
    set_aside(modules, alive, results, equal_from_reset)
    for m in alive:
        if results.by(m) == "" and (proof := broken_proof(m)):
            results.add(m, f"proof {proof}")
    if missing := sum(results.by(m) is None for m in chosen):
        print(f"{missing} mutants have no result yet")
        return 1
    text = report(chosen, results,
                  f"python tests/mutants --count {given.count} --seed {given.seed}")
    print(text)
    if given.markdown:
        put_section(given.markdown, "mutants", text)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FalconetError as e:
        sys.exit(f"mutants: {e}")
