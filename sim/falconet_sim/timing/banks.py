"""Reads of the scratchpad that want the same bank: how much the vector engine loses to MAC.

Both read in a fixed pattern, so that a read that waited once often waits no more: the share is not
one in as many as there are banks. It is counted on the addresses of the two instructions.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, Elementwise, Instruction, Mac, Window

__all__ = ["pace", "read_banks"]

_STEPS = 768  # that are looked at
_LATE = (0, 61, 143)  # steps of MAC before the vector engine begins


def _banks(address: NDArray[np.int64], arch: Arch) -> NDArray[np.int64]:
    """All groups of log2(banks) bits, XORed (falconet_hw.scratchpad.banks)."""
    bank, width = np.zeros_like(address), (arch.banks - 1).bit_length()
    rest = address & 0xFFFF
    while width and rest.any():
        bank ^= rest & (arch.banks - 1)
        rest >>= width
    return bank


def _view(ins: Instruction, name: str, row: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row's offset in a view, modulo its ring."""
    ring = getattr(ins, f"{name}_ring")
    return row % ring if ring else row


def read_banks(ins: Instruction, arch: Arch, first: int, count: int) -> NDArray[np.int64]:
    """The bank that each of ``count`` steps from ``first`` on reads; -1 where it reads none."""
    at = np.arange(first, first + count)
    loops: tuple[str, ...]
    if isinstance(ins, Mac):
        params, loops = arch.weight_param_words, ("y", "x", "ky", "kx", "ib", "part")
    elif isinstance(ins, Window):
        params, loops = arch.vector_param_words, ("y", "x", "ky", "kx")
    else:
        params, loops = arch.vector_param_words, ("y", "x", "src")
    sizes = [arch.word_steps if name == "part" else getattr(ins, f"n_{name}") for name in loops]
    block, step = np.divmod(at, params + int(np.prod(sizes)))
    inside = step >= params
    where = dict(zip(loops, np.unravel_index(np.maximum(step - params, 0), sizes)))
    y, x = where["y"], where["x"]
    if isinstance(ins, Elementwise):
        a, b = (getattr(ins, f"{n}_base") + _view(ins, n, getattr(ins, f"{n}_row")
                                                  + y * getattr(ins, f"{n}_y_step"))
                + x * getattr(ins, f"{n}_x_step") + block * getattr(ins, f"{n}_b_step")
                for n in ("a", "b"))
        return np.where(inside, _banks(np.where(where["src"] == 0, a, b), arch), -1)
    ky, kx, ib = where["ky"], where["kx"], where.get("ib", block)
    address = (ins.in_base + _view(ins, "in", ins.in_row + y * ins.in_y_step + ky * ins.in_ky_step)
               + x * ins.in_x_step + kx * ins.in_kx_step + ib * ins.in_b_step)
    row, column = (ins.iy0 + y * ins.stride_y + ky * ins.dil_y,
                   ins.ix0 + x * ins.stride_x + kx * ins.dil_x)
    inside &= where.get("part", 0) == 0  # a word that takes several steps is read once
    inside &= (row >= 0) & (row < ins.in_h) & (column >= 0) & (column < ins.in_w)
    return np.where(inside, _banks(address, arch), -1)


@lru_cache(maxsize=4096)
def pace(vector: Instruction, mac: Instruction, arch: Arch) -> float:
    """Cycles that the vector engine takes for a step of ``vector`` while ``mac`` runs beside it."""
    wanted = read_banks(vector, arch, 0, _STEPS).tolist()
    cycles = 0
    for late in _LATE:
        taken = read_banks(mac, arch, late, 2 * _STEPS).tolist()
        now = 0
        for bank in wanted:
            while bank >= 0 and now < len(taken) and taken[now] == bank:
                now += 1
            now += 1
        cycles += now
    return cycles / (len(_LATE) * _STEPS)
