import numpy as np
import pytest
from PIL import Image

from falconet.runtime.resample import resample


@pytest.mark.parametrize("source, target", [
    ((512, 512), (320, 320)), ((37, 23), (100, 90)), ((301, 450), (50, 77)), ((64, 1), (3, 5)),
    ((480, 640), (480, 320)), ((2, 2), (7, 7)),
])
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_pillow(source, target, channels):
    image = np.random.default_rng(0).integers(0, 256, (*source, channels), dtype=np.uint8)
    theirs = np.stack([
        np.asarray(
            Image.fromarray(image[..., c])
            .resize((target[1], source[0]), Image.Resampling.BILINEAR)
            .resize(target[::-1], Image.Resampling.BILINEAR)
        )
        for c in range(channels)
    ], axis=2)
    np.testing.assert_array_equal(resample(image, *target), theirs)


def test_extremes_and_identity():
    image = np.random.default_rng(1).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resample(image, 9, 13), image)
    for value in (0, 255):
        assert (resample(np.full((40, 31, 3), value, np.uint8), 7, 90) == value).all()
