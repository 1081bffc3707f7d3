"""Both pre-processings, that of the models (Pillow) and those of the runtime, agree."""

import numpy as np
import pytest

from falconet.isa import FalconetError
from falconet.runtime import kernel
from falconet.runtime.resample import IMPLEMENTATIONS
from falconet.runtime.vision import Preprocessor
from falconet_models.float_pictures import to_pixels, to_tensor


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


@pytest.mark.parametrize("using", IMPLEMENTATIONS)
@pytest.mark.parametrize("seed", range(5))
def test_random_fits_and_paddings(seed, using, monkeypatch):
    """With the stored tensor, in memory that other photographs were in before."""
    if using == "c":
        try:
            kernel.library()
        except FalconetError as e:
            pytest.skip(str(e))
    monkeypatch.setenv("FALCONET_RESAMPLE", using)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        size = tuple(int(v) for v in rng.integers(1, 60, 2))
        n = 1 if (colour := str(rng.choice(["RGB", "BGR", "GRAY"]))) == "GRAY" else 3
        p = {"fit": str(rng.choice(["letterbox", "crop", "stretch"])), "colour": colour,
             "size": list(size), "resize": max(size) + int(rng.integers(0, 9)),
             "mean": rng.uniform(-10, 200, n).tolist(), "std": rng.uniform(0.5, 60, n).tolist(),
             "pad": rng.integers(0, 256, n).tolist()}
        prepare = Preprocessor({"preprocess": p}, float(rng.uniform(0.01, 2)),
                               int(rng.integers(-128, 128)))
        memory = np.zeros((size[0], size[1] + 2, n), np.int8)[:, 1:-1]  # rows apart
        before = None
        for shape in rng.integers(1, 150, (3, 2)).repeat([1, 2, 1], axis=0):
            image = rng.integers(0, 256, (*shape, rng.choice([3, 4])), dtype=np.uint8)
            image = image if rng.integers(3) else image[..., 0]
            before = prepare.into(image, memory, before)
            right = to_pixels(image, p)
            right = np.stack([prepare.lut[right[..., c], c] for c in range(n)], axis=2)
            np.testing.assert_array_equal(memory, right)


@pytest.mark.parametrize("image, more, message", [
    (np.zeros((4, 4, 3), np.float32), {}, "is not a photograph"),
    (np.zeros((4, 4, 3), np.uint8), {"fit": "squeeze"}, "fit='squeeze' is unknown"),
    (np.zeros((4, 4, 3), np.uint8), {"fit": "crop", "resize": 40}, "resize=40 is smaller"),
])
def test_what_is_refused(image, more, message):
    with pytest.raises(FalconetError, match=message):
        to_pixels(image, {**description("letterbox", "RGB"), **more})
