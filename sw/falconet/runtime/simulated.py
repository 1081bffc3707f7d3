"""Lets PYNQ find a simulated board: ``FALCONET_SIMULATED=1`` in the environment."""

from __future__ import annotations

import importlib.util
import os

from falconet.isa import FalconetError

__all__ = ["GROUP", "find_simulated_board"]

GROUP = "falconet.pynq"
"""Entry points that are modules; importing one makes its kind of device known to PYNQ."""


def find_simulated_board() -> bool:
    """Import what makes the simulated board known to PYNQ; whether it was asked for.

    PYNQ looks for devices once, when it needs the first: import ``falconet.runtime`` before.
    """
    if os.environ.get("FALCONET_SIMULATED", "0") in ("", "0"):
        return False
    if importlib.util.find_spec("pynq") is None:
        return False
    from importlib import metadata  # slow, and seldom needed

    found = list(metadata.entry_points(group=GROUP))
    if not found:
        raise FalconetError(
            "FALCONET_SIMULATED is set, but there is no simulated board; run: "
            "pip install 'falconet[sim]'"
        )
    for entry in found:
        entry.load()
    return True
