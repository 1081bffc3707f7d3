"""The notebook on the simulated board; ``python tests/board/notebook.py`` writes it anew."""

from __future__ import annotations

import tempfile
from pathlib import Path

from environments import ROOT, run_inside

from falconet.cli import main
from falconet.isa import board
from falconet_sim.bitfile import write_bitfile
from falconet_sim.zynq import board_library

NOTEBOOK = ROOT / "notebooks" / "falconet.ipynb"
RELEASE = "3.1.2"
"""The newest PYNQ for the boards that the notebook is for."""


def execute(output: Path, folder: Path, name: str = "pynq-z2") -> None:
    """Execute the notebook in ``folder``, which gets all that lies beside it on a board."""
    if main(["samples", str(folder)]):
        raise RuntimeError("'falconet samples' failed")
    write_bitfile(board(name), folder)
    board_library(board(name))
    run_inside(RELEASE, "execute.py", NOTEBOOK, folder, output, timeout=1500)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as beside:
        execute(NOTEBOOK, Path(beside))
    print(NOTEBOOK)
