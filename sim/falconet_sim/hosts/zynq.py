"""The design of a Zynq board, whole, with a simulated processing system around it.

What is built for the board is what runs here, down to the vendor's primitives: registers are
reached through GP0, memory through the HP ports (:mod:`falconet_sim.hosts.model`).
"""

from __future__ import annotations

from pathlib import Path

from falconet.isa import Board
from falconet.runtime.driver import Driver
from falconet_sim.hosts import system_of
from falconet_sim.rtl.board import SimBoard
from falconet_sim.rtl.ddr import DdrModel
from falconet_sim.rtl.library import build_library, cached_verilog, source_key

__all__ = ["ZynqDevice", "board_library", "sim_board"]


def board_library(board: Board) -> Path:
    """The library of a board's design; built if need be."""
    from falconet_sim.hosts.model import model_text

    system, model = system_of(board), model_text(board)

    def write(path: Path) -> None:
        from falconet_hw.board import TOP, board_top
        from falconet_hw.build.verilog import to_verilog

        path.write_text(model + to_verilog(board_top(board), TOP))

    # The design depends on host and machine alone: boards that share both share the library.
    name = f"{system.name}-{board.preset}"
    verilog = cached_verilog(name, source_key(f"{name} {board.arch.hash:08x} {model}"), write)
    return build_library(
        verilog, name, lanes=board.arch.lanes, trace=False, top=f"{system.name}_board")


def sim_board(
    board: Board, *, ddr: DdrModel | None = None, memory_bytes: int = 256 << 20,
    stall_cycles: int = 20_000_000,
) -> SimBoard:
    """Bus and memory of a board's design; ``ddr`` is that of the PYNQ-Z2 by default."""
    return SimBoard(
        board_library(board), ddr or DdrModel(clock_mhz=board.clock_mhz), lanes=board.arch.lanes,
        memory_bytes=memory_bytes, stall_cycles=stall_cycles,
    )


class ZynqDevice(Driver):
    """A :class:`~falconet.runtime.device.Device`: the driver on the simulated design of a board.

    Slower to watch than :class:`~falconet_sim.rtl.board.RtlDevice`: there is no trace. Parameters
    are those of :func:`sim_board`; ``timeout`` is in wall-clock seconds.
    """

    def __init__(
        self, board: Board, *, ddr: DdrModel | None = None, timeout: float = 3600.0,
        memory_bytes: int = 256 << 20, stall_cycles: int = 20_000_000,
    ) -> None:
        self.board = sim_board(
            board, ddr=ddr, memory_bytes=memory_bytes, stall_cycles=stall_cycles)
        super().__init__(
            self.board, self.board, name=board.name, arch=board.arch, timeout=timeout)
