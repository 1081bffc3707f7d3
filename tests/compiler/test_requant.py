"""Multipliers, shifts and coefficients against exact fractions and the scalar reference."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from falconet.compiler.importer.requant import COEF_MAX, identity, requantise, weighted_sum
from falconet.isa import Arch, FalconetError, output_stage, preset

ARCH = preset("pynq-z2")


def test_normalised_and_within_half_a_unit() -> None:
    scale = np.exp(np.random.default_rng(0).uniform(np.log(2.0**-30), np.log(2.0**16), 2000))
    r = requantise(scale)
    assert np.all((r.mult >= 1 << 16) & (r.mult < 1 << 17))
    for s, m, shift in zip(scale, r.mult, r.shift):
        exact = Fraction(float(s)) * 2 ** int(shift)
        assert abs(exact - int(m)) <= Fraction(1, 2) or int(m) == 1 << 16
        assert abs(Fraction(int(m)) / exact - 1) <= Fraction(1, 2**17)


@pytest.mark.parametrize(("scale", "mult", "shift"), [
    (1.0, 1 << 16, 16), (0.5, 1 << 16, 17), (1 - 1e-9, 1 << 16, 16), (0.0, 0, 0),
    (2.0**17 - 1, (1 << 17) - 1, 0), (2.0**-31, 1 << 16, 47), (2.0**-40, 128, 47),
    (2.0**-60, 0, 47), (0.75, 3 << 15, 17),
])
def test_edges(scale: float, mult: int, shift: int) -> None:
    r = requantise(scale)
    assert (int(r.mult[0]), int(r.shift[0])) == (mult, shift)


@pytest.mark.parametrize("bits", [12, 17])
def test_slopes_share_the_shift(bits: int) -> None:
    r = requantise([0.3, 0.3, 0.3], [0.1, 1.0, 4.0], bits=bits)
    assert max(r.mult.max(), r.mult_neg.max()) < 1 << bits
    real = np.ldexp(np.stack([r.mult, r.mult_neg]).astype(float), -r.shift.astype(int))
    assert np.allclose(real, [[0.3] * 3, [0.03, 0.3, 1.2]], rtol=2.0 ** (6 - bits))


def test_scales_are_met_as_docs_arithmetic_says() -> None:
    """The larger within 2^-17, the smaller, ``a`` of it, within 2^-17 / a; and not much better."""
    random = np.random.default_rng(0)
    scale, slope = (2.0 ** random.uniform(*ends, 20_000) for ends in ((-20, 10), (-8, 3)))
    r = requantise(scale, slope)
    larger, smaller = np.maximum(1, slope), np.minimum(1, slope)
    errors = [np.abs(np.ldexp(m.astype(float), -r.shift.astype(int)) / (scale * of) - 1)
              for m, of in ((r.mult, 1), (r.mult_neg, slope))]
    of_larger, of_smaller = np.where(slope > 1, errors[::-1], errors)
    assert 0.9 < of_larger.max() * 2**17 <= 1
    assert 0.9 < (of_smaller * smaller / larger).max() * 2**17 <= 1
    assert of_smaller.max() * 2**17 > 50


@pytest.mark.parametrize("scale", [2.0**17, float("inf"), float("nan"), -1.0])
def test_refused(scale: float) -> None:
    with pytest.raises(FalconetError, match="requantisation scale"):
        requantise(scale)


def test_identity() -> None:
    r = identity(2)
    for q in (-128, -1, 0, 127):
        assert output_stage(q, bias=0, mult=int(r.mult[0]), mult_neg=int(r.mult_neg[0]),
                            shift=int(r.shift[0]), zp=0, lo=-128, hi=127) == q


def _add(ratios: list[float], zps: list[int], offset: float, x: tuple[int, ...],
         arch: Arch) -> tuple[int, int]:
    coef, bias, scale = weighted_sum(np.array(ratios)[:, None], zps, np.array([offset]), arch)
    r = requantise(scale)
    acc = sum(int(c) * v for c, v in zip(coef[:, 0], x))
    limit = 1 << (arch.acc_bits - 1)
    assert -limit <= acc < limit and -limit <= acc + int(bias[0]) < limit
    assert np.all(np.abs(coef) <= COEF_MAX)
    return output_stage(acc, bias=int(bias[0]), mult=int(r.mult[0]), mult_neg=int(r.mult_neg[0]),
                        shift=int(r.shift[0]), zp=0, lo=-128, hi=127), acc


@pytest.mark.parametrize("seed", range(30))
def test_sum_meets_the_ratios(seed: int) -> None:
    """Rounding as the exact rational sum rounds, but near a tie."""
    random = np.random.default_rng(seed)
    ratios = list(random.uniform(-2, 2, 1 + seed % 2) * 4.0 ** random.integers(-4, 1))
    zps = [int(z) for z in random.integers(-128, 128, len(ratios))]
    offset = float(random.uniform(-50, 50)) if seed % 3 == 0 else 0.0
    for _ in range(40):
        x = tuple(int(v) for v in random.integers(-128, 128, len(ratios)))
        exact = sum(r * (v - z) for r, v, z in zip(ratios, x, zps)) + offset
        got, _ = _add(ratios, zps, offset, x, ARCH)
        assert abs(got - np.clip(exact, -128, 127)) <= 0.5 + 2e-3


@pytest.mark.parametrize("ratios", [[0.5, 0.25], [1.0, 1.0], [2.0, 0.125], [1.0]])
def test_powers_of_two_are_exact(ratios: list[float]) -> None:
    """Ties included: half to even, as onnxruntime rounds."""
    random = np.random.default_rng(1)
    for _ in range(200):
        x = tuple(int(v) for v in random.integers(-128, 128, len(ratios)))
        exact = np.rint(sum(r * v for r, v in zip(ratios, x)))
        assert _add(ratios, [0] * len(ratios), 0.0, x, ARCH)[0] == np.clip(exact, -128, 127)


def test_extremes_fit_the_accumulator() -> None:
    for zp in (-128, 127):
        for x in (-128, 127):
            _add([1.0, 1.0], [zp, zp], 300.0, (x, x), ARCH)


def test_huge_offset_is_refused() -> None:
    with pytest.raises(FalconetError, match="addend is too large"):
        weighted_sum(np.array([[1e-6]]), [0], np.array([100.0]), ARCH)
