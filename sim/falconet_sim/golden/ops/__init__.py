"""The golden model's operators, one a file: see :mod:`falconet_sim.golden.operator`."""

from __future__ import annotations

from falconet.isa.modules import import_modules
from falconet_sim.golden.operator import REGISTERED, Integers

__all__ = ["INTEGERS"]

import_modules(__name__, __path__)

INTEGERS: dict[str, Integers] = REGISTERED
"""All of them, by the operator's name in the graph section."""
