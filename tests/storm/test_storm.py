"""A share of the storm; and that what must not happen would show."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from machines import KINDS  # noqa: E402
from weather import Ctrl, Sailor, one_run  # noqa: E402

from falconet.isa import FalconetError, Program  # noqa: E402
from falconet.runtime.device import RunResult  # noqa: E402
from falconet.runtime.driver import Driver, Slot  # noqa: E402
from falconet_sim.golden.device import GoldenDevice  # noqa: E402

pytestmark = pytest.mark.timeout(240)
RUNS = {"golden": 4, "iss": 2, "rtl": 2, "serial": 1, "paced": 8}


def command() -> ModuleType:
    spec = importlib.util.spec_from_file_location("storm_command", HERE / "__main__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("device", RUNS)
def test_a_share(device: str) -> None:
    """The board's library takes long to build; test_board.py has it."""
    told = [one_run(KINDS[device], f"suite {device} {k}") for k in range(RUNS[device])]
    assert not [wrong for t in told for wrong in t.wrong]
    assert sum(t.right.total() for t in told) > 0
    if device == "paced":
        assert sum(t.interrupts for t in told) > 0
        assert {"run", "see", "steps", "stream"} <= {a for t in told for a in t.right}
        assert sum(t.sentences.total() for t in told) > 0


def wrongs(make: Any, kind: str, runs: int = 3) -> list[str]:
    changed = dataclasses.replace(KINDS[kind], make=make)
    return [w for k in range(runs) for w in one_run(changed, f"wrong {k}").wrong]


class Open(Driver):
    """Lets anybody write to the frame that the machine works on."""

    stage = Driver.stage.__wrapped__  # type: ignore[attr-defined]
    collect = Driver.collect.__wrapped__  # type: ignore[attr-defined]

    def _free(self, slot: Slot) -> None: ...


def test_a_driver_that_does_not_guard_its_frames_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sailor, "actions", lambda self, _: self.rng.choices(
        ["see", "meddle"], [1, 40], k=400))

    def make(program: Program, timeout: float) -> Driver:
        device = KINDS["paced"].make(program, timeout)
        device.__class__ = Open
        return device

    assert any("not that of photograph" in w for w in wrongs(make, "paced", 3))


class Confused(GoldenDevice):
    """Between taking inputs down and running them, another thread may come."""

    def run(self, inputs: Any, options: Any = None) -> RunResult:
        self.inputs = dict(inputs)
        time.sleep(0.001)
        return super().run(self.inputs, options)


class Blunt(GoldenDevice):
    def run(self, inputs: Any, options: Any = None) -> RunResult:
        raise KeyError("x")


class Wordy(GoldenDevice):
    def run(self, inputs: Any, options: Any = None) -> RunResult:
        raise FalconetError("two\nlines")


@pytest.mark.parametrize("cls, says", [
    (Confused, "not that of photograph"), (Blunt, "KeyError"), (Wordy, "no sentence"),
])
def test_what_is_wrong_is_seen(cls: type[GoldenDevice], says: str) -> None:
    assert any(says in w for w in wrongs(lambda p, _: cls(p), "golden"))


def test_interrupts_come_only_where_they_may() -> None:
    ctrl, found = Ctrl(), []

    def body() -> None:
        for _ in range(3):
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            found.append(ctrl.came)

    with ctrl.handled():
        signal.raise_signal(signal.SIGINT)
        ctrl.allow(2, body)
        signal.raise_signal(signal.SIGINT)
    assert found == [1, 2, 2] and ctrl.came == 2


TELLS = """
import faulthandler, sys, time
first, runs = int(sys.argv[2]), int(sys.argv[4])
for k in range(first, first + runs):
    faulthandler.dump_traceback_later(0.5, exit=True)
    if k % 3 == 1:
        time.sleep(60)
    print('{"right": {"run": 2}, "sentences": {"no.": 1}, "interrupts": 3, "wrong": []}',
          flush=True)
"""


def test_a_hang_is_counted_and_the_rest_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    amiss: list[str] = []
    row = command().row("rtl", [sys.executable, "-c", TELLS], 0, 6, amiss)
    assert [row[k] for k in ("runs", "right answers", "sentences", "Ctrl-C", "wrong", "hung")] == [
        "6", "8", "4", "12", "0", "2"]
    assert [a.partition(":")[0] for a in amiss] == ["run 1 on rtl", "run 4 on rtl"]
    assert all("hangs" in a and 'File "<string>", line 7' in a for a in amiss)
