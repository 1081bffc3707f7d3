"""The one exception that Falconet raises for anything a user can get wrong."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import Any

__all__ = ["FalconetError", "near", "shown"]

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 80
_REPR.maxlevel = 3


class FalconetError(Exception):
    """A mistake that the user can mend: the message is one sentence that says where and how."""


def shown(value: Any) -> str:
    """A value in a message, whatever it is: one line, long ones shortened."""
    return _REPR.repr(value)


def near(name: Any, known: Iterable[Any]) -> str:
    """``"did you mean 'x'? "`` of the known name that looks most like ``name``; else nothing.

    To be put before the list of what is known. Capitals do not count.
    """
    from difflib import get_close_matches  # seldom needed

    names = {str(k).lower(): str(k) for k in known}
    found = get_close_matches(str(name).lower()[:80], names, 1, 0.5)
    return f"did you mean '{names[found[0]]}'? " if found else ""
