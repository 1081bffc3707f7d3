"""The one place of estimates: cycles of every kind of instruction, and what the plan weighs.

A wrong estimate costs cycles, never correctness: waits are derived from the memory that the
instructions touch. ``tests/compiler/test_policy.py`` holds them to what the RTL was busy for.
"""

from __future__ import annotations

from falconet.isa import Arch
from falconet.isa.machine.cycles import MAC_BLOCK

__all__ = ["BORDER", "CUT_COST", "DRAIN", "ISSUE", "image", "load", "mac", "mark", "records",
           "scan", "store", "suppress", "vector", "weights"]

CUT_COST = 300
"""Words; keeps groups from being cut for nothing."""
BORDER = 2000
"""Cycles in which one group ends and the next begins."""
DRAIN = 36
"""Cycles from an engine's last issue to its last write."""
ISSUE = 5
"""Cycles between an instruction's last word and the next one's first."""

_LOAD_BYTES = 12  # a cycle, with what the DDR costs between bursts
_STORE_BYTES = 8
_TRANSFER = 60  # cycles before the first beat
_WEIGHTS = 40


def mac(arch: Arch, pixels: int, words: int, blocks: int) -> int:
    """``pixels`` of ``blocks`` output blocks that have ``words`` weight words, parameters too."""
    parameters = blocks * arch.weight_param_words
    return ISSUE + max(blocks * MAC_BLOCK, parameters + pixels * (words - parameters))


def vector(arch: Arch, reads: int, blocks: int) -> int:
    """``reads`` words of the scratchpad for each of ``blocks`` channel blocks."""
    return ISSUE + blocks * (arch.vector_param_words + reads)


def load(size: int) -> int:
    """``size`` bytes into the scratchpad."""
    return _TRANSFER + size // _LOAD_BYTES


def image(rows: int, width: int) -> int:
    """Rows of an image of ``width`` words."""
    return _TRANSFER + rows * (width + 8)


def store(size: int) -> int:
    """``size`` bytes out of the scratchpad."""
    return _TRANSFER + size // _STORE_BYTES


def weights(size: int) -> int:
    """``size`` bytes into a weight memory or a table."""
    return _WEIGHTS + size // _LOAD_BYTES


def scan(cells: int, blocks: int, grouped: int = 0) -> int:
    """``grouped``: stored bytes that a box takes for a softmax and for bins."""
    return 2000 + blocks * cells + 100 * grouped


def suppress() -> int:
    return 4000


def mark() -> int:
    return 1500


def records(rows: int) -> int:
    return 120 + (rows + 1) * Arch.ROW_BYTES // Arch.DATA_BYTES
