"""The notebook on the simulated board; ``python tests/board/notebook.py`` writes it anew.

It leaves the file alone if nothing but timings of this computer would change.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from environments import ROOT, run_inside

from falconet.isa import board
from falconet_app.cli import main
from falconet_sim.hosts.bitfile import write_bitfile
from falconet_sim.hosts.zynq import board_library

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


def untimed(path: Path) -> dict[str, Any]:
    """A notebook without what its cells of timings put out."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for cell in found["cells"]:
        if "timing" in cell["metadata"].get("tags", []):
            cell["outputs"] = []
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as beside:
        executed = Path(beside, "executed.ipynb")
        execute(executed, Path(beside))
        if untimed(executed) == untimed(NOTEBOOK):
            print(f"{NOTEBOOK}: as it was")
        else:
            shutil.copyfile(executed, NOTEBOOK)
            print(NOTEBOOK)
