"""``python tests/fuzz_files --executions N``: bad files by the million.

The cases of a target are its seeds, so that a run is repeated by its numbers. Each target runs in
a process of its own with bounded memory; one that dies names its last case, and the next begins
behind it. Failures go to ``cases/`` (replayed by ``test_files.py``).
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import file_campaign  # noqa: E402
from targets import TARGETS  # noqa: E402

from falconet.commands.console import working  # noqa: E402
from falconet.commands.pages import show  # noqa: E402

NAMES = {"heads": "description of a head", "program": "program file", "onnx": "ONNX file",
         "coco": "COCO JSON", "voc": "VOC folder", "yolo": "YOLO folder", "recipe": "recipe",
         "picture": "picture", "checkpoint": "checkpoint", "npz": "npz of inputs"}
SPLIT = {"heads": 0.20, "program": 0.15, "onnx": 0.05, "coco": 0.1, "voc": 0.1, "yolo": 0.1,
         "recipe": 0.1, "picture": 0.1, "checkpoint": 0.02, "npz": 0.08}
PATIENCE = 60
"""Seconds after which a process that does not go on is ended."""


def keep(target: str, seed: int, data: bytes, why: str, known: dict[str, int]) -> None:
    """One file for each kind of failure."""
    kind = why.split(":")[0]
    known[kind] = known.get(kind, 0) + 1
    print(f"\n{target} {seed}: {why[:300]}", flush=True)
    if known[kind] <= 5:
        file_campaign.CASES.mkdir(exist_ok=True)
        (file_campaign.CASES / f"{target}-{seed}.bin").write_bytes(data)


def hunt(target: str, first: int, count: int) -> tuple[int, dict[str, int]]:
    """How many were refused, and failures by kind."""
    known: dict[str, int] = {}
    context = multiprocessing.get_context("fork")
    now, refused, failures = context.Value("q", first), context.Value("q", 0), context.Queue()
    end = first + count
    with working(f"{target}: {count:,} files") as step:
        while now.value < end:
            process = context.Process(target=file_campaign.work, args=(
                target, now.value, end - now.value, now, refused, failures))
            process.start()
            seen, since = now.value, time.monotonic()
            while process.is_alive():
                process.join(2)
                while not failures.empty():
                    keep(target, *failures.get(), known)
                if now.value != seen:
                    seen, since = now.value, time.monotonic()
                elif time.monotonic() - since > PATIENCE:
                    process.kill()
                step.share((now.value - first) / count)
            while not failures.empty():
                keep(target, *failures.get(), known)
            if now.value < end:
                why = f"the process died: exit {process.exitcode}"
                keep(target, now.value, file_campaign.case(target, now.value), why, known)
                now.value += 1
    return refused.value, known


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--target", choices=[*TARGETS, "all"], default="all")
    parser.add_argument("--first", type=int, default=1_000_000, help="first seed")
    parser.add_argument("--markdown", type=Path, help="put the table into this page")
    given = parser.parse_args()
    rows, failed = [], 0
    for target, share in SPLIT.items():
        if given.target in (target, "all"):
            count = round(given.executions * (share if given.target == "all" else 1))
            refused, found = hunt(target, given.first, count)
            failed += sum(found.values())
            rows.append({
                "file": NAMES[target], "taken in": f"{count:,}", "refused by a sentence":
                f"{refused:,}", "anything else": ", ".join(f"{n} {k}" for k, n in found.items())
                or "0"})
    show(rows, given.markdown, "fuzz files", "Bad files",
         f"python tests/fuzz_files --executions {given.executions}", False)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
