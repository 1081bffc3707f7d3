"""Files that are whole under their final name or not there at all, and never over what is read."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from falconet.isa.errors import FalconetError
from falconet.isa.paths import made

if find_spec("fcntl"):  # not on Windows, where parts are not swept
    import fcntl

__all__ = ["check_place", "keep_inputs", "naming", "store", "written", "written_folder"]

_PART = re.compile(r"\..*\.falconet-[0-9a-f]{8}(\.[^.]*)?")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of the system inside becomes a FalconetError that names ``path``."""
    try:
        yield
    except OSError as e:
        raise FalconetError(
            f"{path}: cannot be written ({e.strerror or e}); give a place that can") from None


def _remove(part: Path) -> None:
    with suppress(OSError):
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part)
        else:
            part.unlink()


def _swept(part: Path) -> None:
    with suppress(OSError):
        file = os.open(part, os.O_RDONLY)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(part)
        finally:
            os.close(file)


@cache
def _sweep(folder: Path) -> None:
    """Remove, once a process, the parts that killed ones left; those of living ones are locked."""
    with suppress(OSError):
        for part in folder.iterdir() if find_spec("fcntl") else ():
            if _PART.fullmatch(part.name):
                _swept(part)


@contextmanager
def _locked(part: Path, folder: bool) -> Iterator[None]:
    """``part`` is made, and locked until the end, so that nobody sweeps it."""
    while True:
        if folder:
            part.mkdir(exist_ok=True)
        else:
            part.touch()
        if not find_spec("fcntl"):
            yield
            return
        file = os.open(part, os.O_RDONLY)
        try:
            with suppress(OSError):  # no locks on this file system: then nobody sweeps either
                fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.exists(part) and os.path.samestat(os.fstat(file), os.stat(part)):
                yield
                return
        finally:  # it was swept before it was locked: once more
            os.close(file)


@contextmanager
def _beside(path: Path, folder: bool) -> Iterator[Path]:
    final = Path(os.path.realpath(path))  # a link stays one
    part = final.with_name(f".{final.stem[:40]}.falconet-{secrets.token_hex(4)}{final.suffix}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep(final.parent)
        with _locked(part, folder):
            yield part
            if not folder:
                with part.open("rb") as f:
                    os.fsync(f.fileno())
            part.replace(final)
    except OSError as e:
        at = Path(e.filename) if isinstance(e.filename, str) else part
        if part not in (at, *at.parents) and at not in (final, *final.parents):
            raise  # of another file, that was read meanwhile
        with naming(path):
            raise
    finally:
        _remove(part)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A name beside ``path``, of the same suffix, to write to; it becomes ``path`` at the end.

    Folders above are made, and an empty file of that name, so that a place that cannot be written
    is refused before work begins. If what is inside fails or is interrupted, nothing is left, and
    what was at ``path`` stays; what a killed process left goes when the next one writes in that
    folder. A device or a pipe, to which nothing can be moved, is given as it is, and so is a name
    that another of these gave, or one in it.

    Raises
    ------
    FalconetError
        If the file cannot be written; names ``path``.
    """
    if os.path.isdir(path):
        raise FalconetError(f"{path}: is a folder; give the name of a file in it")
    if any(map(_PART.fullmatch, path.parts)):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
        return
    if os.path.exists(path) and not os.path.isfile(path):
        yield path
        return
    with _beside(path, folder=False) as part:
        yield part


def store(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` at once (:func:`written`); its folder is :func:`made`.

    Raises
    ------
    FalconetError
        If it cannot be written; names ``path``.
    """
    with naming(path):
        made(path.parent)
    with written(path) as part:
        part.write_bytes(data)


def check_place(path: Path) -> None:
    """Refuse, before long work, a path that :func:`written` would refuse after it."""
    class Tried(Exception):
        pass

    with suppress(Tried), written(path):
        raise Tried


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


@contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """As :func:`written`, a folder to fill; refused if something is at ``path`` already."""
    if os.path.exists(path) and (not os.path.isdir(path) or os.listdir(path)):
        raise FalconetError(f"{path}: is there already and not empty; give a new folder")
    with _beside(path, folder=True) as part:
        yield part
