"""Files that commands write: whole, and never over what is read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from falconet.isa import FalconetError
from falconet.isa.files import naming, written

__all__ = ["keep_inputs", "naming", "written"]


def keep_inputs(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Refuse an output that is an input too, by whatever name, so that none is written over."""
    given = {(s.st_dev, s.st_ino) for p in inputs if (s := _status(p))}
    for path in outputs:
        if (s := _status(path)) and (s.st_dev, s.st_ino) in given:
            raise FalconetError(f"{path}: is an input, and would be lost; give another name")


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
