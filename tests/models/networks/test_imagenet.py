"""MobileNetV2 as trained on ImageNet: the weights arrive, and int8 keeps what they know."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from falconet.compiler import compile_model
from falconet.isa import FalconetError
from falconet.isa import preset as machine
from falconet.runtime.vision import Preprocessor, dequantize, quantize
from falconet_models import zoo
from falconet_models.architecture import BackboneConfig, preset
from falconet_models.data import photograph
from falconet_models.data import test_images as images_of
from falconet_models.float_pictures import to_tensor
from falconet_models.metadata import get_meta
from falconet_models.networks import imagenet
from falconet_models.networks.detector import Detector
from falconet_models.networks.mobilenet import Classifier, ClassifierConfig
from falconet_models.networks.pretrained import load_imagenet
from falconet_models.onnx_session import Reference, snr_db
from falconet_models.ptq.calibration import with_outputs
from falconet_models.ptq.prepare import session
from falconet_sim.golden.device import GoldenDevice

pytestmark = pytest.mark.timeout(300)
TAPS = "block13.add", "head.relu6"


@pytest.fixture(scope="module")
def weights():
    return zoo.build("mobilenetv2")


def test_weights_arrive(weights):
    network = Classifier(ClassifierConfig()).eval()
    load_imagenet(network)
    for field, value in get_meta(weights)["preprocess"].items():
        assert network.preprocess()[field] == (
            value if isinstance(value, str | int) else pytest.approx(value)), field
    x = to_tensor(photograph("coffee"), network.preprocess())
    run = session(with_outputs(weights, [*TAPS, "logits"]), optimise=True)
    *features, logits = run.run(None, {"input": x})
    detector = Detector(preset("ssdlite-mobilenetv2", labels=("a",), size=(224, 224),
                               levels=(16, 32))).eval()
    load_imagenet(detector)
    with torch.no_grad():
        np.testing.assert_allclose(network(torch.from_numpy(x)), logits, rtol=1e-4, atol=1e-4)
        for mine, theirs in zip(detector.features(torch.from_numpy(x)), features, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backbone", [BackboneConfig("mobilenetv1"),
                                      BackboneConfig("mobilenetv2", 0.5)])
def test_other_networks_have_no_weights(backbone):
    with pytest.raises(FalconetError, match="those of a float mobilenetv2 of width 1"):
        load_imagenet(Classifier(ClassifierConfig(backbone)))


def test_int8_by_brevitas_knows_the_photographs_on_the_machine_too(weights):
    """Few photographs and no bias correction, to be quick. With all of it, beside onnxruntime's
    own quantisation: ``falconet study imagenet``."""
    samples = imagenet.calibration(6)
    model = imagenet.by_brevitas(samples, corrected=False)
    ours, other = imagenet.compare({
        "Brevitas": model, "onnxruntime": imagenet.by_onnxruntime(samples[:1], "minmax")})
    assert ours["same"] >= 4 and min(ours["snr"].values()) >= 12
    assert min(other["snr"].values()) > 0
    assert ours["pooled"] == pytest.approx(np.mean([*ours["snr"].values()]), abs=3)

    program = compile_model(model, machine("pynq-z2"), "mobilenetv2")
    device, exact = GoldenDevice(program), Reference(weights)
    (entry,), (out,) = program.header["inputs"], program.header["outputs"]
    prepare = Preprocessor(program.header["meta"])
    for name, image in images_of("mobilenetv2").items():
        x, _ = prepare.tensor(image)
        stored = device.run({"input": quantize(x[0], entry["scale"], entry["zero_point"])})
        logits = dequantize(stored.outputs["logits"], out["scale"], out["zero_point"]).ravel()
        wanted = exact(x)["logits"].ravel()
        chance = np.exp(wanted.max()) / np.exp(wanted).sum()
        assert chance < 0.5 or logits.argmax() == wanted.argmax(), name
        assert snr_db(wanted, logits) >= ours["snr"][name] - 3, name
