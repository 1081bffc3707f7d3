"""The other ends of boards: simulated processing systems, the serial line, a PYNQ device."""

from __future__ import annotations

from falconet.isa import Board, FalconetError, Host
from falconet_sim.hosts.system import SimulatedSystem
from falconet_sim.hosts.zynq7 import ZYNQ7
from falconet_sim.hosts.zynqmp import ZYNQMP

__all__ = ["SYSTEMS", "SimulatedSystem", "system_of"]

SYSTEMS: dict[Host, SimulatedSystem] = {Host.ZYNQ7: ZYNQ7, Host.ZYNQMP: ZYNQMP}


def system_of(board: Board) -> SimulatedSystem:
    """Refused for a board that has none."""
    if board.host not in SYSTEMS:
        raise FalconetError(f"board '{board.name}' has no processing system to simulate; use "
                            "falconet_sim.hosts.serial")
    return SYSTEMS[board.host]
