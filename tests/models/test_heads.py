"""Detection heads: described by hand, cut off, folded; against the network's own tail."""

import json

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from falconet.isa import FalconetError
from falconet.runtime.vision import Frame, postprocess
from falconet_models.metadata import get_meta, set_meta
from falconet_models.onnx_session import Reference, snr_db
from falconet_models.ptq.head_cut import check_description, cut, fold, load_heads
from falconet_models.ptq.prepare import load_float
from falconet_models.ptq.quantize import quantize
from falconet_models.zoo.builder import GraphBuilder

SIZE = (32, 48)
LABELS = ["ant", "bee", "cow"]


class Detector:
    """Two levels of random heads ``part.level``, and the usual tail: one row an anchor."""

    def __init__(self, parts, seed=0):
        self.rng = np.random.default_rng(seed)
        self.g = GraphBuilder("detector", (1, 3, *SIZE))
        x = self.g.node("Relu", "stem.relu", self.conv("stem", "input", 3, 8, 3, stride=2))
        self.rows = []
        for level, stride in enumerate((4, 8)):
            x = self.g.node(
                "Relu", f"stage{level}.relu", self.conv(f"stage{level}", x, 8, 8, 3, stride=2))
            rows = []
            for part, (anchors, values) in parts.items():
                head = self.conv(f"{part}.{level}", x, 8, anchors * values, 1)
                if part in ("class", "objectness"):
                    activation = "Softmax" if values == 2 else "Sigmoid"
                    axis = {"axis": 2} if values == 2 else {}
                    head = self.g.node(activation, f"{head}.act",
                                       self.reshape(head, [1, anchors, values, -1]), **axis)
                shape = [1, anchors, values, SIZE[0] // stride * (SIZE[1] // stride)]
                turned = self.g.node("Transpose", f"{part}.{level}.turned",
                                     self.reshape(head, shape), perm=[0, 3, 1, 2])
                rows.append(self.reshape(turned, [1, -1, values]))
            self.rows.append(self.g.node("Concat", f"rows.{level}", *rows, axis=2))

    def conv(self, name, x, i, o, k, **more):
        w = self.rng.normal(size=(o, i, k, k)) / np.sqrt(i * k * k)
        return self.g.conv(name, x, w, 0.3 * self.rng.normal(size=o), **more)

    def reshape(self, x, shape):
        return self.g.node("Reshape", f"{x}.rows", x,
                           self.g.constant(f"{x}.shape", np.array(shape, np.int64)))

    def model(self, *more):
        return self.g.finish([self.g.node("Concat", "all", *self.rows, axis=1), *more])


YOLO = {"class": (1, 3), "objectness": (1, 1), "box": (1, 4)}
FACES = {"box": (2, 4), "class": (2, 2), "landmark": (2, 6)}


def described(parts, **more):
    anchors = {} if parts is YOLO else {"anchors": [[12, 9], [20, 30]]}
    return {
        "kind": "detection", "labels": LABELS if parts is YOLO else ["face"],
        "score": "sigmoid" if parts is YOLO else "softmax",
        "box": {"kind": "grid" if parts is YOLO else "ssd"}, "offset": 0, "score_threshold": 0.2,
        "levels": [{"stride": s, **anchors, **{p: f"{p}.{i}" for p in parts}}
                   for i, s in enumerate((4, 8))], **more}


def image(seed=1):
    return np.random.default_rng(seed).normal(size=(1, 3, *SIZE)).astype(np.float32)


def rows_of(tensor, values):
    _, c, h, w = tensor.shape
    return tensor.reshape(c // values, values, h * w).transpose(2, 0, 1).reshape(-1, values)


@pytest.mark.parametrize("parts", [YOLO, FACES], ids=["grid", "softmax"])
def test_the_cut_network_computes_what_the_tail_is_given(parts):
    model, description = Detector(parts).model(), described(parts)
    truth = Reference(model)(image())["all"][0]
    short = load_float(cut(model, description))
    names = [f"{p}.{i}" for i in (0, 1) for p in parts]
    assert [o.name for o in short.graph.output] == names
    assert {n.op_type for n in short.graph.node} <= {"Conv", "Relu"}
    assert fold(short, description)["score"] == "sigmoid"
    outputs = Reference(short)(image())
    found = []
    for level in (0, 1):
        columns = []
        for part, (_, values) in parts.items():
            values = 1 if part == "class" and parts is FACES else values
            rows = rows_of(outputs[f"{part}.{level}"], values).astype(np.float64)
            if part in ("class", "objectness"):
                rows = 1 / (1 + np.exp(-rows))
                rows = np.hstack([1 - rows, rows]) if parts is FACES else rows
            columns.append(rows)
        found.append(np.hstack(columns))
    np.testing.assert_allclose(np.vstack(found), truth, atol=1e-5)
    assert np.vstack(found).std(axis=0).min() > 0.01


@pytest.mark.parametrize("parts", [YOLO, FACES], ids=["grid", "softmax"])
@pytest.mark.parametrize("how", ["dict", "file", "model"])
def test_heads_by_hand_reach_the_quantised_model(parts, how, tmp_path):
    model, description = Detector(parts).model(), described(parts)
    set_meta(model, {"model": "d", "postprocess": {"kind": "classification"}})
    heads = {k: v for k, v in description.items() if k != "kind"}
    if how == "file":
        (tmp_path / "heads.json").write_text(json.dumps(heads))
        heads = tmp_path / "heads.json"
    elif how == "model":
        set_meta(model, {"model": "d", "postprocess": description})
        heads = None
    result = quantize(model, [image(i) for i in range(2, 10)], heads=heads)
    meta = get_meta(result)
    assert meta == {"model": "d", "postprocess": {**description, "score": "sigmoid"}}
    exact = load_float(cut(model, description))
    fold(exact, description)
    a, b = Reference(exact)(image()), Reference(result)(image())
    assert list(a) == list(b) and all(a[k].shape == b[k].shape for k in a)
    assert min(snr_db(a[k], b[k]) for k in a) > 18
    before, after = (postprocess(meta, o, Frame(SIZE[1], SIZE[0]), maximum=8) for o in (a, b))
    assert len(before) == len(after) == 8
    assert {d.class_name for d in before} == {d.class_name for d in after}
    assert after[0].score == pytest.approx(before[0].score, abs=0.03)


def test_scores_keep_their_range_whatever_was_measured():
    """Photographs in which no score is above one half must not fix that for ever."""
    detector = Detector(YOLO)
    for c in detector.g.initializers:
        if c.name in ("class.0.bias", "objectness.1.bias"):
            c.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(c) - 20, c.name))
    result = quantize(detector.model(), [image()], heads=described(YOLO))
    arrays = {c.name: numpy_helper.to_array(c) for c in result.graph.initializer}
    for node in result.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0].endswith(".float"):
            scale, zero = (float(arrays[i]) for i in node.input[1:])
            low, high = (-128 - zero) * scale, (127 - zero) * scale
            scores = node.input[0].startswith(("class", "objectness"))
            assert (abs(low + 8) < 0.1 and abs(high - 8) < 0.1) == scores, node.input[0]


