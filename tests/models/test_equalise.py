import numpy as np
import pytest

from falconet_models import zoo
from falconet_models.data import photograph
from falconet_models.onnx_session import Reference, snr_db
from falconet_models.ptq.equalise import equalise
from falconet_models.zoo.builder import GraphBuilder


def network(clamp):
    """Convolution, depthwise, linear residual stream; channels of very different size."""
    rng = np.random.default_rng(0)
    g = GraphBuilder("net", (1, 3, 12, 12))
    size = np.geomspace(0.02, 1, 8)[:, None, None, None]

    def conv(name, x, shape, scale=1.0, **more):
        return g.conv(name, x, rng.normal(size=shape) * scale, rng.normal(size=shape[0]) * 0.1,
                      **more)

    x = conv("a", "input", (8, 3, 1, 1), size)
    if clamp == "Clip":
        x = g.node("Clip", "a.c", x, g.constant("low", np.float32(0)),
                   g.constant("high", np.float32(6)))
    elif clamp:
        x = g.node(clamp, "a.c", x)
    x = conv("b", x, (8, 1, 3, 3), 0.3, groups=8)
    c = conv("c", x, (8, 8, 1, 1), size)
    d = conv("d", g.node("Relu", "d.r", conv("d0", c, (8, 8, 1, 1))), (8, 8, 1, 1), size)
    s = g.node("Add", "s", c, d)
    conv("y", s, (4, 8, 1, 1))
    return g.finish(["y"])


@pytest.mark.parametrize("clamp", ["Relu", "LeakyRelu", "Clip", ""])
def test_the_network_stays_the_same_and_channels_come_closer(clamp):
    rng = np.random.default_rng(1)
    samples = [rng.normal(size=(1, 3, 12, 12)).astype(np.float32) for _ in range(4)]
    model = network(clamp)
    balanced = equalise(model, samples)
    for x in samples:
        np.testing.assert_allclose(
            Reference(balanced)(x)["y"], Reference(model)(x)["y"], rtol=1e-4, atol=1e-4)

    def spread(m, tensor):
        from falconet_models.ptq.calibration import with_outputs

        top = np.abs(Reference(with_outputs(m, [tensor]))(samples[0])[tensor]).max((0, 2, 3))
        return top.max() / top.min()

    assert spread(balanced, "a.c" if clamp else "a") < spread(model, "a.c" if clamp else "a") / 2
    assert spread(balanced, "s") < spread(model, "s") / 2


def test_retinaface_stays_the_same():
    model = zoo.build("retinaface", height=96, width=96)
    rng = np.random.default_rng(2)
    samples = [rng.normal(0, 50, (1, 3, 96, 96)).astype(np.float32)]
    a, b = Reference(model)(samples[0]), Reference(equalise(model, samples))(samples[0])
    for name in a:
        np.testing.assert_allclose(a[name], b[name], atol=2e-4)


def test_mobilenetv2_clips_nearly_nothing_beyond_calibration():
    from falconet_models.data import calibration_images
    from falconet_models.float_pictures import to_tensor
    from falconet_models.metadata import get_meta

    model = zoo.build("mobilenetv2")
    preprocess = get_meta(model)["preprocess"]
    samples = [to_tensor(i, preprocess) for i in calibration_images("mobilenetv2", 12).values()]
    image = photograph("coffee")
    logits = Reference(model)(image)["logits"]
    assert snr_db(logits, Reference(equalise(model, samples))(image)["logits"]) > 30
