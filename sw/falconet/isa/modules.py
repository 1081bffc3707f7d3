"""Packages whose modules register what they hold, so that a new file is all that a new thing is."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType

__all__ = ["import_modules"]


def import_modules(package: str, path: Iterable[str]) -> dict[str, ModuleType]:
    """Every module of ``package`` by its name, imported in that order.

    ``import_modules(__name__, __path__)`` is what such a package says of itself.
    """
    return {name: importlib.import_module(f"{package}.{name}")
            for name in sorted(m.name for m in pkgutil.iter_modules(path))}
