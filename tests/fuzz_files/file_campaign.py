"""Cases by seed, each in bounded time and memory; a failure is kept as a file."""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from targets import TARGETS

from falconet.isa import FalconetError

CASES = Path(__file__).with_name("cases")
SECONDS = 10
"""That one case may take."""

MEMORY = 6 << 30
"""Address space of the process, its libraries included."""


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
        good = text and all(x.isprintable() and len(x) <= 2000 for x in lines) and len(lines) <= 22
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
        if outcome.why:
            keep(seed, data, outcome.why)
        after(outcome.refused)


def work(target: str, first: int, count: int, now: Any, refused: Any, failures: Any) -> None:
    """:func:`run` in a process of its own.

    ``now`` is the seed under way, ``refused`` their number, ``failures`` a queue.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    def after(was: bool) -> None:
        now.value += 1
        refused.value += was

    run(target, first, count, lambda *found: failures.put(found), after)
