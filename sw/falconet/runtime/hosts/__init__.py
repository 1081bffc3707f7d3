"""What each host's processing system asks of software that does without PYNQ: clock and ports."""

from __future__ import annotations

from falconet.isa import Board, FalconetError, Host
from falconet.runtime.hosts.system import ProcessingSystem
from falconet.runtime.hosts.zynq7 import Zynq7
from falconet.runtime.hosts.zynqmp import ZynqMp

__all__ = ["SYSTEMS", "ProcessingSystem", "system_of"]

SYSTEMS: dict[Host, ProcessingSystem] = {Host.ZYNQ7: Zynq7(), Host.ZYNQMP: ZynqMp()}


def system_of(board: Board) -> ProcessingSystem:
    """Refused for a board that is driven from elsewhere."""
    if board.host not in SYSTEMS:
        raise FalconetError(f"board '{board.name}' has no processing system, it is reached by a "
                            "serial line; use falconet.runtime.uart")
    return SYSTEMS[board.host]
