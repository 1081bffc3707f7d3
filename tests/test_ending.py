"""Ctrl-C at every line of what runs around a command, and where Python makes something of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import pytest

from falconet import ending
from falconet_app import cli
from falconet_app.commands.app import Commands

pytestmark = pytest.mark.timeout(120)
Capture = pytest.CaptureFixture[str]
FILES = {ending.__file__, cli.__file__}


class Lines:
    """Counts the lines of ``ending`` and ``cli`` that are run; presses Ctrl-C before one of them,
    as long as it is answered by other than Python's own handler."""

    def __init__(self, at: int = -1) -> None:
        self.count, self.at, self.where, self.ran = 0, at, "", False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line" and signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            self.count += 1
            if self.count == self.at:
                self.where = f"{frame.f_code.co_name}:{frame.f_lineno}"
                signal.raise_signal(signal.SIGINT)
        self.ran |= event == "return" and frame.f_code is cli._run.__code__ and not self.where
        return self

    def run(self) -> int:
        before = sys.gettrace()
        sys.settrace(self)
        try:
            return cli.main(["--help"])
        except KeyboardInterrupt:
            return -signal.SIGINT
        finally:
            sys.settrace(before)


@pytest.fixture
def default() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_at_every_line(default: None, capsys: Capture) -> None:
    lines = Lines()
    assert lines.run() == 0 and lines.count > 30
    said = capsys.readouterr().out
    ends = set()
    for at in range(1, lines.count + 1):
        line = Lines(at)
        code = line.run()
        out, err = capsys.readouterr()
        assert line.where
        assert (code, err) in ((130, "falconet: interrupted\n"), (0, "")), (line.where, code, err)
        assert (line.ran and out == said) if code == 0 else out in ("", said), line.where
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ends.add(code)
    assert ends == {0, 130}  # 0: all had been done


def test_an_interruption_that_typer_makes_an_exit_of(
        default: None, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Commands, "make_context", interrupted)
    assert cli.main(["list"]) == 130
    assert capsys.readouterr().err == "falconet: interrupted\n"


def test_pressed_again_it_ends_at_once() -> None:
    done = _process("import time\ndef run():\n    try:\n        press()\n"
                    "    except BaseException:\n        press()\n        time.sleep(60)")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def _process(run: str, after: str = "") -> subprocess.CompletedProcess[str]:
    """``python -m`` with a module that defines ``run``; under -c Python ends in another way."""
    code = ("import os, signal, sys\nfrom falconet.ending import ended\n"
            f"def press():\n    os.kill(os.getpid(), signal.SIGINT)\n{run}\n"
            f"code = ended(run, last=True)\n{after}\nsys.exit(code)")
    with TemporaryDirectory() as folder:
        Path(folder, "pressed.py").write_text(code)
        path = os.pathsep.join([folder, *filter(None, sys.path)])
        return subprocess.run([sys.executable, "-m", "pressed"], capture_output=True, text=True,
                              timeout=60, check=False, env={**os.environ, "PYTHONPATH": path})


@pytest.mark.parametrize("how", ["exec('press()')", "press()"])
def test_python_does_not_kill_itself(how: str) -> None:
    """Once a text that is executed was interrupted (as dataclasses do), it does so at its end."""
    done = _process(f"def run():\n    {how}")
    assert (done.returncode, done.stderr) == (130, "falconet: interrupted\n")


def test_an_error_that_a_library_makes_of_it() -> None:
    done = _process("def run():\n    try:\n        exec('press()')\n"
                    "    except KeyboardInterrupt:\n        raise RuntimeError")
    assert (done.returncode, done.stderr) == (130, "falconet: interrupted\n")


def test_ctrl_c_as_the_process_ends() -> None:
    """Behind the command it hastens the end; as Python takes itself apart, it changes nothing."""
    done = _process("def run():\n    return 0", "press()\nprint('not reached')")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    done = _process("def run():\n    return 7", "class Last:\n    def __del__(self):\n"
                    "        press()\n        os.write(1, b'reached')\nlast = Last()")
    assert (done.returncode, done.stdout, done.stderr) == (7, "reached", "")


def test_ctrl_c_before_ours_is_imported(tmp_path: Path) -> None:
    """``python -m falconet`` answers it before the standard library is there that answers it."""
    (tmp_path / "enum.py").write_text("import os, _signal\nos.kill(os.getpid(), _signal.SIGINT)\n")
    run = ("import sys, runpy; [sys.modules.pop(m) for m in ('enum', 'signal') if m in sys.modules]"
           f"; sys.path.insert(0, {str(tmp_path)!r}); runpy.run_module('falconet', "
           "run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, timeout=60,
                          check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "falconet: interrupted\n")


def test_ignored_it_stays_ignored() -> None:
    """As a shell's background job, or under nohup."""
    done = subprocess.run(
        [sys.executable, "-c", "import os, signal, sys; from falconet.ending import ended; "
         "sys.exit(ended(lambda: os.kill(os.getpid(), signal.SIGINT), last=True))"],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN), capture_output=True,
        text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
