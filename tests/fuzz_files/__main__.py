"""``python tests/fuzz_files --executions N``: bad files by the hundred thousand.

The cases of a format are its seeds, so that a run is repeated by its numbers. Each format runs in a
process of its own with bounded memory; one that dies names its last case, and the next begins
behind it. What has been done stands in ``build/bad-files``: a run that was stopped goes on there,
and one that is asked for more adds to it. Failures go to ``cases/`` (replayed by
``test_files.py``), and a run begins by trying those of the runs before it again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import file_campaign  # noqa: E402
from targets import TARGETS  # noqa: E402

from falconet.isa import build_folder  # noqa: E402
from falconet.isa.files import written  # noqa: E402
from falconet_app.commands.console import working  # noqa: E402
from falconet_app.commands.pages import revision, show  # noqa: E402

NAMES = {
    "heads": "description of a head", "program": "program file", "coco": "COCO JSON",
    "voc": "VOC folder", "yolo": "YOLO folder", "npz": "npz of inputs", "onnx": "ONNX file",
    "yaml": "YAML", "hwh": "`.hwh`", "constants": "constants of an ONNX file",
    "recipe": "recipe", "picture": "picture", "checkpoint": "checkpoint"}
"""In the order of the table and of a run: the quick ones first."""
FIRST = 1_000_000
"""The first seed; those below are the suite's."""
PATIENCE = 180
"""Seconds after which a process that does not go on is ended."""


@dataclass
class State:
    """Of one format.

    Members
    -------
    done, refused, seconds, slowest, bytes, largest:
        As ``file_campaign.SHARED``; the seeds from FIRST on are done.
    commits:
        How many were done at which commit.
    failures, mended:
        Reasons by seed: of what fails, and of what did and passes now.
    """

    done: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: int = 0
    bytes: int = 0
    largest: int = 0
    commits: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    mended: dict[str, str] = field(default_factory=dict)

    def row(self, target: str) -> dict[str, str]:
        kinds = Counter(why.split(":")[0] for why in self.failures.values())
        failed = [f"{n} {kind}" for kind, n in kinds.items()] + (
            [f"{len(self.mended)}, mended since"] if self.mended else [])
        return {
            "file": NAMES[target], "taken in": f"{self.done:,}",
            "refused by a sentence": f"{self.refused:,}", "failed": ", ".join(failed) or "0",
            "longest": f"{self.seconds * 1000:,.0f} ms",
            "most memory": f"{self.bytes / 2**20:.0f} MiB", "commit": ", ".join(self.commits)}


def load(path: Path) -> State:
    return State(**json.loads(path.read_text())) if path.exists() else State()


def save(path: Path, state: State) -> None:
    with written(path) as part:
        part.write_text(json.dumps(dataclasses.asdict(state), indent=1))


def hunt(target: str, seeds: Sequence[int], keep: Callable[[int, bytes, str], None],
         tell: Callable[[dict[str, Any]], None]) -> None:
    """All of ``seeds``; ``tell`` hears every other second, and at the end, how far it has come."""
    context = multiprocessing.get_context("fork")
    shared = context.Array("d", len(file_campaign.SHARED), lock=False)
    failures = context.Queue()

    def told() -> None:
        while not failures.empty():
            keep(*failures.get())
        tell(dict(zip(file_campaign.SHARED, shared)))

    try:
        while (done := int(shared[0])) < len(seeds):
            process = context.Process(target=file_campaign.work, daemon=True, args=(
                target, seeds[done:], shared, failures))
            process.start()
            since = time.monotonic()
            while process.is_alive():
                process.join(2)
                if shared[0] != done:
                    done, since = int(shared[0]), time.monotonic()
                elif time.monotonic() - since > PATIENCE:
                    process.kill()
                told()
            if (done := int(shared[0])) < len(seeds) and process.exitcode != 0:
                keep(seeds[done], file_campaign.case(target, seeds[done]),
                     f"the process died: exit {process.exitcode}")
                shared[0] += 1
    finally:
        told()


def replay(target: str, path: Path, state: State) -> None:
    """Try again what failed."""
    still: dict[str, str] = {}
    hunt(target, [int(seed) for seed in state.failures],
         lambda seed, _, why: still.update({str(seed): why}), lambda _: None)
    state.mended |= {seed: why for seed, why in state.failures.items() if seed not in still}
    state.failures = still
    save(path, state)


def go_on(target: str, path: Path, state: State, executions: int) -> None:
    """From where it is until so many are done."""
    commit, before = revision(), dataclasses.replace(state)
    at = state.commits.get(commit, 0)

    def keep(seed: int, data: bytes, why: str) -> None:
        """One file for each kind of failure, and a few more."""
        state.failures[str(seed)] = why
        print(f"\n{target} {seed}: {why[:300]}", flush=True)
        if [w.split(":")[0] for w in state.failures.values()].count(why.split(":")[0]) <= 3:
            file_campaign.CASES.mkdir(exist_ok=True)
            (file_campaign.CASES / f"{target}-{seed}.bin").write_bytes(data)

    def tell(found: dict[str, Any]) -> None:
        state.done = before.done + int(found["done"])
        state.refused = before.refused + int(found["refused"])
        for value, seed in (("seconds", "slowest"), ("bytes", "largest")):
            if found[value] > getattr(state, value):
                setattr(state, value, found[value])
                setattr(state, seed, int(found[seed]))
        state.commits[commit] = at + state.done - before.done
        save(path, state)
        step.share(state.done / executions)

    with working(f"{target}: {executions:,} files") as step:
        hunt(target, range(FIRST + state.done, FIRST + executions), keep, tell)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=100_000, help="of each format, in all")
    parser.add_argument("--target", choices=NAMES, action="append", help="one format; may be given "
                        "again for another (default: all)")
    parser.add_argument("--again", action="store_true", help="forget what has been done")
    parser.add_argument("--state", type=Path, default=build_folder() / "bad-files",
                        help="the folder of what has been done")
    parser.add_argument("--markdown", type=Path, help="put the table into this page")
    given = parser.parse_args()
    assert set(NAMES) == set(TARGETS)
    given.state.mkdir(parents=True, exist_ok=True)
    paths = {target: given.state / f"{target}.json" for target in NAMES}
    for target in given.target or NAMES:
        if given.again:
            paths[target].unlink(missing_ok=True)
        state = load(paths[target])
        if state.failures:
            replay(target, paths[target], state)
        if state.done < given.executions:
            go_on(target, paths[target], state, given.executions)
    states = {target: load(path) for target, path in paths.items()}
    rows = [state.row(target) for target, state in states.items() if state.done]
    show(rows, given.markdown, "fuzz files", "Bad files", "python tests/fuzz_files", False)
    return any(state.failures for state in states.values())


if __name__ == "__main__":
    sys.exit(main())
