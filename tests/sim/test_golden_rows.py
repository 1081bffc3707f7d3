"""Softmax and norms of the golden model: the scalar reference's integers, and float64's values."""

from __future__ import annotations

import networks
import numpy as np
import pytest

from falconet.isa import output_stage
from falconet.isa.machine import channels
from falconet_sim.golden.ops import INTEGERS

KINDS = ("any", "wide", "flat", "one", "least", "ends")


def rows(kind: str, c: int, n: int, random: np.random.Generator) -> np.ndarray:
    """[C, 1, n] stored values."""
    q = {
        "any": random.integers(-40, 60, (c, 1, n)), "wide": random.integers(-128, 128, (c, 1, n)),
        "flat": np.repeat(random.integers(-128, 128, (1, 1, n)), c, 0),
        "one": np.where(np.arange(c)[:, None, None] == c // 2, 127, random.integers(
            -128, -100, (c, 1, n))),
        "least": np.where(random.random((c, 1, n)) < 0.8, -128, 50),
        "ends": random.choice([-128, 127], (c, 1, n)),
    }[kind]
    if kind == "least":
        q[..., 0] = -128
    return q.astype(np.int8)


def node(b: networks.Builder) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    made = b.graph.nodes[-1]
    return made.attrs.to_dict(), made.consts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("c", [1, 2, 7, 197])
def test_softmax(c: int, masked: bool, kind: str) -> None:
    q, step = rows(kind, c, 9, np.random.default_rng(c)), 0.05
    b = networks.Builder((c, 1, 9))
    b.softmax("x", step, masked=masked)
    attrs, consts = node(b)
    found = INTEGERS["softmax"]([q], attrs, consts)
    for x in range(9):
        want = channels.softmax(q[:, 0, x].tolist(), table=consts["exponential"].tolist(),
                                scale=attrs["scale"], shift=attrs["shift"], masked=masked)
        assert found[:, 0, x].tolist() == want
    real = q * step
    if masked:
        real = np.where(q == -128, -1e9, real)
    e = np.exp(real - real.max(0))
    exact = np.clip(e / e.sum(0) * 256 - 128, -128, 127)
    assert np.abs(found - exact).max() <= 0.51


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rms", [False, True])
@pytest.mark.parametrize("c", [2, 7, 192])
def test_norm(c: int, rms: bool, kind: str) -> None:
    q = rows(kind, c, 9, np.random.default_rng(c))
    b = networks.Builder((c, 1, 9), c)
    b.norm("x", rms=rms)
    attrs, consts = node(b)
    found = INTEGERS["norm"]([q], attrs, consts)
    for x in range(9):
        acc = channels.standardised(q[:, 0, x].tolist(), ref=3, scale=256 * c,
                                    epsilon=attrs["epsilon"], centred=not rms)
        want = [output_stage(a, bias=int(bias), mult=int(g), mult_neg=int(g), shift=int(s), zp=-4,
                             lo=-128, hi=127)
                for a, bias, g, s in zip(acc, *(consts[k] for k in ("bias", "gamma", "shift")))]
        assert found[:, 0, x].tolist() == want
