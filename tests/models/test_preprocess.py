"""Both pre-processings, that of the models (Pillow) and that of the runtime (numpy), agree."""

import numpy as np
import pytest

from falconet.isa import FalconetError
from falconet.runtime.vision import Preprocessor
from falconet_models.preprocess import to_pixels, to_tensor


def description(fit, colour, size=(32, 48)):
    n = 1 if colour == "GRAY" else 3
    return {"fit": fit, "colour": colour, "size": list(size), "resize": 55,
            "mean": [104.0, 117.5, 127.0][:n], "std": [1.0, 57.3, 2.0][:n], "pad": [9, 8, 7][:n]}


@pytest.mark.parametrize("fit", ["letterbox", "crop", "stretch"])
@pytest.mark.parametrize("colour", ["RGB", "BGR", "GRAY"])
@pytest.mark.parametrize("shape", [(200, 133, 3), (20, 90, 3), (61, 60, 4), (32, 48), (500, 7, 3)])
def test_pixel_by_pixel(fit, colour, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    p = description(fit, colour)
    ours, _ = Preprocessor({"preprocess": p}).pixels(image)
    np.testing.assert_array_equal(ours, to_pixels(image, p))
    tensor, _ = Preprocessor({"preprocess": p}).tensor(image)
    np.testing.assert_array_equal(tensor, to_tensor(image, p))


@pytest.mark.parametrize("image, more, message", [
    (np.zeros((4, 4, 3), np.float32), {}, "is not a photograph"),
    (np.zeros((4, 4, 3), np.uint8), {"fit": "squeeze"}, "fit='squeeze' is unknown"),
    (np.zeros((4, 4, 3), np.uint8), {"fit": "crop", "resize": 40}, "resize=40 is smaller"),
])
def test_what_is_refused(image, more, message):
    with pytest.raises(FalconetError, match=message):
        to_pixels(image, {**description("letterbox", "RGB"), **more})
