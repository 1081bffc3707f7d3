"""Boards: the machine with what surrounds it on a chip, down to vendors' primitives and pins."""

from __future__ import annotations

from pathlib import Path

from amaranth.lib.wiring import Component

from falconet.isa import Board, Host
from falconet_hw.verilog import to_verilog

__all__ = ["TOP", "board_top", "write_board_verilog"]

TOP = "falconet_top"
"""Name of the top module."""


def board_top(board: Board) -> Component:
    """The whole design of a board; its members are the pins."""
    if board.host is Host.ZYNQ7:
        from falconet_hw.boards.zynq7 import Zynq7Top

        return Zynq7Top(arch=board.arch)
    if board.host is Host.ZYNQMP:
        from falconet_hw.boards.zynqmp import ZynqMpTop

        return ZynqMpTop(arch=board.arch)
    from falconet_hw.boards.ecp5 import Ecp5Top

    return Ecp5Top(board=board)


def write_board_verilog(board: Board, path: str | Path) -> None:
    """Write a board's design as module ``falconet_top``; vendors' primitives are left as they are.

    The same board always gives the same text.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_verilog(board_top(board), TOP))
