"""Tests against mutants: what kills each, as a plugin of pytest.

Tests are collected once, and run once on the machine without a fault; what simulators and compiler
gave there is remembered. Each mutant has a process of its own, a fork that runs the tests in order
up to the first that fails, so that a machine that crashes or never ends is a finding like another.
"""

from __future__ import annotations

import functools
import json
import os
import pickle
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import devices
import pytest
import schemata
from sweep import LONGEST

import falconet_sim.rtl.board
from falconet.isa import Arch, FalconetError
from falconet.runtime.bus import Wake
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.machine import Step
from falconet_sim.iss.simulator import IssDevice

__all__ = ["SUITE", "Verdict", "run"]

TESTS = Path(__file__).parents[1]
SUITE = [str(TESTS / name) for name in (
    "sim/test_rtl.py", "sim/test_cycles.py", "sim/test_rtl_ends.py", "sim/test_rtl_control.py",
    "sim/test_rtl_fields.py",
    "e2e/test_illegal.py", "e2e/test_detect.py", "e2e/test_detect_ends.py", "e2e/test_machines.py",
    "e2e/test_bus_faults.py", "e2e/test_faults.py",
)]
"""The fast suite: the tests on the whole machine, most lethal first. Only preset tiny is used."""

STALL = LONGEST
"""Cycles without a beat or a retirement after which a machine hangs."""

PATIENCE = 15 * STALL
"""Cycles without an interrupt after which it hangs anyway."""

SECONDS = 180
"""Of processor time that a mutant may take for all tests."""


@dataclass(frozen=True)
class Verdict:
    """``by``: the test that failed, or "crash"; empty if the mutant survived."""

    by: str
    why: str
    seconds: float


class _Plugin:
    def __init__(self, arch: Arch, library: Path, numbers: list[int],
                 found: Callable[[int, Verdict], None], only: str) -> None:
        self.arch, self.library, self.numbers, self.found = arch, library, numbers, found
        self.only = only
        self.failed: tuple[str, str] | None = None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [i for i in items if "pynq-z2" not in i.name and self.only in i.nodeid]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self.failed is None:
            crash = getattr(report.longrepr, "reprcrash", None)
            text = str(crash.message if crash else report.longrepr).strip()
            self.failed = report.nodeid, text.splitlines()[0][:200]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        order = {path: i for i, path in enumerate(SUITE)}
        session.items.sort(key=lambda item: order.get(str(item.path), len(order)))
        _use(self.arch, self.library)
        for module in {getattr(item, "module", None) for item in session.items}:
            for name in ("compile_graph", "overlapping_program", "required_waits"):
                if hasattr(module, name):
                    setattr(module, name, _remember(getattr(module, name)))
        schemata.choose(self.library, 0)
        self.tests(session)
        devices.board.cache_clear()
        if self.failed:
            raise FalconetError(f"the machine without a fault fails {self.failed}")
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
                resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
                schemata.choose(self.library, number)
                self.tests(session)
                os.write(write, json.dumps(self.failed or ("", "")).encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            if not select.select([pipe], [], [], 10 * SECONDS)[0]:
                os.kill(child, signal.SIGKILL)
                raise FalconetError(f"mutant {number} sleeps; start again, the results are kept")
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        seconds = round(time.monotonic() - began, 2)
        if text:
            return Verdict(*json.loads(text), seconds)
        return Verdict("crash", f"the process ended with status {status}", seconds)

    def tests(self, session: pytest.Session) -> None:
        for item, after in zip(session.items, [*session.items[1:], None]):
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self.failed:
                return


def _remember(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, computed once for the same arguments."""
    known: dict[bytes, Any] = {}

    @functools.wraps(function)
    def remembered(*args: Any, **options: Any) -> Any:
        key = pickle.dumps((args, options))
        if key not in known:
            known[key] = function(*args, **options)
        return known[key]

    return remembered


def _remember_runs(device: type[GoldenDevice] | type[IssDevice]) -> None:
    """A simulator runs a program with the same inputs once; its observer hears it again."""
    run = device.run
    known: dict[bytes, tuple[list[Step], Any]] = {}

    def remembered(self: Any, *args: Any, **options: Any) -> Any:
        program = self.program
        key = pickle.dumps((program.code, program.header, args, options))
        observer = getattr(self, "observer", None)
        if key not in known:
            steps: list[Step] = []
            if isinstance(self, IssDevice):
                self.observer = steps.append
            known[key] = steps, run(self, *args, **options)
        steps, result = known[key]
        for step in steps if observer else ():
            observer(step)
        return result

    device.run = remembered  # type: ignore[method-assign]


def _use(arch: Arch, library: Path) -> None:
    """Every simulated machine of ``arch`` is of ``library`` now, and hangs soon."""
    board = falconet_sim.rtl.board.SimBoard
    usual, begin, go = falconet_sim.rtl.board.machine_library, board.__init__, board._run

    def machine_library(of: Arch, kind: str = "") -> Path:
        return library if (of, kind) == (arch, "") else usual(of, kind)

    def impatient(self: Any, of: Path, *args: Any, stall_cycles: int = STALL, **options: Any
                  ) -> None:
        assert of == library, f"{of} has no mutants"
        begin(self, of, *args, stall_cycles=min(stall_cycles, STALL), **options)
        self.waited = 0

    def bounded(self: Any, cycles: int) -> Wake:
        wake = go(self, cycles)
        self.waited = self.waited + cycles if wake is Wake.TIMEOUT else 0
        return Wake.STALLED if self.waited > PATIENCE else wake

    for module in list(sys.modules.values()):  # tests have imported it by name
        if vars(module).get("machine_library") is usual:
            module.machine_library = machine_library  # type: ignore[attr-defined]
    board.__init__, board._run = impatient, bounded  # type: ignore[method-assign]
    devices.board.cache_clear()  # whoever forked us may have made some
    _remember_runs(GoldenDevice)
    _remember_runs(IssDevice)


def run(arch: Arch, library: Path, numbers: list[int], found: Callable[[int, Verdict], None],
        tests: list[str] | None = None, only: str = "") -> None:
    """Let ``found`` hear of the mutants ``numbers`` of a library, one after the other.

    ``tests`` are files, by default SUITE; of them those whose name has ``only`` in it.
    """
    pytest.main(["-qq", "-p", "no:cacheprovider", *(tests or SUITE)],
                plugins=[_Plugin(arch, library, numbers, found, only)])
