"""Handoff files, as the simulated board takes them: Falconet's reader, then PYNQ's parsers.

PYNQ lives in an environment of its own (tests/board), whose packages are put behind those of this
one when the first file is taken. So this is for a process that does nothing else.
"""

from __future__ import annotations

import functools
import random
import sys
import warnings
from pathlib import Path
from typing import Any

from data_targets import folder
from mutate import HUGE, change_bytes, change_text

from falconet.isa import BOARDS, Host
from falconet_hw.board.hwh import hwh

__all__ = ["good", "make_hwh", "take_hwh"]

sys.path.append(str(Path(__file__).parents[1] / "board"))
_RELEASE = "3.1.2"


@functools.cache
def _texts() -> list[str]:
    return [hwh(board) for board in BOARDS.values() if board.host is not Host.UART]


def good() -> list[bytes]:
    return [text.encode() for text in _texts()]


def make_hwh(rng: random.Random) -> bytes:
    text = rng.choice(_texts())
    for _ in range(rng.randint(1, 2)):
        text = _change(rng, text)
    data = text.encode("utf-8", "surrogatepass")
    return change_bytes(rng, data) if rng.randrange(12) == 0 else data


def _change(rng: random.Random, text: str) -> str:
    """Of a line: its attributes, its place; else as any text."""
    kind = rng.randrange(8)
    if kind == 0:
        return change_text(rng, text, 2)
    lines = text.split("\n")
    at = rng.randrange(1, len(lines))
    if kind < 5 and '="' in lines[at]:
        parts = lines[at].split('"')
        n = rng.randrange(1, len(parts), 2)
        parts[n] = rng.choice(("", "0", "-1", "0x", "1e9", "falconet", "ps", "xilinx.com:ip:x:1.0",
                               "a:b", "&#10;", "&lt;", "é" * 300, *map(str, HUGE), parts[n] * 2,
                               *(line.split('"')[1] for line in rng.sample(lines, 3)
                                 if '"' in line)))
        if rng.randrange(5) == 0:  # the attribute's name
            words = parts[n - 1].rsplit(" ", 1)
            parts[n - 1] = words[0] + " " + rng.choice(("NAME=", "VALUE=", "X="))
        lines[at] = '"'.join(parts)
    elif kind < 7 and at < len(lines) - 1:  # an element with all that is in it
        indent = len(lines[at]) - len(lines[at].lstrip())
        end = at + 1
        while end < len(lines) and len(lines[end]) - len(lines[end].lstrip()) > indent:
            end += 1
        end += lines[end : end + 1] == [lines[at][:indent] + "</" + lines[at].split()[0][1:].rstrip(
            ">") + ">"]
        block = lines[at:end]
        del lines[at:end]
        if kind == 6:
            to = rng.randrange(1, len(lines))
            lines[to:to] = block * rng.choice((1, 1, 2, 30))
    return "\n".join(lines)


@functools.cache
def _device() -> Any:
    from environments import environment

    python, variables = environment(_RELEASE)
    sys.path.append(variables["PYTHONPATH"])
    sys.path += map(str, (Path(python).parents[1] / "lib").glob("*/site-packages"))
    from falconet_sim.hosts.pynq_device import SimulatedDevice

    return SimulatedDevice()


def take_hwh(data: bytes) -> None:
    path = folder() / "design.hwh"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what PYNQ makes do with
        _device().get_bitfile_metadata(str(path.with_suffix(".bit")))
