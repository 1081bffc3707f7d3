"""The bitstream of the simulated board: two files that stand where the real ones do.

``python -m falconet_sim.hosts.bitfile FOLDER`` writes ``falconet.bit`` and ``falconet.hwh``. PYNQ
loads them on any computer whose environment says ``FALCONET_SIMULATED=1``
(:mod:`falconet_sim.hosts.pynq_device`); the handoff file is that of the real bitstream.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from falconet.isa import BOARDS, Board, FalconetError, board
from falconet.isa.files import written

__all__ = ["write_bitfile"]

_TEXT = """\
This file stands for the bitstream of Falconet on the simulated board '{0}'.
It configures no chip. 'make bitstream BOARD={0}' builds one that does.
"""


def write_bitfile(board: Board, folder: str | Path) -> Path:
    """Write ``falconet.bit`` and ``falconet.hwh`` for a simulated ``board``; returns the former."""
    from falconet_hw.board.hwh import write_hwh

    bit = Path(folder) / "falconet.bit"
    write_hwh(board, bit.with_suffix(".hwh"))
    with written(bit) as part:
        part.write_text(_TEXT.format(board.name), encoding="utf-8")
    return bit


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m falconet_sim.hosts.bitfile", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--board", default="pynq-z2", help=f"one of: {', '.join(BOARDS)}")
    options = parser.parse_args(arguments)
    try:
        print(write_bitfile(board(options.board), options.folder))
    except (FalconetError, OSError) as e:
        print(f"falconet: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