def test_a_shared_score_range_is_only_widened():
    detector = Detector({"class": (1, 3), "box": (1, 4)})
    g, levels = detector.g, []
    for i in (0, 1):  # one convolution makes both, as YOLO's do, and a Split parts them
        both = detector.conv(f"both.{i}", f"stage{i}.relu", 8, 7, 1)
        sizes = g.constant(f"sizes.{i}", np.array([3, 4], np.int64))
        g.nodes.append(helper.make_node("Split", [both, sizes], [f"c{i}", f"b{i}"], f"split.{i}",
                                        axis=1))
        levels.append({"stride": 4 << i, "class": f"c{i}", "box": f"b{i}"})
    model = g.finish(["c0", "b0", "c1", "b1"])
    result = quantize(model, [image()], heads={**described(YOLO), "levels": levels})
    arrays = {c.name: numpy_helper.to_array(c) for c in result.graph.initializer}
    assert [o.name for o in result.graph.output] == ["c0", "b0", "c1", "b1"]
    scales = {n.input[0]: float(arrays[n.input[1]]) for n in result.graph.node
              if n.op_type == "QuantizeLinear"}
    for i in (0, 1):
        assert scales[f"c{i}.float"] == scales[f"b{i}.float"] == pytest.approx(16 / 255)


def test_other_outputs_stay_unless_they_come_of_a_head():
    detector = Detector(YOLO)
    pooled = detector.g.node("GlobalAveragePool", "pooled", "stage1.relu")
    late = detector.g.node("Relu", "late", "box.0")
    model = detector.model(pooled, late)
    assert [o.name for o in cut(model, described(YOLO)).graph.output][-2:] == ["box.1", "pooled"]
    assert len(model.graph.output) == 3
    result = quantize(model, [image()], heads=described(YOLO))
    assert result.graph.output[-1].name == "pooled"


