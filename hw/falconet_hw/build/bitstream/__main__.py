"""A bitstream, what PYNQ reads, a report: ``python -m falconet_hw.build.bitstream``."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from falconet.ending import ended
from falconet.isa import Board, FalconetError, board
from falconet_hw.board import host_of
from falconet_hw.build.bitstream.report import Report

__all__ = ["main", "make"]


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Two builds in one folder would write over each other's files."""
    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise FalconetError(
            f"{out}: another build is at work in this folder; wait for its end, or name another "
            "folder with --output") from None
    finally:
        os.close(folder)


def make(described: Board, toolchain: str | None, stop: str | None, out: Path) -> Report | None:
    """Build for a board, by its first toolchain if none is named; None when stopped before."""
    known = host_of(described).toolchains
    chosen = toolchain or known[0]
    if chosen not in known:
        raise FalconetError(
            f"board '{described.name}' is not built by '{chosen}'; use TOOLCHAIN="
            + " or ".join(known))
    if stop not in (None, "netlist"):
        raise FalconetError(f"STOP={stop} is unknown; use STOP=netlist or leave it out")
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        return _make(described, chosen, stop, out)


def _make(described: Board, chosen: str, stop: str | None, out: Path) -> Report | None:
    print(f"{described.title}, {chosen}, in {out}")
    report: Report | None = import_module(f"falconet_hw.build.bitstream.{chosen}").build(
        described, out, stop)
    if host_of(described).system is not None:
        from falconet_hw.board.hwh import write_hwh

        write_hwh(described, out / "falconet.hwh")
    if report is not None:
        report.save(out / "report.json")
        print(report.table())
    for path in sorted(out.glob("falconet.*")):
        print(f"  {path}  {path.stat().st_size:,} bytes")
    return report


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m falconet_hw.build.bitstream",
                                     description=__doc__)
    parser.add_argument("--board", default="pynq-z2", help="default: %(default)s")
    parser.add_argument("--toolchain", help="vivado, openxc7 or ecp5; by default the board's")
    parser.add_argument("--stop", help="netlist: only what place and route begins with")
    parser.add_argument("--output", help="default: build/bitstream/BOARD")
    args = parser.parse_args(argv)
    described = board(args.board)
    out = Path(args.output or f"build/bitstream/{args.board}")
    make(described, args.toolchain or None, args.stop or None, out)
    return 0


if __name__ == "__main__":
    sys.exit(ended(main, last=True))
