"""Dataclasses from JSON or YAML that anybody may have written, checked by pydantic."""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from falconet.isa import FalconetError, near
from falconet.isa.errors import shown

__all__ = ["STRICT", "Finite", "Part", "Range", "Side", "Weight", "checked"]

T = TypeVar("T")


def _both(value: Any) -> Any:
    if type(value) is int:
        return value, value
    return tuple(value) if isinstance(value, list) else value


def _rising(of: tuple[float, float]) -> tuple[float, float]:
    if of[0] > of[1]:
        raise ValueError("the least is more than the greatest")
    return of


STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""``__pydantic_config__`` of a dataclass: no unknown field, no number as text, no NaN."""

Part = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Finite = Annotated[float, Field(ge=-1e6, le=1e6)]
_Scale = Annotated[float, Field(ge=0.05, le=20)]
Range = Annotated[tuple[_Scale, _Scale], AfterValidator(_rising)]
"""Least and greatest factor."""
_Extent = Annotated[int, Field(ge=1, le=8192)]
Side = Annotated[tuple[_Extent, _Extent], BeforeValidator(_both)]
"""[height, width]; one number stands for both."""


@functools.cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)  # which takes longer to make than a recipe to check


def checked(cls: type[T], values: Any, where: str = "") -> T:
    """A dataclass of plain values.

    Raises
    ------
    FalconetError
        naming the first field that is unknown, of the wrong kind or out of bounds.
    """
    before = f"{where}: " if where else ""
    kind: Any = cls  # to mypy a class of T has no hash
    try:
        # as JSON, where a list stands for a tuple but a text for no number
        found: T = _adapter(kind).validate_json(json.dumps(values))
        return found
    except ValidationError as e:
        first = e.errors(include_url=False, include_context=False)[0]
        place = first["loc"]
        name = shown(".".join(map(str, place)))[1:-1] or "all of it"
        if first["type"] == "unexpected_keyword_argument":
            known = _fields(cls, place[:-1])
            said = f"no such field; {near(place[-1], known)}there are {', '.join(known)}"
        else:
            said = f"{shown(first['input'])}: {first['msg'].lower()}; mend it"
        raise FalconetError(f"{before}{name}: {said}") from None
    except FalconetError as e:
        raise FalconetError(f"{before}{e}") from None
    except (TypeError, ValueError, RecursionError):  # of json: what no text can say
        raise FalconetError(f"{before}not plain texts, numbers and lists of such; mend it"
                            ) from None


def _fields(cls: Any, place: tuple[int | str, ...]) -> list[str]:
    """Those of the dataclass at a place below ``cls``."""
    for name in place:
        cls = typing.get_type_hints(cls)[str(name)]
    return [f.name for f in dataclasses.fields(cls)]
