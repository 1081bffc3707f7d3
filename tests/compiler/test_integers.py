"""The importer's integers of a head are those of the golden model, for every cell and class."""

from __future__ import annotations

import numpy as np
import pytest
from heads import head_of, random_head

from falconet.compiler.detection.integers import decode
from falconet.isa import preset
from falconet.runtime.detections import Options, limits
from falconet_sim.golden.detect import candidates, landmarks

ARCH = preset("pynq-z2")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["plain", "grid", "distances", "bins", "softmax"])
def test_every_candidate_of_the_golden_model_is_decoded_to_the_same_integers(
    kind: str, seed: int
) -> None:
    random = np.random.default_rng([seed, len(kind)])
    more = {"plain": {"points": 3}, "grid": {"grid": 1, "objectness": True, "points": 2},
            "distances": {"form": 1}, "bins": {"form": 1, "grid": 1, "bins": 16},
            "softmax": {"softmax": True, "classes": 4}}[kind]
    detect, tensors = random_head(random, ARCH, hits=0.5, wild=bool(seed % 2), **more)
    head = head_of(detect)
    records, _ = candidates(tensors, head, limits(head, Options(score=0.0)), ARCH)
    marks = landmarks(tensors, head, records)
    stored = {name: t.astype(np.int64) for name, t in tensors.items()}
    found = [decode(level, stored) for level in head.levels]
    assert len(records) >= 20
    for r, points in zip(records, marks):
        level, anchor = divmod(int(r["anchor"]), 16)
        at = (anchor, slice(None), int(r["y"]), int(r["x"]))
        assert found[level].scores[at][r["label"]] == r["score"]
        assert found[level].boxes[at].tolist() == [r[k] for k in ("x1", "y1", "x2", "y2")]
        assert found[level].marks[at].tolist() == points.ravel().tolist()
