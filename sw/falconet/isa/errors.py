"""The one exception that Falconet raises for anything a user can get wrong."""

from __future__ import annotations

import reprlib
from typing import Any

__all__ = ["FalconetError", "shown"]

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 80
_REPR.maxlevel = 3


class FalconetError(Exception):
    """A mistake that the user can mend: the message is one sentence that says where and how."""


def shown(value: Any) -> str:
    """A value in a message, whatever it is: one line, long ones shortened."""
    return _REPR.repr(value)
