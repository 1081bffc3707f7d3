"""The arithmetic contract in numpy (docs/arithmetic.md), and the weights' byte formats.

Exact: all sums and products are int64. ``lanes`` is always the last axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, FalconetError

__all__ = ["Params", "output_stage", "requantise", "unpack_mac", "unpack_taps"]

Int8 = NDArray[np.int8]
Ints = NDArray[np.int64]

_RECORD = np.dtype([
    ("bias", "<i4"), ("mult", "<u4"), ("mult_neg", "<u4"), ("shift", "u1"), ("zero", "u1", 3),
])


@dataclass(frozen=True)
class Params:
    """Requantisation parameters, one of each per lane: int64 arrays of equal shape."""

    bias: Ints
    mult: Ints
    mult_neg: Ints
    shift: Ints

    @classmethod
    def unpack(cls, data: NDArray[np.uint8], arch: Arch) -> Params:
        """From parameter words: uint8 [..., lanes * 16] -> arrays [..., lanes].

        Raises FalconetError for a value that the machine has no bits for.
        """
        raw = np.ascontiguousarray(data).reshape(*data.shape[:-1], arch.lanes, arch.PARAM_BYTES)
        record = raw.view(_RECORD)[..., 0]
        values = {k: record[k].astype(np.int64) for k in ("bias", "mult", "mult_neg", "shift")}
        half = 1 << (arch.acc_bits - 1)
        limits = {
            "bias": (-half, half - 1), "shift": (0, arch.SHIFT_MAX),
            "mult": (0, (1 << arch.mult_bits) - 1), "mult_neg": (0, (1 << arch.mult_bits) - 1),
        }
        for name, (lo, hi) in limits.items():
            bad = values[name][(values[name] < lo) | (values[name] > hi)]
            if bad.size:
                raise FalconetError(
                    f"parameter {name}={bad[0]} not in [{lo}, {hi}]; "
                    "are these parameter words at all?"
                )
        return cls(**values)

    def __getitem__(self, index: Any) -> Params:
        return Params(self.bias[index], self.mult[index], self.mult_neg[index], self.shift[index])


def requantise(v: Ints, params: Params) -> Ints:
    """``round_half_even(v * m / 2**shift)`` with ``m = mult_neg if v < 0 else mult``."""
    if np.array_equal(params.mult, params.mult_neg):
        p = v * params.mult
    else:
        p = v * np.where(v < 0, params.mult_neg, params.mult)
    # A half less one unit, and that unit where the floor is odd: half to even.
    half = np.where(params.shift > 0, (np.int64(1) << np.maximum(params.shift - 1, 0)) - 1, 0)
    odd = (p >> params.shift) & (params.shift > 0)
    p += half
    p += odd
    p >>= params.shift
    return p


def output_stage(
    acc: NDArray[Any], params: Params, *, zp: int, lo: int, hi: int, acc_bits: int = 64,
    table: Int8 | None = None,
) -> Int8:
    """``falconet.isa.output_stage`` for arrays: accumulators [..., lanes] -> int8 [..., lanes].

    Parameters broadcast. Raises FalconetError if an accumulator, with or without its bias, does
    not fit in ``acc_bits``.
    """
    v = acc.astype(np.int64)
    for added in (0, params.bias):
        v += added
        if v.size and max(int(v.max()), -1 - int(v.min())) >> (acc_bits - 1):
            worst = max(int(v.max()), int(v.min()), key=abs)
            raise FalconetError(f"the accumulator reaches {worst}, beyond {acc_bits} bits")
    q = requantise(v, params)
    q += zp
    # Not np.clip: with lo > hi the upper limit has the last word there, but not in the contract.
    clamped: Int8 = np.maximum(lo, np.minimum(hi, q)).astype(np.int8)
    if table is None:
        return clamped
    looked_up: Int8 = table[clamped.astype(np.int16) + 128]
    return looked_up


def _unpack_pairs(data: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Bytes [..., 2] -> weights [..., 2] (isa.unpack_pair); refuses -128 and 128."""
    pairs = np.ascontiguousarray(data).view(np.int8).astype(np.int16)
    pairs[..., 1] += pairs[..., 0] < 0
    if pairs.size and max(int(pairs.max()), -int(pairs.min())) > 127:
        raise FalconetError(
            f"a weight is {max(int(pairs.max()), int(pairs.min()), key=abs)}, not in [-127, 127]; "
            "are these weight words at all?"
        )
    return pairs


def unpack_mac(words: NDArray[np.uint8], lanes: int) -> NDArray[np.int16]:
    """MAC weight words uint8 [..., rows * lanes] -> weights [..., row, output lane]."""
    lead, rows = words.shape[:-1], words.shape[-1] // lanes
    pairs = _unpack_pairs(words.reshape(*lead, lanes // 2, rows, 2))  # [j, i, k]
    return np.moveaxis(pairs, -3, -2).reshape(*lead, rows, lanes)


def unpack_taps(words: NDArray[np.uint8], lanes: int) -> NDArray[np.int16]:
    """Vector tap words uint8 [..., taps * lanes] -> weights [..., tap, lane]."""
    lead, taps = words.shape[:-1], words.shape[-1] // lanes
    pairs = _unpack_pairs(words.reshape(*lead, taps // 2, lanes, 2))  # [p, i, k]
    return np.moveaxis(pairs, -1, -2).reshape(*lead, taps, lanes)