def test_an_output_whose_branches_read_a_head_goes():
    model = Detector(YOLO).model()
    branch = helper.make_graph([helper.make_node("Relu", ["box.0"], ["r"], "r")], "branch", [],
                               [helper.make_tensor_value_info("r", 1, [1, 4, 8, 12])])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node(
        "If", ["yes"], ["chosen"], "if", then_branch=branch, else_branch=branch))
    model.graph.output.append(helper.make_tensor_value_info("chosen", 1, [1, 4, 8, 12]))
    onnx.checker.check_model(model)
    short = cut(model, described(YOLO))
    assert "chosen" not in [o.name for o in short.graph.output] and len(short.graph.output) == 6


@pytest.mark.parametrize("group, bias", [(1, False), (2, True)])
def test_a_convolution_shared_by_the_levels_folds_for_each(group, bias):
    rng = np.random.default_rng(3)
    g = GraphBuilder("shared", (1, 8, 8, 8))
    g.constant("w", rng.normal(size=(4, 8 // group, 3, 3)).astype(np.float32))
    g.constant("b", rng.normal(size=4).astype(np.float32))
    half = g.node("MaxPool", "half", "input", kernel_shape=[2, 2], strides=[2, 2])
    levels = []
    for i, x in enumerate(("input", half)):
        g.node("Conv", f"c{i}", x, "w", *["b"] * bias, pads=[1] * 4, group=group)
        g.node("MaxPool", f"b{i}", x, kernel_shape=[1, 1])
        levels.append({"stride": 8, "anchors": [[1, 1]] * 2, "class": f"c{i}", "box": f"b{i}"})
    model = g.finish(["c0", "b0", "c1", "b1"])
    description = {**described(FACES), "levels": levels}
    folded = load_float(cut(model, description))
    fold(folded, description)
    onnx.checker.check_model(folded)
    assert "w" not in [c.name for c in folded.graph.initializer]
    x = rng.normal(size=(1, 8, 8, 8)).astype(np.float32)
    a, b = Reference(model)(x), Reference(folded)(x)
    for name in ("c0", "c1"):
        np.testing.assert_allclose(b[name], a[name][:, 1::2] - a[name][:, 0::2], atol=1e-4)
        (dims,) = (o.type.tensor_type.shape.dim for o in folded.graph.output if o.name == name)
        assert [d.dim_value for d in dims] == list(b[name].shape)


def no_fold(kind):
    detector = Detector(FACES)
    name = "class.0"
    if kind == "relu":
        name = detector.g.node("Relu", "clamped", name)
    elif kind == "read":
        detector.g.node("Conv", "objectness.0", name, detector.g.constant(
            "w", np.ones((2, 4, 1, 1), np.float32)))
    else:
        name = detector.conv("grouped", "stage0.relu", 2, 4, 1, groups=4)
    description = described(FACES)
    description["levels"][0]["class"] = name
    if kind == "read":
        for level in description["levels"]:
            level["objectness"] = "objectness.0"
        description["levels"][1]["objectness"] = detector.conv("o1", "stage1.relu", 8, 2, 1)
    return detector.model(), description


@pytest.mark.parametrize("kind, message", [
    ("relu", r"levels\[0\]\.class: 'clamped' is the result of a Relu; only a convolution"),
    ("read", r"levels\[0\]\.class: 'class\.0' is read by the network itself"),
    ("groups", r"levels\[0\]\.class: 'grouped': its convolution has 4 groups"),
])
def test_what_does_not_fold(kind, message):
    model, description = no_fold(kind)
    with pytest.raises(FalconetError, match=message):
        quantize(model, [image()], heads=description)


@pytest.mark.parametrize("field, value, message", [
    ("kind", "poetry", "postprocess.kind: 'poetry' is unknown; use detection"),
    ("threshold", 1, r"postprocess.threshold: no such field; .*there are kind, labels"),
    ("labels", [], "postprocess.labels"), ("labels", None, "postprocess.labels"),
    ("levels", {}, "postprocess.levels"), ("levels", [3], r"levels\[0\]: 3 is not an object"),
    ("box", "ssd", "postprocess.box: 'ssd' is not an object"),
    ("box", {"kind": "ball"}, "ssd, linear, grid, yolo, yolov3, distance, dfl"),
    ("box", {"kind": "grid", "variances": [1, 1]}, r"postprocess\.box\.variances: no such field"),
    ("box", {"kind": "ssd", "variances": [1]}, "is not a pair of numbers"),
    ("box", {"kind": "distance", "function": "log"}, "choose one of: linear, relu, exp"),
    ("score", "max", "sigmoid, softmax, geometric"),
    ("nms", "hard", "greedy, soft_linear, soft_gaussian, diou"),
    ("clip", 1, "neither true nor false"),
    ("agnostic", "no", "neither true nor false"), ("score_threshold", 1.5, "from 0 to 1"),
    ("nms_threshold", "a", "from 0 to 1"), ("offset", [0], "no number"),
    ("sigma", 0, "no number from 1e-06 to 65536"),
    ("maximum", 2.5, "no count of boxes"), ("maximum", 0, "no count of boxes"),
])
def test_bad_descriptions(field, value, message):
    with pytest.raises(FalconetError, match=message):
        check_description({**described(YOLO), field: value}, name="it")


@pytest.mark.parametrize("field, value, message", [
    ("stride", 0, r"levels\[1\]\.stride: 0 is no number from 1 to 65536"),
    ("stride", [8], "stride"), ("anchors", [], "must be a list with something in it"),
    ("anchors", [[8, 0]], "anchors"), ("box", None, r"levels\[1\]\.box: None is not a text"),
    ("objectness", None, "objectness: None is not a text"),
    ("mask", "m", r"levels\[1\]\.mask: no such field"),
    ("landmark", "box.0", "name a tensor in all or in none"), ("class", "box.1", "name each once"),
    ("class", "clas.1", r"levels\[1\]\.class: there is no tensor 'clas.1'; there are .*class\.1"),
    ("class", "class.1.act", "is the result of a Sigmoid; name its input 'class.1.rows'"),
    ("class", "stage1", r"'stage1' is \[1, 8, 4, 6\] where the description says \[1, 3, 4, 6\]"),
    ("box", "both", r"'both' is \[1, 4, 2, 3\] where the description says \[1, 4, 4, 6\]"),
])
def test_bad_levels(field, value, message):
    detector = Detector(YOLO)
    detector.conv("both", "stage1.relu", 8, 4, 1, stride=2)
    description = described(YOLO)
    description["levels"][1][field] = value
    with pytest.raises(FalconetError, match=message):
        quantize(detector.model("both"), [image()], heads=description)


@pytest.mark.parametrize("text, message", [
    ("{", r"heads\.json: not a JSON file"), ("[]", r"heads\.json: not a JSON object"),
    ("{}", r"heads\.json: postprocess\.labels: it is missing"),
])
def test_bad_files(text, message, tmp_path):
    with pytest.raises(FalconetError, match=r"heads\.json: No such file"):
        load_heads(tmp_path / "heads.json")
    (tmp_path / "heads.json").write_text(text)
    with pytest.raises(FalconetError, match=message):
        load_heads(tmp_path / "heads.json")
