"""Instructions as data: named bit fields, an encoder that refuses, a decoder that checks."""

from __future__ import annotations

import dataclasses
import enum
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from falconet.isa.errors import FalconetError

__all__ = [
    "INSTRUCTION_BITS", "Engine", "Field", "Instruction", "decode", "instruction_classes", "place",
]

INSTRUCTION_BITS = 512


class Engine(enum.IntEnum):
    """The five engines; the order is that of the ``wait_*`` fields."""

    LOAD = 0
    MAC = 1
    VEC = 2
    STORE = 3
    DETECT = 4


@dataclass(frozen=True)
class Field:
    """One bit field; ``minimum`` and ``maximum`` narrow its range. The machine checks both."""

    name: str
    width: int
    doc: str
    signed: bool = False
    minimum: int | None = None
    maximum: int | None = None
    offset: int = 0

    @cached_property
    def lo(self) -> int:
        if self.minimum is not None:
            return self.minimum
        return -(1 << (self.width - 1)) if self.signed else 0

    @cached_property
    def hi(self) -> int:
        if self.maximum is not None:
            return self.maximum
        return (1 << (self.width - self.signed)) - 1


def place(fields: Sequence[Field]) -> tuple[Field, ...]:
    """The fields one behind the other, from bit 0 on."""
    offsets = itertools.accumulate((f.width for f in fields), initial=0)
    return tuple(dataclasses.replace(f, offset=at) for f, at in zip(fields, offsets))


HEADER = (
    Field("opcode", 8, "which instruction this is"),
    *(
        Field(f"wait_{e.name.lower()}", 16,
              f"start only when at least this many instructions of the {e.name} engine have "
              "retired since the start of the program (modulo 2**16)")
        for e in Engine
    ),
)

_CLASSES: dict[int, type[Instruction]] = {}


class Instruction:
    """Base of all instructions: keyword arguments are fields, absent ones are 0 (or the minimum).

    Raises
    ------
    FalconetError
        ``MAC.n_y=0 not in [1, 4095]`` for a value outside its field, before anything is masked.
    """

    mnemonic: ClassVar[str]
    opcode: ClassVar[int]
    engine: ClassVar[Engine | None]
    fields: ClassVar[tuple[Field, ...]] = ()
    layout: ClassVar[tuple[Field, ...]]
    names: ClassVar[frozenset[str]]

    def __init_subclass__(cls) -> None:
        if cls.opcode in _CLASSES:
            raise TypeError(f"opcode {cls.opcode} of {cls.mnemonic} is taken")
        placed = place((*HEADER, *cls.fields))
        at = placed[-1].offset + placed[-1].width
        if at > INSTRUCTION_BITS:
            raise TypeError(f"{cls.mnemonic} needs {at} bits, more than {INSTRUCTION_BITS}")
        cls.layout, cls.names = placed, frozenset(f.name for f in placed)
        if len(cls.names) != len(placed):
            raise TypeError(f"{cls.mnemonic} names a field twice")
        _CLASSES[cls.opcode] = cls

    def __init__(self, **values: int) -> None:
        for name in values.keys() - self.names:
            raise TypeError(f"{self.mnemonic} has no field {name}")
        for f in self.layout:
            v = int(values.get(f.name, max(0, f.lo)))
            if f.name == "opcode":
                v = self.opcode
            if not f.lo <= v <= f.hi:
                raise FalconetError(f"{self.mnemonic}.{f.name}={v} not in [{f.lo}, {f.hi}]")
            setattr(self, f.name, v)

    def __getattr__(self, name: str) -> int:  # for type checkers: every field is an int
        raise AttributeError(f"{type(self).__name__} has no field {name}")

    @classmethod
    def field(cls, name: str) -> Field:
        """The field of this name; KeyError if there is none."""
        found = {f.name: f for f in cls.layout}
        return found[name]

    def values(self) -> Iterator[tuple[Field, int]]:
        for f in self.layout:
            yield f, getattr(self, f.name)

    def replace(self, **changes: int) -> Instruction:
        now = {f.name: v for f, v in self.values()}
        now.update(changes)
        return type(self)(**now)

    def encode(self) -> bytes:
        word = 0
        for f, v in self.values():
            word |= (v & ((1 << f.width) - 1)) << f.offset
        return word.to_bytes(INSTRUCTION_BITS // 8, "little")

    def __eq__(self, other: Any) -> bool:
        return type(self) is type(other) and self.encode() == other.encode()

    def __hash__(self) -> int:
        return hash(self.encode())

    def __str__(self) -> str:
        shown = [f"{f.name}={v}" for f, v in self.values() if f.name != "opcode" and v]
        return f"{self.mnemonic:<6} " + " ".join(shown)

    __repr__ = __str__


def decode(data: bytes) -> Instruction:
    """The instruction in 64 bytes.

    Raises FalconetError for an unknown opcode, a field outside its range or a set unused bit.
    """
    word = int.from_bytes(data, "little")
    cls = _CLASSES.get(word & 0xFF)
    if cls is None:
        raise FalconetError(f"opcode {word & 0xFF} is unknown; the program is damaged")
    values, used = {}, 0
    for f in cls.layout:
        v = (word >> f.offset) & ((1 << f.width) - 1)
        if f.signed and v >> (f.width - 1):
            v -= 1 << f.width
        values[f.name] = v
        used = f.offset + f.width
    if word >> used:
        raise FalconetError(f"{cls.mnemonic} has bits set beyond its last field")
    return cls(**values)


def instruction_classes() -> list[type[Instruction]]:
    return [_CLASSES[k] for k in sorted(_CLASSES)]
