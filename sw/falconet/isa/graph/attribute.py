"""Attributes of an operator: fields of its dataclass that know what they may be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from falconet.isa.checks import Fields, fault, whole
from falconet.isa.graph.tensor import Range

__all__ = ["Attribute", "flag", "many", "number", "numbers"]


@dataclass(frozen=True)
class Attribute:
    """``ranges``: of each number, ends included; of all numbers where there may be any count of
    them up to ``most``. A flag is absent from a file where it is false."""

    doc: str
    ranges: tuple[Range, ...] = ()
    kind: str = "number"  # numbers, many, flag
    most: int = 0

    def read(self, name: str, attrs: Fields) -> Any:
        """The value in a file; FalconetError names the field."""
        if self.kind == "flag":
            return name in attrs.value and attrs.flag(name)
        if self.kind == "number":
            return attrs.whole(name, *self.ranges[0])
        found = attrs.entries(name)
        ranges = self._each(len(found))
        if len(found) != len(ranges):
            fault(f"{attrs.field}.{name}", f"{len(found)} numbers where there are {len(ranges)}")
        return tuple(whole(v, f"{attrs.field}.{name}", *r) for v, r in zip(found, ranges))

    def _each(self, count: int) -> tuple[Range, ...]:
        """A range for each of ``count`` numbers, if there may be so many."""
        if self.kind != "many":
            return self.ranges
        return self.ranges * max(1, min(count, self.most))

    def faults(self, name: str, value: Any) -> Iterator[str]:
        values = value if self.kind in ("numbers", "many") else (value,) * len(self.ranges)
        ranges = self._each(len(values))
        if len(values) != len(ranges):
            some = list(values) if self.kind == "numbers" else f"of {len(values)} numbers"
            yield f"{name} {some} must have {len(ranges)} entries; mend the export"
        for v, (lo, hi) in zip(values, ranges):
            if v < lo:
                yield f"{name} {v} is too small; use {lo} or more"
            if v > hi:
                yield f"{name} {v} exceeds {hi}; use a smaller one"


def number(doc: str, range_: Range, default: int) -> Any:
    """A field that is a whole number."""
    return dataclasses.field(default=default, metadata={"is": Attribute(doc, (range_,))})


def numbers(doc: str, *ranges: Range, default: Any = dataclasses.MISSING) -> Any:
    """A field that is a tuple of whole numbers."""
    return dataclasses.field(default=default, metadata={"is": Attribute(doc, ranges, "numbers")})


def many(doc: str, range_: Range, most: int) -> Any:
    """A field that is a tuple of 1 to ``most`` whole numbers."""
    return dataclasses.field(default=(0,), metadata={"is": Attribute(doc, (range_,), "many", most)})


def flag(doc: str) -> Any:
    """A field that is false unless said."""
    return dataclasses.field(default=False, metadata={"is": Attribute(doc, (), "flag")})
