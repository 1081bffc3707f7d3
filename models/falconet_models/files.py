"""Files that appear whole."""

from __future__ import annotations

from pathlib import Path

from falconet.isa import made
from falconet.isa.files import naming, written

__all__ = ["store"]


def store(path: Path, data: bytes) -> None:
    """Write ``path`` so that nobody ever reads half a file; makes its folder.

    Raises
    ------
    FalconetError
        If it cannot be written; names ``path``.
    """
    with naming(path):
        made(path.parent)
    with written(path) as part:
        part.write_bytes(data)
