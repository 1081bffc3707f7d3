"""One way to open a board, whatever runs on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from falconet.isa import Board, board
from falconet.runtime.driver import Driver
from falconet.runtime.hosts import system_of
from falconet.runtime.linux import ROOT, DmaMemory, LinuxBus
from falconet.runtime.pynq_board import PynqBoard

__all__ = ["open_board"]

TIMEOUT = 10.0


def open_board(
    overlay: Any = None, *, name: str = "pynq-z2", memory: str = "udmabuf0",
    timeout: float | None = None, waiting: str = "auto", root: Path = ROOT,
) -> Driver:
    """The machine on this board.

    Parameters
    ----------
    overlay:
        A ``pynq.Overlay`` with Falconet in it. Without one, the machine is reached through UIO or
        /dev/mem and a u-dma-buf; its bitstream has to be loaded already
        (:func:`falconet.runtime.bitstream.load_bitstream`).
    name:
        The board, if there is no overlay: one of ``falconet.isa.BOARDS``.
    memory:
        The u-dma-buf, if there is no overlay.
    timeout:
        Seconds that one run may take; by default 10, or what a simulated board asks for.
    waiting:
        As for :class:`~falconet.runtime.driver.Driver`.
    root:
        Where /dev and /sys are.

    Raises
    ------
    FalconetError
        If it is not there, or is not the machine that this version of Falconet drives.
    """
    if overlay is not None:
        pynq = PynqBoard(overlay, root)
        patience = timeout or float(getattr(overlay.device, "run_timeout", TIMEOUT))
        return Driver(pynq, pynq, name="falconet", timeout=patience, waiting=waiting)
    described: Board = board(name)
    system_of(described)  # refuses a board that this computer cannot be
    return Driver(
        LinuxBus(described, root), DmaMemory(memory, root), name=name, arch=described.arch,
        timeout=timeout or TIMEOUT, waiting=waiting,
    )
