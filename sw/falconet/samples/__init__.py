"""Programs and photographs to begin with, and where they are found.

``falconet samples`` makes them and ``make wheel`` packs them; on the board, ``python3 -m
falconet.samples FOLDER`` copies them and the notebook to a folder.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from falconet.isa import FalconetError

__all__ = ["HOME", "NOTEBOOK", "copy_samples", "sample"]

HOME = Path(__file__).parent
"""Where ``falconet samples`` puts them: they belong to the package."""

NOTEBOOK = "falconet.ipynb"
_SUFFIXES = (".flc", ".png", ".ipynb")


def sample(name: str) -> Path:
    """The file called ``name`` (``retinaface-pynq-z2.flc``, ``astronaut.png``).

    The current folder goes before the package's own.

    Raises
    ------
    FalconetError
        if it is in neither.
    """
    for folder in (Path(), HOME):
        if (folder / name).is_file():
            return folder / name
    raise FalconetError(
        f"{name}: not in this folder and not among the samples; copy it here, or run 'falconet "
        "samples' on a computer and install its wheel on the board"
    )


def copy_samples(folder: str | Path) -> list[Path]:
    """Copy programs, photographs and the notebook to ``folder``; what lies there is kept."""
    to = Path(folder)
    files = sorted(f for f in HOME.iterdir() if f.suffix in _SUFFIXES)
    if not files:
        raise FalconetError(f"{HOME}: there are no samples; run 'falconet samples' first")
    to.mkdir(parents=True, exist_ok=True)
    copied = []
    for f in files:
        if not (to / f.name).exists():
            shutil.copyfile(f, to / f.name)
            copied.append(to / f.name)
    return copied


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python3 -m falconet.samples FOLDER", file=sys.stderr)
        return 2
    try:
        for path in copy_samples(arguments[0]):
            print(path)
    except (FalconetError, OSError) as e:
        print(f"falconet: {e}", file=sys.stderr)
        return 1
    return 0
