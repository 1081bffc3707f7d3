import numpy as np
import pytest

from falconet.isa import FalconetError
from falconet_models import data


def test_calibration_and_test_are_disjoint():
    assert not set(data.CALIBRATION) & set(data.TEST)
    assert not set(data.CALIBRATION.values()) & set(data.TEST.values())
    pixels = {data.photograph(n).tobytes() for n in data.TEST}
    assert not pixels & {data.photograph(n).tobytes() for n in data.CALIBRATION}
    seen = {f.tobytes() for f in data.faces("calibration")}
    assert len(seen) == 50 and not seen & {f.tobytes() for f in data.faces("test")}


@pytest.mark.parametrize("model", ["retinaface", "mobilenetv2"])
def test_calibration_images_repeat(model):
    first, second = data.calibration_images(model, 8), data.calibration_images(model, 8)
    assert len(first) == 8 and list(first) == list(second)
    for name, image in first.items():
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        np.testing.assert_array_equal(image, second[name])


@pytest.mark.parametrize("model", ["retinaface", "mobilenetv2"])
def test_test_images(model):
    images = data.test_images(model)
    assert "astronaut" in images and len(images) == 5
    assert all(i.dtype == np.uint8 and i.shape[2] == 3 for i in images.values())


def test_composite_changes_only_the_faces():
    background = np.full((200, 200, 3), 90, np.uint8)
    image = data.composite(background, [np.full((25, 25), 250, np.uint8)], (128, 96), seed=3,
                           side=40)
    assert image.shape == (128, 96, 3)
    changed = (image != 90).any(axis=2)
    assert 20 * 20 < changed.sum() <= 50 * 50
    assert image.max() == 250


def test_unknown_photograph():
    with pytest.raises(FalconetError, match="'lena' is unknown"):
        data.photograph("lena")
