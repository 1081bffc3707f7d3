"""The operators of the integer graph, one a file: see :mod:`falconet.isa.graph.operator`."""

from __future__ import annotations

from falconet.isa.errors import FalconetError
from falconet.isa.graph.operator import REGISTERED, Operator
from falconet.isa.modules import import_modules

__all__ = ["OPERATORS", "operator"]

import_modules(__name__, __path__)

OPERATORS: dict[str, type[Operator]] = REGISTERED
"""All of them, by name."""


def operator(name: str) -> type[Operator]:
    """Raises FalconetError for a name that no operator has."""
    if name not in OPERATORS:
        raise FalconetError(f"operation '{name}' is unknown; use one of {', '.join(OPERATORS)}")
    return OPERATORS[name]
