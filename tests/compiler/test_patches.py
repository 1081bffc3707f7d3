"""Images cut into patches, whose rows are whole words: the first layer of a vision transformer."""

from __future__ import annotations

import networks
import pytest
from agreeing import PYNQ, TINY, agree

from falconet.isa import Arch, LoadImage, Mac


@pytest.mark.parametrize("arch", [TINY, PYNQ], ids=lambda a: a.name)
@pytest.mark.parametrize("kernel, stride, pads", [
    ((16, 16), (16, 16), (0, 0, 0, 0)), ((3, 20), (5, 16), (0, 0, 0, 0)),
    ((8, 8), (8, 8), (0, 0, 0, 0)), ((9, 9), (8, 8), (4, 4, 4, 4)), ((7, 16), (20, 16), (0,) * 4),
    ((8, 16), (16, 16), (2, 1, 2, 1)),
])
def test_patches(kernel: tuple[int, int], stride: tuple[int, int], pads: tuple[int, ...],
                 arch: Arch) -> None:
    b = networks.Builder((3, 50, 83))
    program = agree(b.done(b.conv(b.conv("x", 20, kernel, stride, pads=pads), 9)), arch)
    words = 3 * stride[1] % arch.lanes == 0 and (max(stride) < 16 or not any(pads))
    assert any(isinstance(i, LoadImage) for i in program.instructions()) == words
    first = next(i for i in program.instructions() if isinstance(i, Mac))
    if words:
        assert first.n_kx == -(-3 * kernel[1] // arch.lanes)
