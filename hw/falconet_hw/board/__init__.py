"""Boards: the machine with what surrounds it on a chip, down to vendors' primitives and pins."""

from __future__ import annotations

from pathlib import Path

from amaranth.lib.wiring import Component

from falconet.isa import Board, Host
from falconet.isa.files import written
from falconet_hw.board.ecp5 import ECP5
from falconet_hw.board.host import HostDesign
from falconet_hw.board.zynq7 import ZYNQ7
from falconet_hw.board.zynqmp import ZYNQMP
from falconet_hw.build.verilog import to_verilog

__all__ = ["HOSTS", "TOP", "board_top", "host_of", "write_board_verilog"]

TOP = "falconet_top"
"""Name of the top module."""

HOSTS: dict[Host, HostDesign] = {Host.ZYNQ7: ZYNQ7, Host.ZYNQMP: ZYNQMP, Host.UART: ECP5}


def host_of(board: Board) -> HostDesign:
    return HOSTS[board.host]


def board_top(board: Board) -> Component:
    """The whole design of a board; its members are the pins."""
    return host_of(board).top(board)


def write_board_verilog(board: Board, path: str | Path) -> None:
    """Write a board's design as module ``falconet_top``; vendors' primitives are left as they are.

    The same board always gives the same text.
    """
    with written(Path(path)) as part:
        part.write_text(to_verilog(board_top(board), TOP))
