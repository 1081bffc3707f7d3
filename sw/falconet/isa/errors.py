"""The one exception that Falconet raises for anything a user can get wrong."""

from __future__ import annotations

__all__ = ["FalconetError"]


class FalconetError(Exception):
    """A mistake that the user can mend: the message is one sentence that says where and how."""
