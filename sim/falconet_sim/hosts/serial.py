"""The design of a board with a serial line, whole: what is built for the board runs here.

Nothing but the pins is simulated around it (``serial.cpp``), and the driver is the board's.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from falconet.isa import Board
from falconet.runtime.driver import Driver
from falconet.runtime.uart import UartBoard
from falconet_sim.rtl.library import build_library, cached_verilog, source_key

__all__ = ["DIVISOR", "SimLine", "UartDevice", "uart_library"]

DIVISOR, GAP_BITS = 8, 1 << 11
"""Cycles of a bit, and bits of a gap: a faster line than the board's, for the sake of time."""

RESET = 2000
"""Cycles that reset takes, with room."""

HARNESS = Path(__file__).with_suffix(".cpp")


def uart_library(board: Board) -> Path:
    """The library of a board's design; built if need be."""
    def write(path: Path) -> None:
        from falconet_hw.board import TOP
        from falconet_hw.board.ecp5 import Ecp5Top
        from falconet_hw.build.verilog import to_verilog

        path.write_text(to_verilog(Ecp5Top(board=board, divisor=DIVISOR, gap_bits=GAP_BITS), TOP))

    verilog = cached_verilog(board.name, source_key(f"{board} {DIVISOR} {GAP_BITS}"), write)
    return build_library(verilog, board.name, lanes=board.arch.lanes, trace=False, harness=HARNESS)


class SimLine:
    """The other end of the simulated board's line (a ``falconet.runtime.uart.Transport``).

    Time passes in :meth:`read` alone, and only as long as bytes are missing.
    """

    def __init__(self, library: Path) -> None:
        self._lib = _bind(library)
        self._sim = self._lib.falconet_uart_new(DIVISOR)
        self._silence = 2 * GAP_BITS * DIVISOR
        self._pass(RESET)

    def __del__(self) -> None:
        if getattr(self, "_sim", None):
            self._lib.falconet_uart_delete(self._sim)
            self._sim = None

    def write(self, data: bytes) -> None:
        self._lib.falconet_uart_write(self._sim, data, len(data))

    def read(self, count: int) -> bytes:
        """So many bytes; fewer if the line has been silent for twice GAP_BITS."""
        data = ctypes.create_string_buffer(count)
        n = self._lib.falconet_uart_read(self._sim, data, count, self._silence)
        return data.raw[:n]

    def _pass(self, cycles: int) -> None:
        """Let time pass in which nothing comes."""
        self._lib.falconet_uart_read(self._sim, ctypes.create_string_buffer(1), 1, cycles)

    def press(self) -> None:
        """The button, for a moment."""
        for down in (True, False):
            self._lib.falconet_uart_press(self._sim, down)
            self._pass(RESET)

    @property
    def cycle(self) -> int:
        return int(self._lib.falconet_uart_cycle(self._sim))

    @property
    def wrong(self) -> bool:
        """Whether a byte of the board had no stop bit."""
        return bool(self._lib.falconet_uart_wrong(self._sim))


def _bind(library: Path) -> ctypes.CDLL:
    lib = ctypes.CDLL(str(library.resolve()))
    sim, u64 = ctypes.c_void_p, ctypes.c_uint64
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "new": (sim, [ctypes.c_uint]),
        "delete": (None, [sim]),
        "cycle": (u64, [sim]),
        "wrong": (ctypes.c_int, [sim]),
        "press": (None, [sim, ctypes.c_int]),
        "write": (None, [sim, ctypes.c_char_p, u64]),
        "read": (u64, [sim, ctypes.c_char_p, u64, u64]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, f"falconet_uart_{name}")
        function.restype, function.argtypes = result, arguments
    return lib


class UartDevice(Driver):
    """A :class:`~falconet.runtime.device.Device`: the driver, a simulated line, a whole board.

    ``line`` stands for the one of the simulated board (a test may put a bad one in its place);
    ``timeout`` is in wall-clock seconds.
    """

    def __init__(self, board: Board, *, line: Any = None, timeout: float = 600.0) -> None:
        self.line = line or SimLine(uart_library(board))
        self.board = UartBoard(board, self.line)
        super().__init__(
            self.board, self.board, name=board.name, arch=board.arch, timeout=timeout)
