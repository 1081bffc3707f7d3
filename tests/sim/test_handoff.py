"""Which board a handoff file is for, and what is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from falconet.isa import BOARDS, FalconetError, Host
from falconet_hw.board.hwh import hwh
from falconet_sim.hosts.handoff import board_of

ZYNQ = [b for b in BOARDS.values() if b.host is not Host.UART]
TEXT = hwh(ZYNQ[0])


@pytest.mark.parametrize("board", ZYNQ, ids=lambda b: b.name)
def test_boards(board: object, tmp_path: Path) -> None:
    path = tmp_path / "a.hwh"
    path.write_text(hwh(board))  # type: ignore[arg-type]
    assert board_of(path) is board


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", r":1: malformed XML \(no element found\); copy it again"),
    "cut": (lambda: TEXT[:900].encode(), r":\d+: malformed XML"),
    "encoding": (lambda: TEXT.replace("UTF-8", "none").encode(), "in an encoding that is not"),
    "entities": (lambda: b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "a document type is not"),
    "depth": (lambda: b"<a>" * 17, "nested deeper than 16; copy it again"),
    "elements": (lambda: b"<a>" + b"<b/>" * 50_000, "more than 50,000 elements"),
    "size": (lambda: b" " * ((4 << 20) + 1), "has more than 4,194,304 bytes"),
    "another design": (lambda: TEXT.replace('INSTANCE="falconet"', 'INSTANCE="dma"').encode(),
                       "describes no known board with Falconet on it"),
    "board of no system": (lambda: TEXT.replace(f'"BOARD" VALUE="{ZYNQ[0].name}"',
                                                '"BOARD" VALUE="ecp5"').encode(), "no known board"),
    "number": (lambda: TEXT.replace('NAME="ARCH_HASH" VALUE="0x', 'NAME="ARCH_HASH" VALUE="x'
                                    ).encode(), "ARCH_HASH is x.*make the bitstream again"),
    "digits": (lambda: TEXT.replace('NAME="ISA_VERSION" VALUE="', 'NAME="ISA_VERSION" VALUE="'
                                    + "9" * 5000).encode(), "ISA_VERSION is 99"),
}


@pytest.mark.parametrize("bad", BAD)
def test_refused(bad: str, tmp_path: Path) -> None:
    make, says = BAD[bad]
    path = tmp_path / "a.hwh"
    path.write_bytes(make())
    with pytest.raises(FalconetError, match=f"^{path}.*{says}") as refusal:
        board_of(path)
    assert str(refusal.value).isprintable()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FalconetError, match=r"b\.hwh: No such file.*; copy it again"):
        board_of(tmp_path / "b.hwh")
