"""What a try of the scheduler decides one way or the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

__all__ = ["Order", "Policy"]


class Order(Enum):
    """Which of the operations that are ready an engine takes: the last or the first."""

    DEEPEST = "deepest"
    SHALLOWEST = "shallowest"


@dataclass(frozen=True)
class Policy:
    """One way to schedule a network.

    Parameters
    ----------
    slack:
        Tiles that a ring holds beyond what its readers need at once.
    ahead:
        Groups that may start before the first unfinished one is done.
    spill:
        Share of the scratchpad; larger tensors go through DDR where they cross from group to group.
    order:
        Of two operations of one engine that are ready, which goes first.
    tile:
        Cycles that an instruction should keep its engine busy.
    stripe:
        Pixels for which weights that do not stay are loaded again; 0: tensors stay instead.
    fill:
        Share of the scratchpad that a group may take; what is left absorbs fragmentation.
    """

    slack: int = 2
    ahead: int = 2
    spill: float = math.inf
    order: Order = Order.DEEPEST
    tile: int = 300
    stripe: int = 0
    fill: float = 0.9

    def __str__(self) -> str:
        spill = "" if self.spill == math.inf else f", tensors over {self.spill:.3g} through DDR"
        stripe = f", stripes of {self.stripe} pixels" if self.stripe else ""
        fill = "" if self.fill == Policy.fill else f", {self.fill:.0%} of the scratchpad"
        return (f"{self.order.value} first, tiles of {self.tile} cycles, slack {self.slack}, "
                f"{self.ahead} groups ahead{spill}{stripe}{fill}")
