"""Where everything that is built goes: one rule for all packages."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["build_folder"]


def build_folder() -> Path:
    """``$FALCONET_BUILD``, else ``build`` in the current folder. Not made here."""
    return Path(os.environ.get("FALCONET_BUILD") or "build")
