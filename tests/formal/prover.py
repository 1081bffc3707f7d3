"""Bounded and inductive proofs of a component's assertions: yosys, smtbmc and boolector."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib.wiring import Component

from falconet.isa import FalconetError
from falconet_hw.build.verilog import find_yosys

__all__ = ["Failure", "prove", "prove_netlist"]

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Failure:
    """A counterexample, drawn in ``waveform``: the assertions that it breaks (``file:line``) in
    ``cycle``, counted from reset (base case) or from any state (induction)."""

    induction: bool
    cycle: int
    assertions: tuple[str, ...]
    waveform: Path

    @classmethod
    def of(cls, answer: str, induction: bool, waveform: Path) -> Failure:
        """From what smtbmc says: assertions in no order, those of one cycle together."""
        steps = re.findall(r"(?:assertions|induction) in step (\d+)", answer)
        lines = {(file, int(line)) for file, line in re.findall(
            r"Assert failed in \S+: (\S+):(\d+)", answer.replace(f"{_ROOT}/", ""))}
        # Induction counts down from the cycle that fails to the state before it.
        cycle = int(steps[0]) - int(steps[-1]) if induction else int(steps[-1])
        return cls(induction, cycle, tuple(f"{f}:{n}" for f, n in sorted(lines)), waveform)

    def __str__(self) -> str:
        part, begin = (("induction", "a state that may never be reached") if self.induction else
                       ("base case", "reset"))
        return (f"{part} fails in cycle {self.cycle} from {begin}: {', '.join(self.assertions)}; "
                f"see {self.waveform}")


def _find(tool: str) -> Path:
    """``tool`` itself, or its build for Python's package index, which need not be on PATH."""
    beside = Path(sys.executable).parent / f"yowasp-{tool}"
    found = shutil.which(tool) or (beside if beside.exists() else None)
    if not found:
        raise FalconetError(f"{tool} is not installed; install it with 'pip install falconet[dev]'")
    return Path(found)


def _run(command: list[str], directory: Path, env: dict[str, str]) -> str:
    result = subprocess.run(
        command, cwd=directory, env=env, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, check=False,
    )
    return result.stdout


@cache
def _environment(directory: Path) -> dict[str, str]:
    """Variables under which smtbmc finds the solver: it looks for this name on PATH."""
    (directory / "bin").mkdir(parents=True, exist_ok=True)
    link = directory / "bin" / "boolector"
    link.unlink(missing_ok=True)
    link.symlink_to(_find("boolector").absolute())
    path = os.pathsep.join([str(link.parent.absolute()), os.environ["PATH"]])
    env = {**os.environ, "PATH": path}
    _run(["boolector", "--version"], directory, env)  # the first start talks, and takes its time
    return env


def prove(
    component: Component, name: str, *, steps: int, induction: int,
    directory: str | Path = "build/formal",
) -> Failure | None:
    """:func:`prove_netlist` of what Amaranth makes of ``component``."""
    return prove_netlist(rtlil.convert(component, name="top"), name, steps=steps,
                         induction=induction, directory=directory)


def prove_netlist(
    netlist: str, name: str, *, steps: int, induction: int, directory: str | Path = "build/formal",
) -> Failure | None:
    """Do all assertions of a netlist (RTLIL) with top module "top" hold, whatever its inputs are?

    They must hold in the first ``steps`` cycles from the initial state (base case), and after any
    ``induction`` cycles in which they held (induction, from any state; needs ``steps >=
    induction``). 0 asks for the base case alone. Reset is an input like any other.
    None if so; else the counterexample, which is left in ``directory``/``name``.vcd.

    Raises
    ------
    FalconetError
        A tool is missing, or gives no answer.
    """
    directory = Path(directory).absolute()
    env = _environment(directory)
    (directory / f"{name}.il").write_text(netlist)
    (directory / f"{name}.vcd").unlink(missing_ok=True)
    log = _run([find_yosys(), "-p", (
        f"read_rtlil {name}.il; hierarchy -top top; proc; flatten; chformal -lower; opt -full; "
        f"dffunmap; async2sync; write_smt2 -wires {name}.smt2"
    )], directory, env)
    for depth, mode in ((steps, []), (induction, ["-i"])):
        if depth == 0:
            continue
        log += (answer := _run([
            f"{find_yosys()}-smtbmc", "-s", "boolector", "--unroll", "--noprogress",
            "-t", str(depth), "--dump-vcd", f"{name}.vcd", *mode, f"{name}.smt2",
        ], directory, env))
        (directory / f"{name}.log").write_text(log)
        if "Status: FAILED" in answer:
            return Failure.of(answer, bool(mode), directory / f"{name}.vcd")
        if "Status: PASSED" not in answer:
            raise FalconetError(f"{name} has no answer; {directory / name}.log says why")
    return None
