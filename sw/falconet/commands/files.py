"""Files that commands write: whole under their final name, or not there at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from falconet.isa import FalconetError

__all__ = ["not_input", "written"]


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
        if e.filename is not None and Path(e.filename) not in (
                beside, final, final.parent, *final.parents):
            raise  # of another file, that was read meanwhile
        raise FalconetError(
            f"{path}: cannot be written ({e.strerror or e}); give a place that can") from None
    finally:
        with suppress(OSError):
            beside.unlink()


def not_input(output: Path | None, *inputs: Path | str | None, suffix: str = "") -> None:
    """Refuse an ``output`` that is one of the command's inputs, or that does not end in ``suffix``.

    To be asked before work begins. What is None, or is no file, is no input.
    """
    if output is None:
        return
    if suffix and output.suffix != suffix:
        raise FalconetError(f"{output}: the output is a {suffix} file; give a name that ends so")
    for source in inputs:
        if source and os.path.isfile(source) and os.path.exists(output) and (
                os.path.samefile(source, output)):
            raise FalconetError(f"{output}: is what the command reads; give the output another "
                                "name")
