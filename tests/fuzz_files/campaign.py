"""Cases by seed, each in bounded time and memory; a failure is kept as a file."""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def fault(target: str, data: bytes) -> str:
    """What is wrong with how a case was taken; empty if nothing is."""
    try:
        TARGETS[target][1](data)
    except FalconetError as e:
        text = str(e)
        if not text or not text.isprintable() or len(text) > 2000:
            return f"the message is no sentence: {text[:200]!r}"
    except TooLong:
        return f"took more than {SECONDS} seconds"
    except BaseException as e:
        if isinstance(e, KeyboardInterrupt):
            raise
        return f"{type(e).__name__}: {e}"
    return ""


def limited(target: str, data: bytes) -> str:
    """As :func:`fault`, ended after SECONDS."""
    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        return fault(target, data)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(target: str, first: int, count: int, keep: Callable[[int, bytes, str], None],
        begin: Callable[[int], None] = lambda _: None) -> None:
    """``count`` cases; ``begin`` hears of every seed before, ``keep`` of every failure."""
    for seed in range(first, first + count):
        begin(seed)
        data = case(target, seed)
        if why := limited(target, data):
            keep(seed, data, why)


def work(target: str, first: int, count: int, now: Any, failures: Any) -> None:
    """:func:`run` in a process of its own: ``now`` is the seed, ``failures`` a queue."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    def begin(seed: int) -> None:
        now.value = seed

    run(target, first, count, lambda *found: failures.put(found), begin)
    now.value = first + count
