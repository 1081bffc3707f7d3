"""Pre-processing against ONNX; classes; see test_boxes for boxes."""

import math

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from falconet.isa import FalconetError
from falconet.runtime.detections import RECORD, Detections
from falconet.runtime.vision import (
    Frame,
    Preprocessor,
    dequantize,
    detections_of,
    postprocess,
    quantize,
)


def preprocess(**more):
    return {"preprocess": {"fit": "letterbox", "size": [24, 32], "colour": "BGR",
                           "mean": [104, 117, 127], "std": [1.0, 58.395, 0.5], **more}}


def onnx_quantize(x, scale, zero_point):
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])], "q",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT8, x.shape)],
        [helper.make_tensor("s", TensorProto.FLOAT, [], [scale]),
         helper.make_tensor("z", TensorProto.INT8, [], [zero_point])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return ReferenceEvaluator(model).run(None, {"x": x})[0]


@pytest.mark.parametrize("scale, zero_point", [(1.0, 0), (0.5, -3), (2.0, 7), (0.0187, -14),
                                               (1.090196, -12), (30.0, 127)])
def test_the_table_equals_quantising_the_float_input(scale, zero_point):
    image = np.arange(24 * 32 * 3).reshape(24, 32, 3) % 256
    p = Preprocessor(preprocess(), scale, zero_point)
    stored, _ = p(image.astype(np.uint8))
    x, _ = p.tensor(image.astype(np.uint8))
    assert stored.dtype == np.int8 and stored.shape == (24, 32, 3)
    np.testing.assert_array_equal(
        stored.transpose(2, 0, 1)[None], onnx_quantize(x, scale, zero_point))


def test_halves_round_to_even_and_values_saturate():
    values = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 900, -900], np.float32)
    np.testing.assert_array_equal(quantize(values, 1.0, 0), [-2, -2, 0, 0, 2, 2, 127, -128])
    np.testing.assert_array_equal(dequantize(np.array([-128, 3], np.int8), 0.5, 1), [-64.5, 1])


@pytest.mark.parametrize("fit, shape, corner", [
    ("letterbox", (48, 32), (8, 0)), ("letterbox", (12, 32), (0, 6)), ("stretch", (50, 70), (0, 0)),
])
def test_frames_lead_back_to_the_photograph(fit, shape, corner):
    p = Preprocessor(preprocess(fit=fit, pad=[1, 2, 3]))
    pixels, frame = p.pixels(np.full((*shape, 3), 200, np.uint8))
    assert (frame.left, frame.top) == corner and (frame.width, frame.height) == shape[::-1]
    inside = (pixels == 200).all(axis=2)
    left, top = corner
    assert inside[top : 24 - top, left : 32 - left].all() and inside.sum() == (
        (24 - 2 * top) * (32 - 2 * left))
    assert (pixels[~inside] == [1, 2, 3]).all()
    assert (32 - 2 * left) * frame.scale_x == pytest.approx(shape[1])
    assert (24 - 2 * top) * frame.scale_y == pytest.approx(shape[0])


@pytest.mark.parametrize("shape", [(77, 101), (101, 77), (13, 500)])
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_odd_ratios_lead_back_exactly(fit, shape):
    """Rounded sides give x and y scales of their own: the whole photograph is the whole box."""
    h, w = shape
    p = Preprocessor(preprocess(fit=fit, size=[64, 96], pad=7))
    pixels, frame = p.pixels(np.full((h, w, 3), 200, np.uint8))
    inside = np.argwhere((pixels == 200).all(axis=2))
    (top, left), (bottom, right) = inside.min(0).tolist(), (inside.max(0) + 1).tolist()
    assert frame.scale_x == w / (right - left) and frame.scale_y == h / (bottom - top)
    assert frame.scale_x != frame.scale_y
    records = np.zeros(1, RECORD)
    for name, value in zip(("x1", "y1", "x2", "y2"), (left, top, right, bottom)):
        records[name] = 16 * value
    marks = np.array([[[16 * right, 16 * bottom]]], np.int16)
    meta = preprocess() | {"postprocess": {"labels": ["face"]}}
    [found] = detections_of(meta, Detections(records, marks, 1), frame)
    assert (found.x, found.y, found.w, found.h) == (0, 0, pytest.approx(w), pytest.approx(h))
    assert found.landmarks == ((pytest.approx(w), pytest.approx(h)),)


