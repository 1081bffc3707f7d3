"""Numpy arithmetic against the scalar contract."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from programs import mac_words, params, tap_words
from wide import WIDE

from falconet.isa import Arch, FalconetError, preset
from falconet.isa import output_stage as reference
from falconet_sim.arithmetic import Params, output_stage, unpack_mac, unpack_taps

TINY = preset("tiny")


def stage(acc, bias, mult, mult_neg, shift, **kw):
    arrays = (np.asarray(v, np.int64) for v in (bias, mult, mult_neg, shift))
    return output_stage(np.asarray(acc), Params(*arrays), **kw)


def edges():
    accs = [-(1 << 24), -65537, -5, -3, -2, -1, 0, 1, 2, 3, 5, 12345, (1 << 24) - 1]
    return itertools.product(accs, [-7, 0, 3], [0, 1, 65536, 131071], [0, 1, 2, 16, 17, 47])


@pytest.mark.parametrize("zp, lo, hi", [(0, -128, 127), (-128, -128, 127), (127, 0, 100),
                                        (3, 3, 50), (0, 10, -10)])
@pytest.mark.parametrize("leaky", [False, True])
def test_output_stage_edges(zp: int, lo: int, hi: int, leaky: bool) -> None:
    table = np.random.default_rng(1).integers(-128, 128, 256).astype(np.int8)
    rows = [(a, b, m, m // 8 if leaky else m, s) for a, b, m, s in edges()]
    acc, bias, mult, neg, shift = (np.array(c) for c in zip(*rows))
    for t in (None, table):
        got = stage(acc, bias, mult, neg, shift, zp=zp, lo=lo, hi=hi, table=t)
        want = [
            reference(a, bias=b, mult=m, mult_neg=n, shift=s, zp=zp, lo=lo, hi=hi,
                      table=None if t is None else t.tolist())
            for a, b, m, n, s in rows
        ]
        np.testing.assert_array_equal(got, want)
        assert got.dtype == np.int8


def test_output_stage_random() -> None:
    rng = np.random.default_rng(2)
    n = 3000
    acc, bias = rng.integers(-(1 << 23), 1 << 23, (2, n))
    mult, neg = rng.integers(0, 1 << 17, (2, n))
    shift = rng.integers(0, 48, n)
    got = stage(acc, bias, mult, neg, shift, zp=-3, lo=-100, hi=99, acc_bits=25)
    want = [reference(int(a), bias=int(b), mult=int(m), mult_neg=int(k), shift=int(s), zp=-3,
                      lo=-100, hi=99) for a, b, m, k, s in zip(acc, bias, mult, neg, shift)]
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("acc, bias", [(1 << 24, -1), ((1 << 24) - 1, 1), (-(1 << 24) - 1, 1),
                                       (-(1 << 24), -1)])
def test_overflow_is_refused(acc: int, bias: int) -> None:
    with pytest.raises(FalconetError, match="beyond 25 bits"):
        stage([acc], [bias], [1], [1], [0], zp=0, lo=-128, hi=127, acc_bits=25)


def test_params() -> None:
    n = TINY.lanes
    data = params(range(-4, n - 4), range(100, 100 + n), range(n), range(n))
    got = Params.unpack(np.frombuffer(data, np.uint8), TINY)
    np.testing.assert_array_equal(got.bias, range(-4, n - 4))
    np.testing.assert_array_equal(got.mult, range(100, 100 + n))
    np.testing.assert_array_equal(got.mult_neg, range(n))
    np.testing.assert_array_equal(got.shift, range(n))


@pytest.mark.parametrize("name, values", [
    ("bias", (1 << 24, 0, 0)), ("mult", (0, 1 << 17, 0)), ("shift", (0, 0, 48)),
])
def test_params_out_of_range(name: str, values: tuple[int, int, int]) -> None:
    data = params(*([v] * TINY.lanes for v in values))
    with pytest.raises(FalconetError, match=f"{name}="):
        Params.unpack(np.frombuffer(data, np.uint8), TINY)


@pytest.mark.parametrize("arch", [preset("tiny"), preset("pynq-z2"), WIDE], ids=lambda a: a.name)
def test_weights_round_trip(arch: Arch) -> None:
    n, rng = arch.lanes, np.random.default_rng(3)
    w = rng.integers(-127, 128, (1, 1, 1, 3, n, n))
    w[0, 0, 0, 0, 0, :2] = -127
    data = np.frombuffer(mac_words(arch, w, [b""]), np.uint8).reshape(-1, arch.macs_per_cycle)
    np.testing.assert_array_equal(unpack_mac(data, n).reshape(3, n, n), w[0, 0, 0])
    t = rng.integers(-127, 128, (1, 5, arch.taps, n))
    data = np.frombuffer(tap_words(arch, t, [b""]), np.uint8).reshape(5, arch.taps * n)
    np.testing.assert_array_equal(unpack_taps(data, n), t[0])


def test_wide_weight_is_refused() -> None:
    with pytest.raises(FalconetError, match="-128"):
        unpack_mac(np.full(64, 0x80, np.uint8), 8)
