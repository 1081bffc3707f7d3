"""YAML as version 1.2 of its specification has it, from PyYAML's events.

PyYAML resolves plain texts as YAML 1.1: ``no`` is False there, ``1:30`` is 90, ``4e-3`` a text.
The core schema of 1.2 knows ``true`` and ``false`` alone, and numbers as other languages write
them. What a data set or a recipe has no use for is refused: aliases (which multiply), tags, two
keys of one name, and more than :data:`LIMITS` say.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

import yaml

from falconet.isa import FalconetError
from falconet.isa.errors import shown
from falconet.isa.limits import LIMITS
from falconet_models.texts import read_text

__all__ = ["NAMES", "dump_yaml", "parse_yaml", "read_yaml"]

NAMES = ("names", "labels")
"""Under these keys every plain text is a text: ``1.10``, ``null`` and ``true`` are names."""

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
                    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {text: value for value, texts in (
    (None, ("", "~", "null", "Null", "NULL")), (True, ("true", "True", "TRUE")),
    (False, ("false", "False", "FALSE"))) for text in texts}
_LIMITS = LIMITS["yaml"]


def _plain(text: str) -> Any:
    """What a plain scalar is in the core schema; ValueError if it has too many digits."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text.lstrip("+-0xo")) > _LIMITS.digits:
            raise ValueError
        return int(text, 0 if text[1:2] in ("x", "o") else 10)
    if _FLOAT.fullmatch(text):
        return float(re.sub(r"\.(?=[in])", "", text.lower()))
    return text


class _Builder:
    """Values of events, on a stack of the lists and dictionaries that are open."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.root: list[Any] = []
        self.open: list[tuple[Any, list[Any], bool]] = [(self.root, [], False)]
        self.nodes = 0

    def fault(self, event: Any, why: str) -> NoReturn:
        raise FalconetError(f"{self.where}:{event.start_mark.line + 1}: {why}")

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            self.fault(event, f"the alias {shown('*' + event.anchor)} is not taken; write out what "
                              "it stands for")
        if isinstance(event, yaml.CollectionEndEvent):
            self.open.pop()
        elif isinstance(event, yaml.DocumentStartEvent) and self.root:
            self.fault(event, "a second document begins; keep one of them")
        elif isinstance(event, yaml.NodeEvent):
            self.nodes += 1
            if self.nodes > _LIMITS.nodes:
                self.fault(event, f"there are more than {_LIMITS.nodes:,} values; make it shorter")
            self._node(event)

    def _node(self, event: Any) -> None:
        holder, key, text = self.open[-1]
        is_key = isinstance(holder, dict) and not key
        if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
            self.fault(event, f"the tag {shown(event.tag)} is not taken; leave it out")
        if isinstance(event, yaml.ScalarEvent):
            value = event.value
            # of names, the numbers before them are numbers
            if event.tag is None and event.style is None and (is_key or not text):
                try:
                    value = _plain(value)
                except ValueError:
                    self.fault(event, f"a number of more than {_LIMITS.digits} digits, "
                                      f"{shown(value)}; make it shorter")
            if is_key:
                self._key(event, value, holder, key)
            else:
                self._put(holder, key, value)
            return
        if is_key:
            self.fault(event, "a list or mapping stands for a key; write a text")
        if len(self.open) > _LIMITS.depth:
            self.fault(event, f"nested deeper than {_LIMITS.depth}; make it flat")
        below = text or (key and key[0] in NAMES)
        value = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        self._put(holder, key, value)
        self.open.append((value, [], bool(below)))

    def _key(self, event: Any, value: Any, holder: dict[Any, Any], key: list[Any]) -> None:
        if type(value) not in (str, int):
            self.fault(event, f"the key {shown(event.value)} is no text; put it into quotes")
        if value in holder:
            self.fault(event, f"the key {shown(value)} is there twice; remove one")
        key.append(value)

    @staticmethod
    def _put(holder: Any, key: list[Any], value: Any) -> None:
        if isinstance(holder, dict):
            holder[key.pop()] = value
        else:
            holder.append(value)


def parse_yaml(text: str, where: str) -> Any:
    """The value of a document, None of an empty one; ``where`` is what errors call it."""
    builder = _Builder(where)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.take(event)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        line = mark.line + 1 if mark else text.count("\n", 0, getattr(e, "position", 0)) + 1
        why = getattr(e, "problem", None) or getattr(e, "reason", None) or "not allowed"
        raise FalconetError(f"{where}:{line}: malformed YAML ({shown(why)[1:-1]}); correct it"
                            ) from None
    except (ValueError, OverflowError):  # of escapes and directives, which it does not check
        raise FalconetError(f"{where}: malformed YAML (an escape or directive has too large a "
                            "number); correct it") from None
    return builder.root[0] if builder.root else None


def read_yaml(path: Path, advice: str) -> Any:
    """As :func:`parse_yaml`, of a file; ``advice`` ends the sentence if it cannot be read."""
    return parse_yaml(read_text(path, "yaml", advice), str(path))


# What is a text stays one, whether a reader goes by 1.1 or 1.2.
_Dumper: Any = type("_Dumper", (yaml.SafeDumper,), {})
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(f"(?:{_INTEGER.pattern})$"),
                              list("-+0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"(?:{_FLOAT.pattern})$"),
                              list("-+.0123456789"))


def dump_yaml(value: Any) -> str:
    """Inverse of :func:`parse_yaml`, keys in their order."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text
