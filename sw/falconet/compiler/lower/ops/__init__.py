"""The operators that the machine has a form for, each in a file of its own."""

from __future__ import annotations

from falconet.compiler.lower.operator import Operator
from falconet.isa.modules import import_modules

__all__ = ["OPERATORS"]

OPERATORS: dict[str, Operator] = {
    name: module.OPERATOR for name, module in import_modules(__name__, __path__).items()}
