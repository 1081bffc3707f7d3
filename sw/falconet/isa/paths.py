"""Where everything that is built goes: one rule for all packages."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["build_folder", "cache_folder", "checkout", "made", "output_folder"]


def _given(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None


def checkout() -> Path | None:
    """The checkout that this package lies in, if it lies in one and not in site-packages."""
    root = Path(__file__).resolve().parent.parent.parent.parent
    return root if (root / "pyproject.toml").is_file() and (root / "hw").is_dir() else None


def cache_folder() -> Path:
    """What is made once for a user: ``$FALCONET_CACHE``, else the platform's place. Not made here.

    That is ``$XDG_CACHE_HOME/falconet`` or ``~/.cache/falconet``; on macOS
    ``~/Library/Caches/falconet``, on Windows ``%LOCALAPPDATA%\\falconet``.
    """
    given = _given("FALCONET_CACHE")
    if given is not None:
        return given
    if sys.platform == "win32":
        home = _given("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    else:
        home = _given("XDG_CACHE_HOME") or Path.home() / ".cache"
    return home / "falconet"


def build_folder() -> Path:
    """What is made and used again: ``$FALCONET_BUILD``, else ``build`` of the checkout, else
    :func:`cache_folder`. Not made here."""
    root = checkout()
    return _given("FALCONET_BUILD") or (root / "build" if root else cache_folder())


def output_folder() -> Path:
    """Where a command's results go if nothing is said: ``$FALCONET_BUILD``, else ``build`` of the
    checkout, else the current folder."""
    root = checkout()
    return _given("FALCONET_BUILD") or (root / "build" if root else Path())


def made(folder: Path) -> Path:
    """``folder``, made if need be. The first in the user's cache says on stderr where that is."""
    cache = cache_folder()
    if cache in folder.parents and not any(f.is_dir() for f in cache.glob("*")):
        print(f"falconet: what is made once is kept in {cache}; FALCONET_CACHE names another place",
              file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
