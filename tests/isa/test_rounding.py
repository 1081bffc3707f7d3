"""The arithmetic contract: docs/arithmetic.md's own table, exact fractions, and packed products."""

from __future__ import annotations

import itertools
import random
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from falconet.isa import output_stage, pack_pair, round_half_even_shift, unpack_pair

ARITHMETIC = Path(__file__).parents[2] / "docs" / "arithmetic.md"


def documented_roundings() -> list[tuple[Fraction, int]]:
    """The table of docs/arithmetic.md: values and their rounded results."""
    text = ARITHMETIC.read_text(encoding="utf-8")
    match = re.search(r"^\| v \* m / 2\^shift \|(.*)\|\n\|[-|]+\|\n\| result \|(.*)\|$", text, re.M)
    assert match
    values, results = (row.split("|") for row in match.groups())
    return [(Fraction(v.strip()), int(r)) for v, r in zip(values, results)]


def as_shifted(value: Fraction) -> tuple[int, int]:
    """``value`` as integer / 2**20, to nearest (exact for the halves)."""
    return round(value * 2**20), 20


@pytest.mark.parametrize(("value", "result"), documented_roundings())
def test_table_in_the_docs(value: Fraction, result: int) -> None:
    assert round_half_even_shift(*as_shifted(value)) == result


@pytest.mark.parametrize("shift", [0, 1, 2, 7, 16, 46, 47])
def test_against_exact_fractions(shift: int) -> None:
    rng = random.Random(shift)
    half = 1 << shift >> 1
    values = [rng.randrange(-(1 << 42), 1 << 42) for _ in range(300)]
    near = [(k << shift) + half + d for k in range(-5, 5) for d in (-1, 0, 1)]
    for v in values + near:
        assert round_half_even_shift(v, shift) == round(Fraction(v, 1 << shift))


def test_output_stage_against_fractions() -> None:
    rng = random.Random(3)
    for _ in range(2000):
        acc, bias = rng.randrange(-(1 << 24), 1 << 24), rng.randrange(-(1 << 20), 1 << 20)
        mult, neg = rng.randrange(1 << 17), rng.randrange(1 << 17)
        shift, zp = rng.randrange(48), rng.randrange(-128, 128)
        lo, hi = sorted(rng.randrange(-128, 128) for _ in range(2))
        table = [rng.randrange(-128, 128) for _ in range(256)]
        v = acc + bias
        exact = round(Fraction(v * (neg if v < 0 else mult), 1 << shift)) + zp
        q = min(max(exact, lo), hi)
        common = dict(bias=bias, mult=mult, mult_neg=neg, shift=shift, zp=zp, lo=lo, hi=hi)
        assert output_stage(acc, **common) == q  # type: ignore[arg-type]
        assert output_stage(acc, **common, table=table) == table[q + 128]  # type: ignore[arg-type]


WEIGHTS = np.arange(-127, 128, dtype=np.int64)


def joined(b0: np.ndarray, b1: np.ndarray) -> np.ndarray:
    """The 25-bit operand as the memory's wires make it: b1, nine copies of b0's sign, b0."""
    bits = (b1 & 0xFF) << 17 | np.where(b0 < 0, 0x1FF, 0) << 8 | (b0 & 0xFF)
    return np.where(bits >= 1 << 24, bits - (1 << 25), bits)


def packed_bytes() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    pairs = np.array(list(itertools.product(range(-127, 128), repeat=2)))
    packed = np.array([pack_pair(int(a), int(b)) for a, b in pairs])
    return pairs[:, 0], pairs[:, 1], packed[:, 0], packed[:, 1]


def split(total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Low and high sums as the hardware recovers them."""
    low = ((total & 0x1FFFF) ^ 0x10000) - 0x10000
    return low, (total >> 17) + (low < 0)


def test_all_pairs_of_weights_pack() -> None:
    w0, w1, b0, b1 = packed_bytes()
    assert len(w0) == 255**2
    assert b0.min() >= -128 and b0.max() <= 127 and b1.min() >= -128 and b1.max() <= 127
    assert (joined(b0, b1) == w0 + (w1 << 17)).all()
    for a, b in ((-127, -127), (-1, -127), (0, 127), (127, -127), (-127, 127)):
        assert unpack_pair(*pack_pair(a, b)) == (a, b)


@pytest.mark.parametrize("terms", [1, 4])
def test_every_product_of_every_pair(terms: int) -> None:
    """All 255 * 255 * 256 operands; ``terms`` equal products are the largest sums there can be."""
    w0, w1, b0, b1 = packed_bytes()
    operand = joined(b0, b1)
    for x in range(-128, 128):
        total = terms * x * operand
        assert total.min() >= -(1 << 33) and total.max() < 1 << 33
        low, high = split(total)
        assert (low == terms * x * w0).all()
        assert (high == terms * x * w1).all()


def test_four_different_products() -> None:
    rng = np.random.default_rng(4)
    corner = np.array([-128, -127, -1, 0, 1, 127])
    x = rng.choice(corner, (50_000, 4))
    w = np.clip(rng.choice(corner, (2, 50_000, 4)), -127, 127)
    low, high = split((x * (w[0] + (w[1] << 17))).sum(1))
    assert (low == (x * w[0]).sum(1)).all()
    assert (high == (x * w[1]).sum(1)).all()


def test_a_fifth_product_would_not_fit() -> None:
    """The bound is real: it is why cascades are four long."""
    low, _ = split(np.array([5 * -128 * -127]))
    assert low[0] != 5 * 128 * 127
