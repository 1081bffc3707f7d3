"""How a network is fitted: what chance explains is no bias, and the best way is chosen by trial."""

from __future__ import annotations

import numpy as np
import pytest
from float_networks import network, pictures

from falconet_models.ptq import fit
from falconet_models.ptq.against_onnxruntime import against_onnxruntime
from falconet_models.ptq.bias_correction import _certain
from falconet_models.ptq.fit import BEST, Fit, Way, choose
from falconet_models.ptq.quantize import load_network, quantize

pytestmark = pytest.mark.timeout(300)


def quiet(stage: str, share: float) -> None:
    pass


def test_what_is_chance_is_not_corrected() -> None:
    """2,000 channels whose mean error is known: nearer to it than the plain mean, and than none."""
    random = np.random.default_rng(0)
    real = np.repeat([0.0, 0.05, 3.0], 2000)
    found = real + random.normal(0, 1, (8, 6000))
    kept = _certain(found)
    for part in (slice(0, 2000), slice(2000, 4000)):
        plain = np.square(found.mean(0) - real)[part].mean()
        assert np.square(kept - real)[part].mean() < 0.75 * plain
    assert np.abs(kept - found.mean(0))[4000:].max() < 0.5
    np.testing.assert_array_equal(_certain(found[:1]), found[0])  # of one sample nothing is known
    same = np.repeat(found[:1], 4, axis=0)
    np.testing.assert_allclose(_certain(same), found[0])


def test_the_best_way_is_the_one_that_measures_best(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_network(network("silu", 1), None)
    samples = pictures(12, 3)
    tried: dict[Way, float] = {}

    def quality(exact: object, found: object) -> float:
        way = ways[len(tried)]
        tried[way] = scores.get(way, 0.0)
        return tried[way]

    ways = [Way(m, e, True) for e in (True, False) for m in ("mse", "percentile", "minmax")]
    monkeypatch.setattr(fit, "_quality", quality)
    for wanted, better in ((ways[4], 1.0), (ways[0], 0.4), (ways[5], 0.6)):
        tried.clear()
        scores = {wanted: better} if wanted != ways[0] else {ways[3]: better}
        assert choose(model, samples, Way(BEST, True, True), quiet) == wanted
        assert list(tried) == ways
    tried.clear()
    assert choose(model, samples[:3], Way(BEST, False, True), quiet) == Way("mse", False, True)
    assert not tried


def test_it_is_judged_on_what_it_has_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model, samples = load_network(network("relu6", 0), None), pictures(10, 4)
    seen: list[float] = []

    class Watched(Fit):
        def __init__(self, model, samples, equalisation, progress):  # type: ignore[no-untyped-def]
            seen.extend(float(x.sum()) for x in samples)
            super().__init__(model, samples, equalisation, progress)

    monkeypatch.setattr(fit, "Fit", Watched)
    choose(model, samples, Way(BEST, False, False), quiet)
    held = {float(samples[i].sum()) for i in (3, 7)}
    assert not held & set(seen) and len(set(seen)) == 8


def test_quantize_takes_it() -> None:
    model, samples = network("hard-swish", 0), pictures(8, 1)
    best = quantize(model, samples, method=BEST)
    found = against_onnxruntime(model, samples, inputs=pictures(8, 2), ours=best)
    assert found.ours > found.best - 1
