"""VCD files (IEEE 1364-2005, 18.2) as values by clock cycle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain, islice, takewhile
from pathlib import Path

from falconet.isa import FalconetError
from falconet.isa.errors import shown

Values = tuple[int | None, ...]

__all__ = ["Name", "Recording", "Wave", "handshakes", "matching", "names", "record"]


@dataclass(frozen=True)
class Name:
    """A signal of a file. ``block`` is the path of its module, ``code`` what its changes are
    listed under."""

    block: tuple[str, ...]
    signal: str
    width: int
    code: str

    @property
    def path(self) -> str:
        return ".".join((*self.block, self.signal))


@dataclass(frozen=True)
class Wave:
    """A signal, and its value in each cycle of a recording: before the rising edge that ends it;
    None if it is unknown."""

    name: Name
    values: Values

    @property
    def changes(self) -> bool:
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Recording:
    """Cycles [begin, begin + cycles) of a file. Cycle 0 is that which the first rising edge ends
    in a file that begins at time 0."""

    begin: int
    cycles: int
    waves: tuple[Wave, ...]


class _File:
    """A VCD file, word by word; what is none is refused."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def words(self) -> Iterator[str]:
        try:
            with self.file.open(encoding="latin-1") as lines:
                for line in lines:
                    yield from line.split()
        except OSError as e:
            raise FalconetError(f"{self.file}: {e.strerror or e}; give a VCD file") from None

    def no(self, why: str) -> FalconetError:
        return FalconetError(f"{self.file}: no VCD file ({why}); make one with 'falconet compare "
                             "--waveform', or of a bench with WAVES=1")

    def declarations(self, words: Iterator[str]) -> Iterator[list[str]]:
        """``["var", type, size, code, name, range]`` and such; ends with the last of them."""
        for word in words:
            if not word.startswith("$"):
                raise self.no(f"it has {shown(word)} among its declarations")
            inside = list(takewhile(lambda w: w != "$end", words))
            if word == "$enddefinitions":
                return
            yield [word[1:], *inside]
        raise self.no("it ends before $enddefinitions")

    def changes(self) -> Iterator[tuple[str | None, int | None]]:
        """``(None, time)``, and ``(code, value)`` of each change; None for an unknown bit."""
        words = self.words()
        for _ in self.declarations(words):
            pass
        for word in words:
            kind = word[0]
            if kind == "#":
                if not word[1:].isdecimal():
                    raise self.no(f"time {shown(word)}")
                yield None, int(word[1:])
            elif kind in "01":
                yield word[1:], int(kind)
            elif kind in "xXzZ":
                yield word[1:], None
            elif kind in "bB":
                value = word[1:]
                yield next(words, ""), int(value, 2) if set(value) <= {"0", "1"} and value else None
            elif kind in "rRsS":
                next(words, "")
            elif word == "$comment":
                for _ in takewhile(lambda w: w != "$end", words):
                    pass
            elif kind != "$":  # $dumpvars and its $end enclose changes
                raise self.no(f"{shown(word)} is no change")


def names(file: Path) -> list[Name]:
    """All signals of a file, in its order."""
    vcd = _File(file)
    found, block = list[Name](), list[str]()
    for kind, *inside in vcd.declarations(vcd.words()):
        if kind == "scope" and len(inside) == 2:
            block.append(inside[1])
        elif kind == "upscope" and block:
            block.pop()
        elif kind == "var":
            if len(inside) < 4 or not inside[1].isdecimal():
                raise vcd.no(f"$var {' '.join(inside)[:60]}")
            signal = inside[3].removeprefix("\\")  # an escaped identifier
            found.append(Name(tuple(block), signal, int(inside[1]), inside[2]))
    if not found:
        raise vcd.no("no signal is in it")
    return found


def matching(known: Sequence[Name], patterns: Sequence[str]) -> list[Name]:
    """Signals whose path ends as a pattern says (``mac.*valid``), in the order of the patterns;
    of a signal that several modules show, the first.

    Raises
    ------
    FalconetError
        Nothing is called so.
    """
    chosen: dict[str, Name] = {}
    for pattern in patterns:
        own = [n for n in known if f".{n.path}".endswith(f".{pattern}")
               or fnmatchcase(f".{n.path}", f"*.{pattern}")]
        if not own:
            raise FalconetError(f"no signal is called '{pattern}'; --list shows how they are")
        for n in own:
            chosen.setdefault(n.code, n)
    return list(chosen.values())


def handshakes(known: Sequence[Name]) -> list[Name]:
    """Valid and ready of every stream, outer modules first."""
    chosen: dict[str, Name] = {}
    for n in sorted(known, key=lambda n: len(n.block)):
        if n.width == 1 and n.signal.endswith(("valid", "ready")):
            chosen.setdefault(n.code, n)
    return list(chosen.values())


def _clock(file: Path, known: Sequence[Name], clock: str) -> Name:
    found = [n for n in known if n.signal == clock or n.path == clock]
    if not found:
        raise FalconetError(f"{file}: no signal is called '{clock}'; name the clock with --clock")
    return min(found, key=lambda n: len(n.block))


def record(file: Path, known: Sequence[Name], chosen: Sequence[Name], *, begin: int | None = None,
           cycles: int = 40, clock: str = "clk") -> Recording:
    """``cycles`` cycles of the signals ``chosen`` from cycle ``begin`` on (None: the first there
    is), fewer if the file ends before.

    Raises
    ------
    FalconetError
        There is no such clock, or none of these cycles is in the file.
    """
    edges = _edges(file, _clock(file, known, clock).code, [n.code for n in chosen])
    two = list(islice(edges, 2))
    if len(two) < 2:
        raise FalconetError(f"{file}: '{clock}' rises {len(two)} times; name the clock with "
                            "--clock, or give a longer file")
    period = two[1][0] - two[0][0]
    rows: list[Values] = []
    for time, values in chain(two, edges):
        cycle = time // period
        begin = cycle if begin is None else begin
        if cycle >= begin + cycles:
            break
        if cycle >= begin:
            rows.append(values)
    if not rows or begin is None:
        raise FalconetError(f"{file}: it ends before cycle {begin}; name an earlier one")
    first = max(begin, two[0][0] // period)
    return Recording(first, len(rows), tuple(
        Wave(n, tuple(row[i] for row in rows)) for i, n in enumerate(chosen)))


def _edges(file: Path, clock: str, codes: Sequence[str]) -> Iterator[tuple[int, Values]]:
    """Time of each rising edge of ``clock``, and what the signals were until then.

    What changes at the time of the edge has its new value after it, wherever the file has it.
    """
    state: dict[str, int | None] = dict.fromkeys(codes)
    new: dict[str, int | None] = {}
    now, level, rose = 0, 0, False
    for code, value in _File(file).changes():
        if code is None:
            if rose:
                yield now, tuple(state.values())
            state.update(new)
            new, now, rose = {}, value or 0, False
            continue
        if code == clock:
            rose = rose or (value == 1 and level == 0)
            level = value or 0
        if code in state:
            new[code] = value
    if rose:
        yield now, tuple(state.values())
