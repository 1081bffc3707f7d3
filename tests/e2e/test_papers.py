"""A narrow form of every network of the field, from PyTorch to the RTL with nothing by hand."""

from __future__ import annotations

import pytest
from devices import run_all

from falconet.compiler import compile_model
from falconet.isa import FalconetError, preset
from falconet.runtime.vision import Preprocessor
from falconet_models.data import calibration_images, photograph
from falconet_models.ptq.quantize import quantize
from falconet_models.zoo.papers import NETWORKS
from falconet_models.zoo.papers.to_onnx import onnx_of

pytestmark = pytest.mark.timeout(600)

NOT_YET = {"yolo11n": "attention: softmax and products of two activations"}
"""Networks that are refused, and what they wait for. The list only shrinks: one that runs fails."""


def _case(name):
    marks = [pytest.mark.xfail(reason=NOT_YET[name], raises=FalconetError, strict=True)] \
        if name in NOT_YET else []
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", [_case(n) for n in NETWORKS])
def test_a_narrow_network_gives_the_same_bytes_everywhere(name):
    quantised = quantize(onnx_of(name, narrow=True), calibration_images("mobilenetv2", 4))
    program = compile_model(quantised, preset("tiny"), name)
    entry = program.header["inputs"][0]
    prepare = Preprocessor(program.header["meta"], entry["scale"], entry["zero_point"])
    tensor, _ = prepare(photograph("astronaut"))
    result = run_all(program, {entry["name"]: tensor.transpose(2, 0, 1).copy()})
    assert any(len(set(v.ravel().tolist())) > 3 for v in result.outputs.values()) \
        or result.detections is not None


def test_only_networks_that_there_are_wait():
    assert set(NOT_YET) <= set(NETWORKS)
