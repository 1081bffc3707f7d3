"""The C kernel on emulated ARM processors, with NEON: the bytes of numpy."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import arm

from falconet.runtime.resample import Scaling


def drawn(seed: int) -> tuple[Scaling, np.ndarray]:
    """Every third is half in size, so that more than its edges are; all have three planes."""
    rng = np.random.default_rng(seed)
    height, width = (int(v) for v in np.exp(rng.uniform(0, 4.2, 2)))
    ratio = (2, 2) if seed % 3 == 0 else rng.uniform(0.2, 9, 2)
    h, w = max(1, round(height * ratio[0])), max(1, round(width * ratio[1]))
    image = rng.integers(0, 256, (h, w, 3 + seed % 2), dtype=np.uint8)
    left = int(rng.integers(width))
    window = (0, left, height, int(rng.integers(1, width - left + 1)))
    table = rng.integers(0, 256, (3, 256), dtype=np.uint8)
    return Scaling(image.shape, (height, width), window, order=rng.permutation(3).tolist(),
                   table=table), image


@pytest.mark.parametrize("target", [arm.ARMHF, arm.ARM64], ids=lambda t: t.emulator)
def test_same_bytes(target: arm.Target, tmp_path: Path) -> None:
    if why := arm.missing(target):
        pytest.skip(why)
    cases = [drawn(seed) for seed in range(200)]
    results, _ = arm.run(target, arm.program(target, tmp_path), cases)
    for seed, ((scaling, image), found) in enumerate(zip(cases, results)):
        right = np.empty_like(found)
        scaling(image, right, "numpy")
        np.testing.assert_array_equal(found, right, err_msg=f"seed {seed}")
    assert len(results) == 200


def test_instructions_are_those_of_a_frame(tmp_path: Path) -> None:
    """Twice the rows, twice the instructions."""
    if why := arm.missing(arm.ARMHF):
        pytest.skip(why)
    image = np.zeros((400, 300, 3), np.uint8)
    one, two = (arm.count(arm.ARMHF, Scaling((h, 300, 3), (h // 2, 150)), image[:h], tmp_path)
                for h in (200, 400))
    assert one > 150 * 100 and 1.9 < two / one < 2.1
