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

import campaign  # noqa: E402
from targets import TARGETS  # noqa: E402

SPLIT = {"heads": 0.55, "program": 0.35, "onnx": 0.10}
PATIENCE = 60
"""Seconds after which a process that does not go on is ended."""


def keep(target: str, seed: int, data: bytes, why: str, known: dict[str, int]) -> None:
    """One file for each kind of failure."""
    kind = why.split(":")[0]
    known[kind] = known.get(kind, 0) + 1
    print(f"\n{target} {seed}: {why[:300]}", flush=True)
    if known[kind] <= 5:
        campaign.CASES.mkdir(exist_ok=True)
        (campaign.CASES / f"{target}-{seed}.bin").write_bytes(data)


def hunt(target: str, first: int, count: int) -> dict[str, int]:
    """Failures by kind."""
    known: dict[str, int] = {}
    context = multiprocessing.get_context("fork")
    now, failures = context.Value("q", first), context.Queue()
    end, began = first + count, time.monotonic()
    while now.value < end:
        start = now.value
        process = context.Process(
            target=campaign.work, args=(target, start, end - start, now, failures))
        process.start()
        seen, since = start, time.monotonic()
        while process.is_alive():
            process.join(2)
            while not failures.empty():
                seed, data, why = failures.get()
                keep(target, seed, data, why, known)
            if now.value != seen:
                seen, since = now.value, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                process.kill()
            rate = (now.value - first) / (time.monotonic() - began)
            print(f"\r{target}: {now.value - first} of {count}, {rate:.0f}/s, "
                  f"{sum(known.values())} failures ", end="", flush=True)
        while not failures.empty():
            keep(target, *failures.get(), known)
        if now.value < end:
            why = f"the process died: exit {process.exitcode}"
            keep(target, now.value, campaign.case(target, now.value), why, known)
            now.value += 1
    print(flush=True)
    return known


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--target", choices=[*TARGETS, "all"], default="all")
    parser.add_argument("--first", type=int, default=1_000_000, help="first seed")
    given = parser.parse_args()
    failed = 0
    for target, share in SPLIT.items():
        if given.target in (target, "all"):
            count = round(given.executions * (share if given.target == "all" else 1))
            found = hunt(target, given.first, count)
            failed += sum(found.values())
            print(f"{target}: {count} executions, {sum(found.values())} failures {found or ''}")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
