"""Cases by seed, each in bounded time and memory; a failure is kept as a file."""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from data_targets import remove_folder
from targets import TARGETS

from falconet.isa import FalconetError

CASES = Path(__file__).with_name("cases")
SECONDS = 10
"""That one case may take."""

MEMORY = 1 << 30
"""That all of a process's cases may take together, beside what it begins with."""


_FULL = ("MemoryError", "Unable to allocate", "not enough memory", "can't allocate memory")


class TooLong(BaseException):
    """Not an Exception: nobody is to catch it."""


def case(target: str, seed: int) -> bytes:
    return TARGETS[target][0](random.Random(f"{target} {seed}"))


class Outcome(NamedTuple):
    """How a case was taken: was it refused, and what was wrong with that (empty: nothing)."""

    refused: bool
    why: str


def _taken(target: str, data: bytes) -> Outcome:
    try:
        TARGETS[target][1](data)
    except FalconetError as e:
        text = str(e)
        lines = text.split("\n  ")  # of several findings
        good = text and all(x.isprintable() and len(x) <= 2000 for x in lines) and len(
            lines) <= 22 and not any(word in text for word in _FULL)
        return Outcome(True, "" if good else f"the message is no sentence: {text[:200]!r}")
    except TooLong:
        return Outcome(False, f"took more than {SECONDS} seconds")
    except BaseException as e:
        if isinstance(e, KeyboardInterrupt):
            raise
        return Outcome(False, f"{type(e).__name__}: {e}")
    return Outcome(False, "")


def taken(target: str, data: bytes) -> Outcome:
    """Give a case to its target, for SECONDS at most."""
    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        return _taken(target, data)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(target: str, first: int, count: int, keep: Callable[[int, bytes, str], None],
        after: Callable[[bool], None] = lambda _: None) -> None:
    """``count`` cases; ``keep`` hears of every failure, ``after`` of every end: was it refused?"""
    for seed in range(first, first + count):
        data = case(target, seed)
        outcome = taken(target, data)
        if outcome.why.startswith("took"):  # the case, or the machine that it shares?
            outcome = taken(target, data)
        if outcome.why:
            keep(seed, data, outcome.why)
        after(outcome.refused)


def work(target: str, first: int, count: int, now: Any, refused: Any, failures: Any) -> None:
    """:func:`run` in a process of its own.

    ``now`` is the seed under way, ``refused`` their number, ``failures`` a queue.
    """
    taken(target, case(target, first))  # what a target keeps is no case's
    with open("/proc/self/status") as status:
        now_kib = next(int(line.split()[1]) for line in status if line.startswith("VmData"))
    most = (now_kib << 10) + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    def after(was: bool) -> None:
        now.value += 1
        refused.value += was

    try:
        run(target, first, count, lambda *found: failures.put(found), after)
    finally:
        remove_folder()
