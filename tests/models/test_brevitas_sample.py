"""The committed QCDQ file: small, of the form the importer must take, and right about digits."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from falconet.runtime.vision import Preprocessor, postprocess
from falconet_models.onnx_session import Reference, snr_db

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def sample():
    with np.load(DATA / "brevitas_digits.npz") as archive:
        return dict(archive)


def test_files_are_small():
    assert (DATA / "brevitas_digits.onnx").stat().st_size < 300_000
    assert (DATA / "brevitas_digits.npz").stat().st_size < 50_000


def test_form():
    model = onnx.load(DATA / "brevitas_digits.onnx")
    onnx.checker.check_model(model, full_check=True)
    kinds = {n.op_type for n in model.graph.node}
    assert {"Conv", "Gemm", "Add", "Relu", "Clip", "GlobalAveragePool", "QuantizeLinear",
            "DequantizeLinear"} <= kinds
    groups = {a.i for n in model.graph.node if n.op_type == "Conv" for a in n.attribute
              if a.name == "group"}
    assert {1, 48, 96} <= groups
    stored = {numpy_helper.to_array(i).dtype.name for i in model.graph.initializer}
    assert "int32" in stored and len(model.graph.input) == 1


def test_onnxruntime_agrees_with_pytorch_and_with_the_labels(sample):
    reference = Reference(DATA / "brevitas_digits.onnx")
    prepare = Preprocessor(reference.meta)
    right = same = 0
    for i, image in enumerate(sample["images"]):
        x, _ = prepare.tensor(image)
        outputs = reference(x)
        (best,) = postprocess(reference.meta, outputs, top=1)
        right += int(best.class_name) == sample["labels"][i]
        same += best.index == sample["float_top1"][i]
        assert snr_db(sample["quant_logits"][i], outputs["logits"][0]) > 20
        assert snr_db(sample["float_logits"][i], outputs["logits"][0]) > 10
    assert same == len(sample["images"]) and right >= len(sample["images"]) - 2
