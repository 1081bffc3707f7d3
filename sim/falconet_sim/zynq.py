"""The design of a Zynq board, whole, with a simulated processing system around it.

What is built for the board is what runs here, down to the vendor's primitives: registers are
reached through GP0, memory through the HP ports (``models/zynq7.sv``).
"""

from __future__ import annotations

from pathlib import Path

from falconet.isa import Board, FalconetError, Host
from falconet.runtime.driver import Driver
from falconet_sim.build import build_library, cached_verilog, source_key
from falconet_sim.ddr import DdrModel
from falconet_sim.rtl import SimBoard

__all__ = ["MODELS", "ZynqDevice", "board_library", "sim_board"]

MODELS = {
    host: Path(__file__).parent / "models" / f"{name}.sv"
    for host, name in ((Host.ZYNQ7, "zynq7"), (Host.ZYNQMP, "zynqmp"))
}
"""The processing systems: module ``NAME_board`` has the ports of the bare machine."""


def board_library(board: Board) -> Path:
    """The library of a board's design; built if need be."""
    def write(path: Path) -> None:
        from falconet_hw.boards import write_board_verilog

        write_board_verilog(board, path)

    if board.host not in MODELS:
        raise FalconetError(f"board '{board.name}' has no processing system to simulate")
    # The design depends on host and machine alone: boards that share both share the library.
    model = MODELS[board.host]
    name = f"{model.stem}-{board.preset}"
    verilog = cached_verilog(name, source_key(f"{name} {board.arch.hash:08x}"), write)
    return build_library(
        verilog, name, lanes=board.arch.lanes, trace=False, around=model,
        top=f"{model.stem}_board",
    )


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

    Slower to watch than :class:`~falconet_sim.rtl.RtlDevice`: there is no trace. Parameters are
    those of :func:`sim_board`; ``timeout`` is in wall-clock seconds.
    """

    def __init__(
        self, board: Board, *, ddr: DdrModel | None = None, timeout: float = 3600.0,
        memory_bytes: int = 256 << 20, stall_cycles: int = 20_000_000,
    ) -> None:
        self.board = sim_board(
            board, ddr=ddr, memory_bytes=memory_bytes, stall_cycles=stall_cycles)
        super().__init__(
            self.board, self.board, name=board.name, arch=board.arch, timeout=timeout)
