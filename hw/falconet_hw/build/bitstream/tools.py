"""Programs that build bitstreams: where they are, and running them with a log."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from falconet.isa import FalconetError
from falconet_hw.build.verilog import find_yosys

__all__ = ["begin", "find_folder", "find_tool", "run", "step"]


def find_tool(name: str, variable: str, advice: str) -> str:
    """The program: ``$variable``, on PATH, or beside this Python.

    Raises
    ------
    FalconetError
        One sentence with ``advice`` if it is not there.
    """
    given = os.environ.get(variable)
    if given:
        if shutil.which(given) is None:
            raise FalconetError(f"{variable}={given}: no such program")
        return given
    beside = Path(sys.executable).parent / name
    found = shutil.which(name) or (str(beside) if beside.exists() else None)
    if found is None:
        raise FalconetError(f"{name} is not installed; {advice}, or set {variable} to its path")
    return found


def find_folder(variable: str, what: str, advice: str) -> Path:
    """What a variable names."""
    given = os.environ.get(variable)
    if not given:
        raise FalconetError(f"{variable} is not set; set it to {what} ({advice})")
    path = Path(given)
    if not path.exists():
        raise FalconetError(f"{variable}={given}: no such file or folder; set it to {what}")
    return path


def begin(out: Path) -> None:
    """Once all other tools are found: yosys is, too, and nothing of an earlier build is left that
    might be taken for this one's."""
    find_yosys()
    for old in ("falconet.bit", "report.json"):
        (out / old).unlink(missing_ok=True)


def step(name: str, work: Callable[[], None]) -> None:
    """Do ``work`` and say how long it took."""
    print(f"  {name:<28}", end="", flush=True)
    began = time.monotonic()
    try:
        work()
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" {time.monotonic() - began:7.1f} s", flush=True)


def run(command: Sequence[str], log: Path, *, folder: Path | None = None,
        output: Path | None = None) -> None:
    """Run a program in ``folder``; what it prints goes to ``log``, or its output to ``output``.

    Raises
    ------
    FalconetError
        naming the log, if it fails.
    """
    with log.open("w") as out:
        out.write("$ " + " ".join(command) + "\n")
        out.flush()
        with (output or Path(os.devnull)).open("w") as result:
            done = subprocess.run(
                command, cwd=folder, stdout=result if output else out, stderr=out, check=False)
    if done.returncode:
        last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise FalconetError(
            f"{Path(command[0]).name} failed: {last[-1].strip()[:200]} (all of it is in {log})")
