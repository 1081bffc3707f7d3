"""Pieces of the generated pages."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

__all__ = ["prose", "table"]


def prose(doc: str | None) -> str:
    """A docstring as Markdown: indentation removed, literals in single back-ticks."""
    return re.sub(r":\w+:(?=`)", "", inspect.cleandoc(doc or "").replace("``", "`"))


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    cells = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in r) + " |" for r in cells)
