"""Steps of an instruction: the cycles that an engine needs for it where nothing makes it wait."""

from __future__ import annotations

from functools import cache

from falconet.isa.machine.arch import Arch
from falconet.isa.machine.fields import Instruction
from falconet.isa.machine.instructions import (
    Elementwise,
    Load,
    LoadImage,
    Mac,
    Mark,
    Scan,
    Store,
    Suppress,
    Window,
)

__all__ = ["MAC_BLOCK", "reads", "steps"]

MAC_BLOCK = 9
"""What a block of MAC takes at least: its parameters are on their way so long."""


def steps(ins: Instruction, arch: Arch, candidates: float = 0.0) -> float:
    """Cycles of ``ins`` without stalls (docs/isa.md).

    ``candidates`` are the boxes that a SCAN finds, and a SUPPRESS keeps. Transfers count the words
    that they write or read on chip.
    """
    if isinstance(ins, Mac):
        products = ins.n_y * ins.n_x * ins.n_ky * ins.n_kx * ins.n_ib * arch.word_steps
        return ins.n_ob * max(MAC_BLOCK, arch.weight_param_words + products)
    if isinstance(ins, Window):
        return ins.n_b * (arch.vector_param_words + ins.n_y * ins.n_x * ins.n_ky * ins.n_kx)
    if isinstance(ins, Elementwise):
        return ins.n_b * (arch.vector_param_words + ins.n_y * ins.n_x * ins.n_src)
    if isinstance(ins, (Load, Store)):
        return ins.n1 * ins.n2 * ins.run
    if isinstance(ins, LoadImage):
        return ins.n_rows * ins.n_x
    if isinstance(ins, Scan):
        return ins.n_y * ins.n_x * ins.n_b + (12 + _groups(ins, arch)) * candidates + 14
    if isinstance(ins, Suppress):
        return 7 + 13 * candidates + candidates * (candidates + 1) / 2
    if isinstance(ins, Mark):
        return 5 + 12 * candidates
    return 0


def _groups(ins: Scan, arch: Arch) -> int:
    """What a box takes for a softmax and for bins, where its groups begin in lane 0."""
    def words(channels: int) -> int:
        return 6 * -(-channels // arch.lanes)

    cycles = 21 if ins.softmax or ins.bins else 0
    if ins.softmax:
        cycles += 2 * ins.n_class + 11 + words(ins.n_class)
    if ins.bins:
        cycles += 4 * max(19, 2 * ins.bins + 10) + words(4 * ins.bins)
    return cycles


@cache
def _inside(first: int, n: int, stride: int, kernel: int, dilation: int, size: int) -> float:
    """Which share of an axis' taps lies in ``[0, size)``."""
    inside = range(size)
    hits = sum(first + i * stride + k * dilation in inside for i in range(n) for k in range(kernel))
    return hits / (n * kernel)


def reads(ins: Instruction, arch: Arch) -> float:
    """The share of an instruction's steps that read the scratchpad, parameters counted as such."""
    if not isinstance(ins, (Mac, Window)):
        return 1.0
    inside = (_inside(ins.iy0, ins.n_y, ins.stride_y, ins.n_ky, ins.dil_y, ins.in_h)
              * _inside(ins.ix0, ins.n_x, ins.stride_x, ins.n_kx, ins.dil_x, ins.in_w))
    return inside / arch.word_steps if isinstance(ins, Mac) else inside
