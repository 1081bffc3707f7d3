"""What the simulated boards of a host have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["SimulatedSystem"]


@dataclass(frozen=True)
class SimulatedSystem:
    """A processing system; the pins of its block are known to ``falconet_hw.board``.

    Parameters
    ----------
    name:
        Its modules' names begin with it (:mod:`falconet_sim.hosts.model`).
    buffer:
        The primitive that the clock goes through.
    pins:
        Outputs of the block besides the AXI ports, of ``$ports.clk`` and ``$ports.rst``.
    interrupt:
        The input of the block that is the machine's interrupt.
    first_id:
        ID of the first access to a register.
    processor:
        As ``platform.machine()`` calls it on the board.
    registers:
        Those of its clocks as the boards' first boot stage leaves them.
    """

    name: str
    buffer: str
    pins: Mapping[str, str]
    interrupt: str
    first_id: int
    processor: str
    registers: Mapping[int, int]
