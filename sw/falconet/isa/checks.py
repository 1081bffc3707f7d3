"""JSON that anybody may have written: taken apart value by value, each checked."""

from __future__ import annotations

import json
import math
from collections.abc import ItemsView
from typing import Any, NoReturn

from falconet.isa.errors import FalconetError, shown
from falconet.isa.limits import LIMITS

__all__ = ["TEXT", "Fields", "choice", "entries", "fault", "flag", "number", "read_json", "text",
           "whole"]

_DEPTH = LIMITS["program"].depth
TEXT = 300
"""Characters of a line of text."""


def fault(field: str, why: str) -> NoReturn:
    raise FalconetError(f"{field}: {why}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{shown(next(n for n in found if names.count(n) > 1))} is there twice")
    return found


def read_json(data: str | bytes) -> Any:
    """What JSON says; ValueError for all that JSON, UTF-8 or a sane author would not write.

    Numbers are finite and, if whole, fit 64 bits; nothing is nested deeper than 40; texts can be
    encoded (no lone surrogates); an object has each name once.
    """
    try:
        found = json.loads(data, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    row, depth = [found], 0
    while row:
        if depth == _DEPTH:
            raise ValueError("it is nested too deeply")
        below: list[Any] = []
        for value in row:
            if isinstance(value, dict):
                below += value
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str):
                value.encode()
            elif isinstance(value, float):
                if not math.isfinite(value):
                    raise ValueError(f"{value} is no number")
            elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
                raise ValueError("a number has more than 64 bits")
        row, depth = below, depth + 1
    return found


def text(value: Any, field: str, *, empty: bool = False) -> str:
    """One printable line."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > TEXT or not (
            value or empty):
        fault(field, f"{shown(value)} is no line of text")
    return value


def whole(value: Any, field: str, lo: int, hi: int) -> int:
    if type(value) is not int or not lo <= value <= hi:
        fault(field, f"{shown(value)} is no whole number from {lo} to {hi}")
    return value


def number(value: Any, field: str, lo: float, hi: float) -> float:
    if type(value) not in (int, float) or not (lo <= value <= hi and math.isfinite(value)):
        fault(field, f"{shown(value)} is no number from {lo:g} to {hi:g}")
    return float(value)


def choice(value: Any, field: str, choices: tuple[str, ...]) -> str:
    if text(value, field) not in choices:
        fault(field, f"{shown(value)} is none of {', '.join(choices)}")
    return str(value)


def flag(value: Any, field: str) -> bool:
    if not isinstance(value, bool):
        fault(field, f"{shown(value)} is neither true nor false")
    return value


def entries(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list):
        fault(field, f"{shown(value)} is no list")
    return value


class Fields:
    """A JSON object and what it is called in messages."""

    def __init__(self, value: Any, field: str) -> None:
        if not isinstance(value, dict):
            fault(field, f"{shown(value)} is no object")
        self.value: dict[str, Any] = value
        self.field = field

    def items(self) -> ItemsView[str, Any]:
        return self.value.items()

    def get(self, key: str) -> Any:
        if key not in self.value:
            fault(f"{self.field}.{key}", "it is missing")
        return self.value[key]

    def text(self, key: str, *, empty: bool = False) -> str:
        return text(self.get(key), f"{self.field}.{key}", empty=empty)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        return choice(self.get(key), f"{self.field}.{key}", choices)

    def flag(self, key: str) -> bool:
        return flag(self.get(key), f"{self.field}.{key}")

    def whole(self, key: str, lo: int, hi: int) -> int:
        return whole(self.get(key), f"{self.field}.{key}", lo, hi)

    def number(self, key: str, lo: float, hi: float) -> float:
        return number(self.get(key), f"{self.field}.{key}", lo, hi)

    def entries(self, key: str) -> list[Any]:
        return entries(self.get(key), f"{self.field}.{key}")

    def wholes(self, key: str, count: int, lo: int, hi: int) -> list[int]:
        value = self.entries(key)
        if len(value) != count:
            fault(f"{self.field}.{key}", f"{len(value)} numbers where there are {count}")
        for entry in value:
            whole(entry, f"{self.field}.{key}", lo, hi)
        return value

    def wholes_each(self, count: int, lo: int, hi: int) -> None:
        for key in self.value:
            self.wholes(key, count, lo, hi)

    def each(self, key: str) -> list[Fields]:
        """The objects of a list."""
        return [Fields(v, f"{self.field}.{key}[{i}]") for i, v in enumerate(self.entries(key))]
