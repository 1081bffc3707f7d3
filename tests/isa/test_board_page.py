"""docs/board.md says of the boards what their table says."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconet.isa import Host
from falconet.isa.machine.boards import BOARDS, Board

PAGE = (Path(__file__).parents[2] / "docs/board.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_row_of_the_board(board: Board) -> None:
    row = next(line for line in PAGE.splitlines()
               if line.startswith("|") and f"`{board.name}`" in line)
    _, chip, machine, clock, _ = (cell.strip() for cell in row.strip("|").split("|"))
    assert board.part.lower().startswith(chip.lower())
    assert f"preset `{board.preset}`" in machine
    assert clock == f"{board.clock_mhz:g} MHz"


@pytest.mark.parametrize("host", [Host.ZYNQ7, Host.ZYNQMP])
def test_addresses(host: Host) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {host.value} ("))
    assert {f"0x{b.registers:08X}" for b in BOARDS.values() if b.host is host} == {
        word.strip(",|") for word in row.split() if word.startswith("0x")}


def test_device_tree_node() -> None:
    z2 = BOARDS["pynq-z2"]
    assert f"falconet@{z2.registers:x} {{" in PAGE
    assert f"reg = <0x{z2.registers:x} 0x{z2.span:x}>;" in PAGE
    memory = f"{BOARDS['ecp5'].memory_bytes >> 10} KiB of memory on the chip"
    assert memory in " ".join(PAGE.split())
