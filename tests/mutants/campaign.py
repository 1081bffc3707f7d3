"""Tests against mutants: what kills each, as a plugin of pytest.

Tests are collected once. Each mutant has a process of its own, a fork that runs them in order up
to the first that fails, so that a machine that crashes or never ends is a finding like any other.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemata

import falconet_sim.rtl
from falconet.isa import Arch

__all__ = ["SUITE", "Verdict", "run"]

TESTS = Path(__file__).parents[1]
SUITE = [str(TESTS / name) for name in (
    "sim/test_rtl.py", "e2e/test_detect.py", "e2e/test_faults.py", "e2e/test_machines.py",
)]
"""The fast suite: the tests on the whole machine, most lethal first. Only preset tiny is used."""

STALL = 50_000
"""Cycles without a beat or a retirement after which a machine hangs."""

SECONDS = 120
"""That a mutant may take for all tests."""


@dataclass(frozen=True)
class Verdict:
    """``by``: the test that failed, "hang" or "crash"; empty if the mutant survived."""

    by: str
    why: str
    seconds: float


class _Plugin:
    def __init__(self, arch: Arch, library: Path, numbers: list[int],
                 found: Callable[[int, Verdict], None]) -> None:
        self.arch, self.library, self.numbers, self.found = arch, library, numbers, found
        self.failed: tuple[str, str] | None = None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [i for i in items if "pynq-z2" not in i.name]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self.failed is None:
            text = str(report.longrepr.reprcrash.message if hasattr(
                report.longrepr, "reprcrash") and report.longrepr.reprcrash else report.longrepr)
            self.failed = (report.nodeid, text.strip().splitlines()[0][:200])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        order = {path: i for i, path in enumerate(SUITE)}
        session.items.sort(key=lambda item: order.get(str(item.path), len(order)))
        _use(self.arch, self.library)
        for number in self.numbers:
            self.found(number, self.judge(session, number))
        return True

    def judge(self, session: pytest.Session, number: int) -> Verdict:
        began = time.monotonic()
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.close(read)
                quiet = os.open(os.devnull, os.O_WRONLY)
                os.dup2(quiet, 1)
                os.dup2(quiet, 2)
                schemata.choose(self.library, number)
                self.tests(session)
                os.write(write, json.dumps(self.failed).encode())
            finally:
                os._exit(0)
        os.close(write)
        text = b""
        if select.select([read], [], [], SECONDS)[0]:
            while part := os.read(read, 1 << 16):
                text += part
        else:
            os.kill(child, signal.SIGKILL)
        os.close(read)
        _, status = os.waitpid(child, 0)
        seconds = round(time.monotonic() - began, 2)
        if text:
            failed = json.loads(text)
            return Verdict(*failed, seconds) if failed else Verdict("", "", seconds)
        if seconds >= SECONDS:
            return Verdict("hang", f"no end after {SECONDS} s", seconds)
        return Verdict("crash", f"the process ended with status {status}", seconds)

    def tests(self, session: pytest.Session) -> None:
        for item, after in zip(session.items, [*session.items[1:], None]):
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self.failed:
                return


def _use(arch: Arch, library: Path) -> None:
    """Every simulated machine of ``arch`` is of ``library`` now, and hangs soon."""
    usual = falconet_sim.rtl.machine_library
    begin = falconet_sim.rtl.SimBoard.__init__

    def machine_library(of: Arch, kind: str = "") -> Path:
        return library if (of, kind) == (arch, "") else usual(of, kind)

    def impatient(self: Any, *args: Any, stall_cycles: int = STALL, **options: Any) -> None:
        begin(self, *args, stall_cycles=min(stall_cycles, STALL), **options)

    falconet_sim.rtl.machine_library = machine_library
    falconet_sim.rtl.SimBoard.__init__ = impatient  # type: ignore[method-assign]


def run(arch: Arch, library: Path, numbers: list[int], found: Callable[[int, Verdict], None],
        tests: list[str] | None = None) -> None:
    """Let ``found`` hear of the mutants ``numbers`` of a library, one after the other."""
    pytest.main(["-q", "--no-header", "-p", "no:cacheprovider",
                 *(tests or SUITE)],
                plugins=[_Plugin(arch, library, numbers, found)])
