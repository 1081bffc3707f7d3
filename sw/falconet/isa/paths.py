"""Where everything that is built goes: one rule for all packages."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["build_folder", "cache_folder"]


def build_folder() -> Path:
    """``$FALCONET_BUILD``, else ``build`` in the current folder. Not made here."""
    return Path(os.environ.get("FALCONET_BUILD") or "build")


def cache_folder() -> Path:
    """``$FALCONET_CACHE``, else ``falconet`` in the user's cache folder. Not made here."""
    given = os.environ.get("FALCONET_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "falconet"
