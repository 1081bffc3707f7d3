"""Softmax and norms over channels: their largest error against float64 over the stated inputs.

``python tests/isa/test_channels.py`` prints the errors that docs/arithmetic.md quotes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from falconet.isa import FalconetError, output_stage
from falconet.isa.machine.channels import (
    NORM_SCALE,
    exponentials,
    norm_epsilon,
    norm_linear,
    norm_stage,
    reciprocal,
    softmax,
    softmax_scale,
    standardised,
)

Floats = NDArray[np.float64]
Row = list[int]
CHANNELS = (2, 3, 16, 50, 197, 512, 1024)
SCALES = tuple(2.0**-k for k in range(1, 7))
OUT_SCALES = (1 / 256, 1 / 255, 1 / 128, 0.01, 1 / 16)
EPSILONS = (0.0, 1e-6, 1e-5, 1e-3)


def rows(rng: np.random.Generator, n: int) -> Iterator[Row]:
    """Rows of every kind: wide, narrow, flat, one outlier, at the ends."""
    middle = int(rng.integers(-100, 100))
    yield rng.integers(-128, 128, n).tolist()
    for width in (0.3, 1, 4, 16, 40):
        yield np.clip(np.rint(rng.normal(middle, width, n)), -128, 127).astype(int).tolist()
    yield [middle] * n
    for end in (-128, 127):
        yield [end] * n
    for a, b in ((-128, 127), (middle, middle + 1), (middle, -128), (127, 126)):
        yield [a] + [b] * (n - 1)
        yield rng.choice([a, b], n).tolist()


def stored(real: Floats, scale: float, zp: int) -> Floats:
    """Unrounded stored values, clamped."""
    return np.clip(real / scale + zp, -128, 127)


def softmax_error(q: Row, scale: float, out_scale: float, masked: bool) -> float:
    zp = -128
    mult, shift = softmax_scale(out_scale)
    got = softmax(q, table=exponentials(scale), scale=mult, shift=shift, masked=masked)
    x = np.array(q, np.float64) * scale
    if masked:
        x[np.array(q) == -128] = -1e9
    e = np.exp(x - x.max())
    return float(np.abs(got - stored(e / e.sum(), out_scale, zp)).max())


def worst_softmax() -> float:
    rng = np.random.default_rng(1)
    return max(
        softmax_error(q, scale, out_scale, masked)
        for n in CHANNELS for scale in SCALES for out_scale in OUT_SCALES
        for masked in (False, True) for q in rows(rng, n)
    )


def norm_error(q: Row, ref: int, scale: float, epsilon: float, centred: bool,
               rng: np.random.Generator) -> float:
    """With gamma and beta as norms of networks have them; the output's range is what is used."""
    n = len(q)
    got = standardised(q, ref=ref, scale=NORM_SCALE * n, epsilon=norm_epsilon(epsilon, scale, n),
                       centred=centred)
    x = (np.array(q, np.float64) - ref) * scale
    x = x - x.mean() if centred else x
    power = (x * x).mean() + epsilon
    z = x / math.sqrt(power) if power else np.zeros(n)
    gamma, beta = rng.normal(0, 1, n), rng.normal(0, 0.5, n)
    y = z * gamma + beta
    out_scale = float(max(np.ptp(y), np.abs(y).max(), 1e-2)) / 255 * float(rng.uniform(1, 2))
    zp = int(rng.integers(-40, 40))
    worst = 0.0
    for v, g, b, want in zip(got, gamma, beta, stored(y, out_scale, zp), strict=True):
        bias, mult, shift = norm_stage(g, b, out_scale)
        y = output_stage(v, bias=bias, mult=mult, mult_neg=mult, shift=shift, zp=zp, lo=-128,
                         hi=127)
        worst = max(worst, abs(y - want))
    return worst


def worst_norm(centred: bool) -> float:
    rng = np.random.default_rng(2)
    return max(
        norm_error(q, ref, scale, epsilon, centred, rng)
        for n in CHANNELS for scale in SCALES for epsilon in EPSILONS for q in rows(rng, n)
        for ref in (0 if centred else int(rng.integers(-128, 128)),)
    )


def test_softmax_is_within_one_step() -> None:
    assert worst_softmax() <= 1


@pytest.mark.parametrize("centred", [True, False])
def test_norms_are_within_one_step(centred: bool) -> None:
    assert worst_norm(centred) <= 1


def test_hidden_channels() -> None:
    scale, shift = softmax_scale(1 / 256)
    given = {"table": exponentials(0.25), "scale": scale, "shift": shift, "masked": True}
    assert softmax([-128, 5, -128, 5], **given) == [-128, 0, -128, 0]
    assert softmax([-128] * 4, **given) == [-64] * 4
    assert softmax([7], **given) == [127]


def test_a_flat_row_is_its_beta() -> None:
    for value in (-128, -1, 0, 127):
        for epsilon in (0, 1, 1 << 39):
            assert standardised([value] * 7, ref=3, scale=7 * NORM_SCALE, epsilon=epsilon,
                                centred=True) == [0] * 7


def test_a_multiplier_uses_its_bits() -> None:
    for total in (1 << 22, (1 << 22) + 1, 3 << 29, (1 << 34) - 1):
        mult, shift = reciprocal(total, *softmax_scale(1 / 256))
        assert 1 << 16 <= mult < 1 << 17 and shift <= 47
    assert reciprocal((1 << 34) - 1, *softmax_scale(1))[1] == 47


def test_refusals() -> None:
    with pytest.raises(FalconetError, match="a softmax's scale of 2 is not in"):
        softmax_scale(2)
    with pytest.raises(FalconetError, match="scale=8 is not below the sum of exponentials, 8"):
        reciprocal(8, 8, 0)
    with pytest.raises(FalconetError, match="scale=513 is more than 256 times 2 channels"):
        norm_linear([0, 1], scale=513, epsilon=0, centred=True)
    with pytest.raises(FalconetError, match="beyond 40 bits"):
        norm_epsilon(1, 1e-3, 4095)
    with pytest.raises(FalconetError, match="a gamma of 1e\\+09 is too large"):
        norm_stage(1e9, 0, 1e-3)


if __name__ == "__main__":
    print(f"softmax {worst_softmax():.3f}, layer norm {worst_norm(True):.3f}, "
          f"RMS norm {worst_norm(False):.3f}")
