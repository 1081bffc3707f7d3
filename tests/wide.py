"""A machine whose MAC array is not square: 8 rows, 16 columns."""

from __future__ import annotations

from falconet.isa import Arch

__all__ = ["WIDE"]

WIDE = Arch(
    "wide", lanes=16, rows=8, bank_words=512, weight_words=256, vector_words=256, candidates=64,
    queue_depth=8, clock_mhz=100.0,
).validate()
