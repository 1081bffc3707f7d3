"""Texts that anybody may have written: read with a bound, UTF-8 with or without a mark."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

from falconet.isa import FalconetError
from falconet.isa.errors import shown
from falconet.isa.limits import LIMITS

__all__ = ["class_names", "decimal", "lines_of", "named", "read_bytes", "read_text"]


def read_bytes(path: Path, kind: str, advice: str) -> bytes:
    """A file of a ``kind`` of :data:`LIMITS`; ``advice`` ends the sentence if it cannot be read."""
    most = LIMITS[kind].bytes
    try:
        with path.open("rb") as f:
            data = f.read(min(os.fstat(f.fileno()).st_size, most) + 1)  # it takes what is asked
            while len(data) <= most and (more := f.read(1 << 20)):  # of a pipe
                data += more
    except FileNotFoundError:
        raise FalconetError(f"{path}: no such file; {advice}") from None
    except (OSError, ValueError) as e:  # ValueError: a path with a NUL
        raise FalconetError(f"{path}: {getattr(e, 'strerror', None) or e}; {advice}") from None
    if len(data) > most:
        raise FalconetError(f"{path}: has more than {most:,} bytes; {advice}")
    return data


def read_text(path: Path, kind: str, advice: str) -> str:
    """As :func:`read_bytes`; a byte-order mark at the beginning is no part of the text."""
    try:
        return read_bytes(path, kind, advice).decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = e.object.count(b"\n", 0, e.start) + 1
        raise FalconetError(f"{path}:{line}: not a text in UTF-8; save it as such") from None


def named(path: Path) -> str:
    """A path that a file gives, in a message: shortened only if it is no sane one."""
    text = str(path)
    return text if text.isprintable() and len(text) <= 400 else shown(text)[1:-1]


def lines_of(path: Path, advice: str) -> list[tuple[int, str]]:
    """Number and text of the lines of a list that are not empty, stripped."""
    lines = io.StringIO(read_text(path, "list", advice), newline=None)
    return [(n, line.strip()) for n, line in enumerate(lines, 1) if line.strip()]


def decimal(text: str) -> float:
    """As XML and other tools write it; ValueError of what Python alone takes, such as 1_0."""
    if not text.isascii() or "_" in text:
        raise ValueError
    return float(text)


def class_names(names: Iterable[object], where: str) -> tuple[str, ...]:
    """Checked: texts of one line, no two the same."""
    found: list[str] = []
    seen: set[str] = set()
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or (
                len(name) > 300):
            raise FalconetError(f"{where}: the name of class {i} is {shown(name)}; write a line of "
                                "text")
        if name in seen:
            raise FalconetError(f"{where}: the name {shown(name)} is there twice; rename one")
        seen.add(name)
        found.append(name)
    if not found:
        raise FalconetError(f"{where}: there is no class; name them")
    return tuple(found)
