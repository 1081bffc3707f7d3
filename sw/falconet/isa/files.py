"""Files that are whole under their final name, or not there at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from falconet.isa.errors import FalconetError

__all__ = ["naming", "written"]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of the system inside becomes a FalconetError that names ``path``."""
    try:
        yield
    except OSError as e:
        raise FalconetError(
            f"{path}: cannot be written ({e.strerror or e}); give a place that can") from None


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A name beside ``path``, of the same suffix, to write to; it becomes ``path`` at the end.

    Folders above are made. If what is inside fails or is interrupted, nothing is left, and what was
    at ``path`` stays. A device or a pipe, to which nothing can be moved, is given as it is.

    Raises
    ------
    FalconetError
        If the file cannot be written; names ``path``.
    """
    if os.path.isdir(path):
        raise FalconetError(f"{path}: is a folder; give the name of a file in it")
    if os.path.exists(path) and not os.path.isfile(path):
        yield path
        return
    final = Path(os.path.realpath(path))  # a link stays one
    beside = final.with_name(f".{final.stem[:40]}-{secrets.token_hex(4)}{final.suffix}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb") as f:
            os.fsync(f.fileno())
        beside.replace(final)
    except OSError as e:
        if e.filename is not None and Path(e.filename) not in (beside, final, *final.parents):
            raise  # of another file, that was read meanwhile
        with naming(path):
            raise
    finally:
        with suppress(OSError):
            beside.unlink()
