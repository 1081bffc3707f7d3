"""The quantiser keeps what onnxruntime's own does, within 1 dB, on networks of each kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from float_networks import network, pictures
from onnx_nets import quantise_static

from falconet_models.ptq.against_onnxruntime import SETTINGS, against_onnxruntime
from falconet_models.ptq.prepare import session

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", ["relu6", "silu", "hard-swish", "gated"])
def test_as_good_as_onnxruntimes_best(kind: str, seed: int) -> None:
    found = against_onnxruntime(network(kind, seed), pictures(8, 1), inputs=pictures(8, 2))
    print(kind, seed, found)
    assert set(found.theirs) == set(SETTINGS)
    assert found.ours > found.best - 1 and found.best > 10


def test_both_are_measured_alike(tmp_path: Path) -> None:
    """A model of onnxruntime's, given as ours, has the figure that it has as theirs."""
    model, samples = network("relu6", 2), pictures(4, 1)
    (want,) = session(model).run(None, {"x": samples[0]})
    theirs = quantise_static(network("relu6", 2), tmp_path, unsigned=False)
    (got,) = session(theirs, optimise=False).run(None, {"x": samples[0]})
    found = against_onnxruntime(model, samples, inputs=samples[:1], settings=[], ours=theirs)
    assert found.theirs == {} and found.best == float("-inf")
    want_db = 10 * np.log10(np.square(want, dtype=np.float64).sum()
                            / np.square(want - got, dtype=np.float64).sum())
    assert found.ours == pytest.approx(want_db)
    exact = against_onnxruntime(model, samples, settings=["minmax"], ours=model)
    assert exact.ours > 100 > exact.theirs["minmax"]
