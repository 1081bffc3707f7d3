"""Layouts in DDR, element by element."""

from __future__ import annotations

import numpy as np
import pytest

from falconet.isa import FalconetError
from falconet.runtime.tensors import n_blocks, pack_input, unpack_output


def values(c: int, h: int, w: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, (c, h, w)).astype(np.int8)


def test_image() -> None:
    x = values(3, 4, 5)
    t = {"name": "x", "shape": [3, 4, 5], "zero_point": 7, "format": "image", "offset": 0,
         "pitch": 16}
    data = pack_input(x, t, 8).view(np.int8)
    assert data.size == 3 * 16 + 15
    for c, y, z in np.ndindex(3, 4, 5):
        assert data[y * 16 + z * 3 + c] == x[c, y, z]
    assert data[15] == 7


@pytest.mark.parametrize("lane_of, blocks", [(None, 2), ([3, 1, 20, 8, 9, 10, 11, 12, 13, 0], 3)])
def test_blocks(lane_of: list[int] | None, blocks: int) -> None:
    x = values(10, 3, 4)
    t = {"name": "x", "shape": [10, 3, 4], "zero_point": -5, "format": "blocks", "offset": 0,
         "pitch": 0, **({"lane_of": lane_of} if lane_of else {})}
    assert n_blocks(t, 8) == blocks
    data = pack_input(x, t, 8).view(np.int8)
    assert data.size == 3 * blocks * 4 * 8
    position = lane_of or range(10)
    for c, y, z in np.ndindex(10, 3, 4):
        b, lane = divmod(position[c], 8)
        assert data[((y * blocks + b) * 4 + z) * 8 + lane] == x[c, y, z]
    assert np.count_nonzero(data == -5) >= data.size - x.size

    segment = np.zeros(data.size + 32, np.uint8)
    segment[16 : 16 + data.size] = data.view(np.uint8)
    out = {"name": "y", "shape": [10, 3, 4], "offset": 16, "blocks": blocks,
           "lane_of": list(position)}
    np.testing.assert_array_equal(unpack_output(segment, out, 8), x)


def test_refusals() -> None:
    t = {"name": "x", "shape": [3, 2, 2], "zero_point": 0, "format": "image", "pitch": 5}
    with pytest.raises(FalconetError, match="pitch=5"):
        pack_input(values(3, 2, 2), t, 8)
    with pytest.raises(FalconetError, match="format 'nchw'"):
        pack_input(values(3, 2, 2), {**t, "format": "nchw"}, 8)
    with pytest.raises(FalconetError, match="segment OUTPUT of 8 bytes"):
        unpack_output(np.zeros(8, np.uint8), {"name": "y", "shape": [3, 2, 2], "offset": 0}, 8)
    with pytest.raises(FalconetError, match="blocks=1, but lane_of needs 2"):
        n_blocks({"name": "y", "shape": [9, 1, 1], "blocks": 1}, 8)
