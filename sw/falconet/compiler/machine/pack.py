"""Weights as the two weight memories hold them (byte layouts: docs/isa.md, MAC and WINDOW)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch

__all__ = ["coefficient_taps", "mac_block", "parameters", "spread", "vector_words"]

Array = NDArray[Any]


def spread(values: Array, lane_of: Array, lanes: int, fill: int = 0) -> Array:
    """Put per-channel ``values`` [C, ...] at their lane positions; the others hold ``fill``."""
    out = np.full((lanes, *values.shape[1:]), fill, values.dtype)
    out[lane_of] = values
    return out


def parameters(bias: Array, mult: Array, mult_neg: Array, shift: Array) -> bytes:
    """16 bytes a lane: bias int32, mult uint32, mult_neg uint32, shift uint8, three zeros."""
    record = np.zeros(len(bias), np.dtype([
        ("bias", "<i4"), ("mult", "<u4"), ("mult_neg", "<u4"), ("shift", "u1"), ("zero", "V3"),
    ]))
    record["bias"], record["mult"], record["mult_neg"] = bias, mult, mult_neg
    record["shift"] = shift
    return record.tobytes()


def _pairs(first: Array, second: Array) -> Array:
    """Two weights that share a multiplier -> their bytes, in a new last axis (see pack_pair)."""
    a = first.astype(np.int16)
    b = second.astype(np.int16) - (a < 0)
    return np.stack([a, b], axis=-1).astype(np.int8)


def mac_block(arch: Arch, weight: Array, params: bytes) -> bytes:
    """One output block: parameter words, then ``word_steps`` for each (ky, kx, ib).

    ``weight``: int8 [lanes, n_ib * lanes, n_ky, n_kx], lanes in place.
    """
    out, n_in, n_ky, n_kx = weight.shape
    parts = weight.reshape(out, n_in // arch.rows, arch.rows, n_ky, n_kx)
    tiles = parts.transpose(3, 4, 1, 0, 2)
    packed = _pairs(tiles[..., 0::2, :], tiles[..., 1::2, :])
    return params + packed.tobytes()


def vector_words(arch: Arch, taps: Array, params: bytes) -> bytes:
    """One channel block: parameter words, then ``taps`` int8 [n_words, arch.taps, lanes]."""
    return params + _pairs(taps[:, 0::2, :], taps[:, 1::2, :]).tobytes()


def coefficient_taps(arch: Arch, coef: Array) -> Array:
    """Coefficients int32 [n_src, lanes] -> tap words int8 [n_src, taps, lanes], base-128 digits."""
    words = np.zeros((coef.shape[0], arch.taps, coef.shape[1]), np.int8)
    rest = coef.astype(np.int64)
    for digit in range(3):
        low = ((rest + 64) & 127) - 64
        words[:, arch.taps - 1 - digit] = low
        rest = (rest - low) >> 7
    if np.any(rest):
        raise ValueError("coefficient beyond 2**16")
    return words
