import numpy as np
import pytest

from falconet_models.ptq.calibration import METHODS, Histogram, choose_range, collect
from falconet_models.zoo.builder import GraphBuilder


def histogram(values, bins=2048):
    counts, _ = np.histogram(values, bins, (values.min(), values.max()))
    return Histogram(float(values.min()), float(values.max()), counts.astype(float))


def rounding_error(values, low, high):
    step = (high - low) / 255
    return np.mean((np.clip(np.rint(values / step) * step, low, high) - values) ** 2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sign", [1, -1, 0])
def test_ranges_hold_zero_and_stay_within_what_was_seen(method, sign):
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, 50_000)
    values = np.abs(values) * sign if sign else values
    low, high = choose_range(histogram(values), method)
    assert min(values.min(), 0) - 1e-6 <= low <= 0 <= high <= max(values.max(), 0) + 1e-6
    assert high - low > 2


def test_mse_is_near_the_best_symmetric_choice():
    values = np.random.default_rng(2).laplace(0, 1, 200_000)
    low, high = choose_range(histogram(values), "mse")
    best = min(rounding_error(values, -t, t) for t in np.linspace(1, 15, 60))
    assert rounding_error(values, low, high) < 1.05 * best


def test_percentile_drops_an_outlier():
    values = np.append(np.random.default_rng(3).uniform(0, 1, 100_000), 50.0)
    assert choose_range(histogram(values), "percentile")[1] < 1.1
    assert choose_range(histogram(values), "minmax") == (0.0, 50.0)


def test_a_constant_zero_has_a_range():
    assert choose_range(Histogram(0.0, 0.0, np.ones(2048)), "mse") == (0.0, 1.0)


def test_merge_keeps_bounds_and_counts():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0, 1, 1000), rng.normal(5, 2, 2000)
    merged = Histogram.merge([histogram(a), histogram(b)])
    assert merged.low == min(a.min(), b.min()) and merged.high == max(a.max(), b.max())
    assert merged.counts.sum() == 3000
    mean = merged.centres @ merged.counts / 3000
    assert abs(mean - np.append(a, b).mean()) < 0.01


def test_collect_counts_every_value():
    g = GraphBuilder("one", (1, 3, 8, 8))
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(4, 3, 1, 1))
    g.conv("y", "input", weight, np.arange(4.0))
    samples = [rng.normal(size=(1, 3, 8, 8)).astype(np.float32) for _ in range(3)]
    found, means = collect(g.finish(["y"]), ["input", "y"], ["y"], samples, lambda *_: None)
    y = np.einsum("oc,nchw->nohw", weight[:, :, 0, 0], np.concatenate(samples))
    y = y + np.arange(4.0)[None, :, None, None]
    assert found["y"].counts.sum() == y.size
    assert found["y"].low == pytest.approx(y.min(), abs=1e-5)
    assert found["y"].high == pytest.approx(y.max(), abs=1e-5)
    np.testing.assert_allclose(means["y"], y.mean((2, 3)), atol=1e-5)