def test_bars_are_painted_once():
    p = Preprocessor(preprocess(pad=[1, 2, 3]))
    wide, tall = (np.full((*shape, 3), 200, np.uint8) for shape in ((10, 32), (24, 8)))
    memory = np.zeros((24, 32, 3), np.int8)
    frame = p.into(wide, memory)
    memory[0], whole = 99, memory.copy()
    assert p.into(wide, memory, frame) == frame and (memory[0] == 99).all()
    other = p.into(tall, memory, frame)
    np.testing.assert_array_equal(memory, p(tall)[0])
    p.into(wide, memory, other)
    np.testing.assert_array_equal(memory[1:], whole[1:])
    assert not (memory[0] == 99).any()


def test_crop_keeps_the_centre():
    image = np.zeros((64, 96, 3), np.uint8)
    image[30:34, 46:50] = 255
    p = Preprocessor(preprocess(fit="crop", resize=40, size=[32, 32]))
    pixels, frame = p.pixels(image)
    y, x = (int(v.mean()) for v in np.nonzero(pixels[..., 0] > 100))
    assert abs((x + 0.5 - frame.left) * frame.scale_x - 48) < 2
    assert abs((y + 0.5 - frame.top) * frame.scale_y - 32) < 2


@pytest.mark.parametrize("meta, message", [
    ({}, "preprocess is missing"),
    (preprocess(fit="zoom"), r"preprocess\.fit is impossible"),
    (preprocess(mean=[1, 2]), r"preprocess\.mean is impossible|unusable"),
    (preprocess(std=[1, 0, 1]), r"preprocess\.std is impossible"),
    (preprocess(fit="crop", resize=20), r"preprocess\.resize is impossible"),
    (preprocess(size=[24]), "unusable"),
    ({"preprocess": {"fit": "stretch"}}, "unusable"),
])
def test_bad_metadata(meta, message):
    with pytest.raises(FalconetError, match=message):
        Preprocessor(meta)


@pytest.mark.parametrize("image", [
    np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_bad_images(image):
    with pytest.raises(FalconetError, match="is not a photograph"):
        Preprocessor(preprocess())(image)


def test_classification():
    logits = np.array([[[[0.5]], [[3.0]], [[-1.0]], [[2.0]]]], np.float32)
    meta = {"postprocess": {"kind": "classification", "output": "y", "labels": list("abcd")}}
    best = postprocess(meta, {"y": logits}, top=2)
    total = sum(math.exp(v) for v in (0.5, 3.0, -1.0, 2.0))
    assert [(c.class_name, c.index) for c in best] == [("b", 1), ("d", 3)]
    assert best[0].score == pytest.approx(math.exp(3.0) / total)
    assert best == postprocess(meta, {"y": logits.reshape(1, 4)}, top=2)


@pytest.mark.parametrize("meta, outputs, message", [
    ({"postprocess": {"kind": "poetry"}}, {}, "kind='poetry' is unknown"),
    ({"postprocess": {}}, {}, "unusable"),
    ({"postprocess": {"kind": "classification", "output": "y"}}, {}, "output 'y' is missing"),
    ({"postprocess": {"kind": "classification", "output": "y", "labels": ["a"]}},
     {"y": np.zeros(3)}, "1 names for 3 classes"),
])
def test_bad_outputs(meta, outputs, message):
    with pytest.raises(FalconetError, match=message):
        postprocess(meta, outputs, Frame(8, 8))


def test_no_postprocess_finds_nothing():
    assert postprocess({}, {"y": np.zeros(3)}) == []
