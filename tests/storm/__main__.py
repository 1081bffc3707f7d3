"""``python tests/storm --runs N``: threads, Ctrl-C, close() and time-outs on every Device.

Each run is four threads on a new machine. It is wrong if an answer is not the golden model's,
if anything but one sentence is raised, or if the machine does not work as ever afterwards; it hangs
if it takes longer than ``weather.LIMIT``. Either is named, and the command ends with 1. Run ``k``
of a Device depends on the seed and ``k`` (and on how the operating system schedules its threads):
``--device rtl --first k --runs 1`` repeats it.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from machines import KINDS  # noqa: E402
from weather import LIMIT, one_run  # noqa: E402

from falconet_app.commands.console import working  # noqa: E402
from falconet_app.commands.pages import show  # noqa: E402


def tell(device: str, seed: int, first: int, runs: int, limit: float) -> None:
    """Each run as a line of JSON; one that hangs ends the process, with all stacks on stderr."""
    kind = KINDS[device]
    kind.make(kind.case().program, 1.0)  # builds its library if need be
    for k in range(first, first + runs):
        faulthandler.dump_traceback_later(limit, exit=True)
        told = one_run(kind, f"{seed} {device} {k}")
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps(vars(told)), flush=True)


def watched(command: list[str], first: int, runs: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The runs that ``command --first K --runs N`` tells; begun again after one that hangs."""
    k, end = first, first + runs
    while k < end:
        process = subprocess.Popen(
            [*command, "--first", str(k), "--runs", str(end - k)], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            yield k, json.loads(line)
            k += 1
        if k < end:
            yield k, {"hung": process.stderr.read()}
            k += 1
        process.wait()


def row(device: str, command: list[str], first: int, runs: int, amiss: list[str]) -> dict[str, str]:
    """A row of the table; what is wrong is named at once, and added to ``amiss``."""
    began, hung, wrong, interrupts = time.monotonic(), 0, 0, 0
    right, sentences = Counter[str](), Counter[str]()
    with working(f"{runs} runs on {device}") as step:
        for k, told in watched(command, first, runs):
            step.share((k - first) / runs)
            hung += "hung" in told
            found = told.get("wrong", [f"hangs, or has died:\n{told.get('hung')}"])
            wrong += len(found) - ("hung" in told)
            right.update(told.get("right", {}))
            sentences.update(told.get("sentences", {}))
            interrupts += told.get("interrupts", 0)
            for text in found:
                amiss.append(f"run {k} on {device}: {text}")
                print(amiss[-1], file=sys.stderr, flush=True)
    return {"Device": device, "runs": f"{runs:,}", "right answers": f"{right.total():,}",
            "of these streamed": f"{right['stream']:,}", "sentences": f"{sentences.total():,}",
            "Ctrl-C": f"{interrupts:,}", "wrong": str(wrong), "hung": str(hung),
            "minutes": f"{(time.monotonic() - began) / 60:.1f}"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="on each Device")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--device", choices=KINDS, help="only this one")
    parser.add_argument("--markdown", type=Path, help="put the table into this page")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds; a longer run hangs")
    parser.add_argument("--tell", action="store_true", help="in this process, as lines of JSON")
    given = parser.parse_args()
    if given.tell:
        tell(given.device, given.seed, given.first, given.runs, given.limit)
        return 0
    amiss: list[str] = []
    rows = [row(device, [sys.executable, str(HERE), "--tell", "--device", device, "--seed",
                         str(given.seed), "--limit", str(given.limit)],
                given.first, given.runs, amiss)
            for device in ([given.device] if given.device else KINDS)]
    show(rows, given.markdown, "storm", f"Four threads on one machine: {len(amiss)} amiss",
         f"python tests/storm --runs {given.runs} --seed {given.seed}", False)
    return bool(amiss)


if __name__ == "__main__":
    sys.exit(main())
