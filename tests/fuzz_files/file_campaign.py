"""Cases by seed, each in bounded time and memory; a failure is kept as a file."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from data_targets import remove_folder
from targets import TARGETS

from falconet.isa import FalconetError

CASES = Path(__file__).with_name("cases")
SECONDS = 10
"""That one case may take of the processor."""

MEMORY = 1 << 30
"""That all of a process's cases may take together, beside what it begins with."""


_FULL = ("MemoryError", "Unable to allocate", "not enough memory", "can't allocate memory")


class TooLong(BaseException):
    """Not an Exception: nobody is to catch it."""


def case(target: str, seed: int) -> bytes:
    return TARGETS[target][0](random.Random(f"{target} {seed}"))


class Outcome(NamedTuple):
    """How a case was taken.

    Members
    -------
    refused:
        By a sentence.
    why:
        What was wrong with that; empty: nothing.
    seconds, peak:
        Of the processor, that it took; the most bytes of memory that the process had meanwhile.
    """

    refused: bool
    why: str
    seconds: float = 0.0
    peak: int = 0


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


def memory(what: str) -> int:
    """Bytes of this process: VmRSS, that it has now; VmHWM, the most; VmData, that are its own."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what)) << 10


def taken(target: str, data: bytes) -> Outcome:
    """Give a case to its target, for SECONDS at most."""
    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # the peak begins anew
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    began = time.process_time()
    try:
        outcome = _taken(target, data)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return outcome._replace(seconds=time.process_time() - began, peak=memory("VmHWM"))


def run(target: str, seeds: Iterable[int], keep: Callable[[int, bytes, str], None],
        after: Callable[[int, Outcome], None] = lambda *_: None) -> None:
    """Cases by seed; ``keep`` hears of every failure, ``after`` of every end.

    The peak that ``after`` hears of is beside what the process has at the beginning.
    """
    begins_with = memory("VmRSS")
    for seed in seeds:
        data = case(target, seed)
        outcome = taken(target, data)
        outcome = outcome._replace(peak=max(0, outcome.peak - begins_with))
        if outcome.peak > MEMORY and not outcome.why:
            outcome = outcome._replace(why=f"took {outcome.peak >> 20} MiB of memory")
        if outcome.why:
            keep(seed, data, outcome.why)
        after(seed, outcome)


SHARED = ("done", "refused", "seconds", "slowest", "bytes", "largest")
"""What :func:`work` tells of its cases: their number, those refused by a sentence, the longest time
and the most memory that one took, each with its seed."""


def work(target: str, seeds: Iterable[int], shared: Any, failures: Any) -> None:
    """:func:`run` in a process of its own, which ends with the one that began it.

    ``shared`` are numbers as in SHARED, ``failures`` a queue of seed, file and reason.
    """
    parent = os.getppid()
    if first := next(iter(seeds), None):
        _taken(target, case(target, first))  # what a target keeps is no case's
    most = memory("VmData") + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    def after(seed: int, outcome: Outcome) -> None:
        shared[0] += 1
        shared[1] += outcome.refused
        for at, value in ((2, outcome.seconds), (4, outcome.peak)):
            if value > shared[at]:
                shared[at : at + 2] = value, seed
        if os.getppid() != parent or memory("VmData") > most - MEMORY // 2:
            raise SystemExit  # libraries keep what a case took: the next has all of it anew

    try:
        run(target, seeds, lambda *found: failures.put(found), after)
    finally:
        remove_folder()
