"""Forms of JSON objects: frozen dataclasses whose fields know what they may be.

From one class come the check of what a file says (:func:`read`), the JSON of an object
(:func:`as_json`), and the description for others (:func:`schema`, JSON Schema 2020-12).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from falconet.isa import checks
from falconet.isa.checks import Fields, fault

__all__ = ["Rule", "anything", "as_json", "choice", "entry", "flag", "many", "number", "part",
           "read", "schema", "text", "whole"]

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """``take(value, field)`` returns the value or raises a FalconetError that names the field."""

    take: Callable[[Any, str], Any]
    schema: dict[str, Any]
    plain: bool = True
    """Whether a list of such values names the list, not the entry."""


def text(*, empty: bool = False) -> Rule:
    return Rule(lambda value, field: checks.text(value, field, empty=empty),
                {"type": "string", "minLength": int(not empty), "maxLength": checks.TEXT})


def choice(*choices: str) -> Rule:
    return Rule(lambda value, field: checks.choice(value, field, choices), {"enum": list(choices)})


def flag() -> Rule:
    return Rule(checks.flag, {"type": "boolean"})


def whole(lo: int, hi: int) -> Rule:
    return Rule(lambda value, field: checks.whole(value, field, lo, hi),
                {"type": "integer", "minimum": lo, "maximum": hi})


def number(lo: float, hi: float) -> Rule:
    most = {"maximum": hi} if math.isfinite(hi) else {}
    return Rule(lambda value, field: checks.number(value, field, lo, hi),
                {"type": "number", "minimum": lo, **most})


def anything() -> Rule:
    """An object that is described elsewhere."""
    return Rule(lambda value, field: Fields(value, field).value, {"type": "object"})


def part(cls: type[Any]) -> Rule:
    """An object of a form."""
    return Rule(lambda value, field: read(cls, value, field),
                {"$ref": f"#/$defs/{cls.__name__}"}, plain=False)


def many(of: Rule, least: int = 0, most: int | None = None, *, empty: bool = False) -> Rule:
    """A list of ``least`` to ``most`` entries, or of none if ``empty``; read as a tuple."""
    def take(value: Any, field: str) -> tuple[Any, ...]:
        entries = checks.entries(value, field)
        count = len(entries)
        if not (least <= count <= (count if most is None else most) or (empty and not count)):
            there = f"{least}" if most == least else f"{least} or more" if most is None else (
                f"{least} to {most}")
            fault(field, f"{count} entries where there are {there}")
        if of.plain:
            return tuple([of.take(entry, field) for entry in entries])
        return tuple([of.take(entry, f"{field}[{i}]") for i, entry in enumerate(entries)])

    listed: dict[str, Any] = {"type": "array", "items": of.schema}
    bounds = {**({"minItems": least} if least else {}),
              **({} if most is None else {"maxItems": most})}
    if not (empty and least):
        return Rule(take, listed | bounds, plain=False)
    return Rule(take, listed | {"anyOf": [bounds, {"maxItems": 0}]}, plain=False)


def entry(rule: Rule, doc: str, *, optional: bool = False) -> Any:
    """A field; None stands for an optional one that is absent."""
    return dataclasses.field(default=None if optional else dataclasses.MISSING,
                             metadata={"is": rule, "doc": doc}, kw_only=True)


def read(cls: type[T], value: Any, field: str) -> T:
    """An object of a form out of JSON; keys that the form does not have are left alone."""
    given, found = Fields(value, field), {}
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        if f.default is None and f.name not in given.value:
            continue
        found[f.name] = f.metadata["is"].take(given.get(f.name), f"{field}.{f.name}")
    return cls(**found)


def as_json(value: Any) -> Any:
    """An object of a form, or a part of one, as JSON; the inverse of :func:`read`."""
    if dataclasses.is_dataclass(value):
        return {f.name: as_json(own) for f in dataclasses.fields(value)
                if (own := getattr(value, f.name)) is not None}
    return [as_json(v) for v in value] if isinstance(value, tuple) else value


def _object(cls: type[Any]) -> dict[str, Any]:
    fields = dataclasses.fields(cls)
    return {"type": "object", "description": " ".join((cls.__doc__ or "").split()),
            "properties": {f.name: {"description": f.metadata["doc"], **f.metadata["is"].schema}
                           for f in fields},
            "required": [f.name for f in fields if f.default is dataclasses.MISSING]}


def _forms(value: Any) -> set[str]:
    """Names of the forms that a schema refers to."""
    if isinstance(value, dict):
        own = {value["$ref"].rpartition("/")[2]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(_forms(v) for v in value.values()))
    return set().union(*(_forms(v) for v in value)) if isinstance(value, list) else set()


def schema(cls: type[Any], *parts: type[Any]) -> dict[str, Any]:
    """The JSON Schema of a form; ``parts`` are those that it refers to."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_object(cls),
             "$defs": {part.__name__: _object(part) for part in parts}}
    assert _forms(found) == set(found["$defs"])
    return found
