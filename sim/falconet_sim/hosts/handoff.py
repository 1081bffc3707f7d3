"""Which board a handoff file (``.hwh``) is for, told before PYNQ's parsers see it.

They are made for what Vivado writes: another file brings them down, or takes what memory there is.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from falconet.isa import BOARDS, ISA_VERSION, Board, FalconetError
from falconet.isa.errors import shown
from falconet.isa.limits import LIMITS

__all__ = ["board_of"]

_LIMITS = LIMITS["hwh"]
_AGAIN = "copy it again from where the bitstream was made"


def board_of(path: Path) -> Board:
    """The board; its settings are those of this Falconet.

    Raises
    ------
    FalconetError
        for a file that is no XML, is beyond the limits of docs/security.md, or is for another
        machine than a board's of this Falconet.
    """
    found = _parameters(path)
    board = BOARDS.get(found.get("BOARD", ""))
    if board is None or not board.linux:
        raise FalconetError(f"{path}: it describes no known board with Falconet on it; load the "
                            "bitstream that 'make bitstream' made")
    for name, mine in (("ISA_VERSION", ISA_VERSION), ("ARCH_HASH", board.arch.hash)):
        text = found.get(name, "0")
        if _number(text) != mine:
            raise FalconetError(f"{path}: {name} is {shown(text)[1:-1]}, this Falconet has "
                                f"0x{mine:x}; make the bitstream again")
    return board


def _number(text: str) -> int | None:
    try:
        return int(text, 0) if len(text) <= _LIMITS.digits else None
    except ValueError:
        return None


def _parameters(path: Path) -> dict[str, str]:
    """Of the module ``falconet``."""
    try:
        with path.open("rb") as f:
            data = f.read(_LIMITS.bytes + 1)
    except OSError as e:
        raise FalconetError(f"{path}: {e.strerror}; {_AGAIN}") from None
    if len(data) > _LIMITS.bytes:
        raise FalconetError(f"{path}: has more than {_LIMITS.bytes:,} bytes; {_AGAIN}")
    parser = expat.ParserCreate()
    found: dict[str, str] = {}
    tags: list[tuple[str, str]] = []
    nodes = 0

    def fault(why: str) -> NoReturn:
        raise FalconetError(f"{path}:{parser.CurrentLineNumber}: {why}; {_AGAIN}")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal nodes
        nodes += 1
        if len(tags) == _LIMITS.depth:
            fault(f"nested deeper than {_LIMITS.depth}")
        if nodes > _LIMITS.nodes:
            fault(f"there are more than {_LIMITS.nodes:,} elements")
        tags.append((tag, attributes.get("INSTANCE", "")))
        if tag == "PARAMETER" and ("MODULE", "falconet") in tags:
            found.setdefault(attributes.get("NAME", ""), attributes.get("VALUE", ""))

    def end(tag: str) -> None:
        tags.pop()

    def doctype(*_: object) -> None:
        fault("a document type is not taken")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as e:
        raise FalconetError(f"{path}:{e.lineno}: malformed XML ({expat.errors.messages[e.code]}); "
                            f"{_AGAIN}") from None
    except (ValueError, LookupError):
        raise FalconetError(f"{path}: in an encoding that is not known; {_AGAIN}") from None
    return found
