"""Files that appear whole."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from falconet.isa import FalconetError, made

__all__ = ["store"]


def store(path: Path, data: bytes) -> None:
    """Write beside ``path`` and rename, so that nobody ever reads half a file; makes its folder.

    Raises
    ------
    FalconetError
        If it cannot be written; names ``path``.
    """
    part = path.with_name(f".{path.name[:60]}.{os.getpid()}")
    try:
        made(path.parent)
        part.write_bytes(data)
        part.replace(path)
    except OSError as e:
        with suppress(OSError):
            part.unlink()
        raise FalconetError(
            f"{path}: cannot be written ({e.strerror or e}); give a place that can") from None
