"""Bounded and inductive proofs of a component's assertions: yosys, smtbmc and boolector."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib.wiring import Component

from falconet.isa import FalconetError
from falconet_hw.verilog import find_yosys

__all__ = ["prove", "prove_netlist"]


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
) -> bool:
    """:func:`prove_netlist` of what Amaranth makes of ``component``."""
    return prove_netlist(rtlil.convert(component, name="top"), name, steps=steps,
                         induction=induction, directory=directory)


def prove_netlist(
    netlist: str, name: str, *, steps: int, induction: int, directory: str | Path = "build/formal",
) -> bool:
    """Do all assertions of a netlist (RTLIL) with top module "top" hold, whatever its inputs are?

    They must hold in the first ``steps`` cycles from the initial state (base case), and after any
    ``induction`` cycles in which they held (induction, from any state; needs ``steps >=
    induction``). 0 asks for the base case alone. Reset is an input like any other.
    False if there is a counterexample, which is left in ``directory``/``name``.vcd.

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
            return False
        if "Status: PASSED" not in answer:
            raise FalconetError(f"{name} has no answer; {directory / name}.log says why")
    return True
