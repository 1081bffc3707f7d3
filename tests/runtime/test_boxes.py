"""Heads of every kind decoded and suppressed, against plain Python, one anchor at a time."""

import math

import numpy as np
import pytest

from falconet.isa import FalconetError
from falconet.runtime.boxes import Boxes, iou, suppress
from falconet.runtime.detections import RECORD, Detections
from falconet.runtime.vision import Detection, Frame, detections_of, postprocess

BOXES = {
    "ssd": {"kind": "ssd", "variances": [0.1, 0.2]}, "ssd plain": {"kind": "ssd"},
    "grid": {"kind": "grid"}, "yolo": {"kind": "yolo"},
    "linear": {"kind": "distance"}, "relu": {"kind": "distance", "function": "relu"},
    "exp": {"kind": "distance", "function": "exp"},
    "yolov3": {"kind": "yolov3"}, "yolov4": {"kind": "yolov3", "scale": 1.2},
    "blaze": {"kind": "linear", "variances": [0.3, 0.4]},
    "dfl": {"kind": "dfl", "bins": 16}, "gfl": {"kind": "dfl", "bins": 5},
}
MODES = ("greedy", "diou", "soft_linear", "soft_gaussian")


def sigmoid(v):
    return 1 / (1 + math.exp(-v))


def plain_iou(a, b):
    """Of left, top, right, bottom."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    union = areas - width * height
    return width * height / union if union else 0.0


def plain_diou(a, b):
    """Zheng et al., 2020, equation 7."""
    centres = sum(((a[i] + a[i + 2]) / 2 - (b[i] + b[i + 2]) / 2) ** 2 for i in (0, 1))
    diagonal = sum((max(a[i + 2], b[i + 2]) - min(a[i], b[i])) ** 2 for i in (0, 1))
    return plain_iou(a, b) - (centres / diagonal if diagonal else 0.0)


def plain_suppress(found, mode, threshold, sigma, least, agnostic, maximum):
    """Bodla et al., 2017, figure 3, where a box that falls below ``least`` is dropped."""
    left, kept = [dict(f) for f in found], []
    while left and len(kept) < maximum:
        best = max(left, key=lambda f: f["score"])
        left.remove(best)
        kept.append(best)
        for f in list(left):
            if not agnostic and f["label"] != best["label"]:
                continue
            overlap = plain_iou(best["box"], f["box"])
            if mode == "soft_gaussian":
                f["score"] *= math.exp(-(overlap**2) / sigma)
            elif overlap > threshold and mode == "soft_linear":
                f["score"] *= 1 - overlap
            elif overlap > threshold and (
                    mode == "greedy" or plain_diou(best["box"], f["box"]) > threshold):
                left.remove(f)
            if mode.startswith("soft") and f["score"] < least:
                left.remove(f)
    return kept


def plain_softmax(logits):
    weights = [math.exp(v) for v in logits]
    return [w / sum(weights) for w in weights]


def plain_scores(post, logits):
    """Of the classes; the root of a geometric mean is taken where the objectness is known."""
    if post.get("score") != "softmax":
        return [sigmoid(v) for v in logits]
    background = post.get("background", 0)
    if background == "zero":
        return plain_softmax([*logits, 0.0])[:-1]
    shares = plain_softmax(logits)
    return shares[:background] + shares[background + 1 :]


def plain_box(form, r, cx, cy, stride, anchor):
    (sx, sy), (w, h) = stride, anchor
    if form["kind"] == "distance":
        f = math.exp if form.get("function") == "exp" else float
        left, top, right, bottom = (max(f(v), 0) for v in r)
        return [cx - left * sx, cy - top * sy, cx + right * sx, cy + bottom * sy]
    if form["kind"] == "dfl":
        bins, distances = form["bins"], []
        for side in range(4):
            logits = r[side * bins : (side + 1) * bins]
            distances.append(sum(i * p for i, p in enumerate(plain_softmax(logits))))
        left, top, right, bottom = distances
        return [cx - left * sx, cy - top * sy, cx + right * sx, cy + bottom * sy]
    if form["kind"] == "linear":
        v0, v1 = form["variances"]
        x, y = cx + v0 * r[0] * w, cy + v0 * r[1] * h
        w, h = w * max(v1 * r[2], 0), h * max(v1 * r[3], 0)
    elif form["kind"] == "yolov3":
        s = form.get("scale", 1)
        x = cx + (s * sigmoid(r[0]) - (s - 1) / 2) * sx
        y = cy + (s * sigmoid(r[1]) - (s - 1) / 2) * sy
        w, h = w * math.exp(r[2]), h * math.exp(r[3])
    elif form["kind"] == "ssd":
        v0, v1 = form.get("variances", [1, 1])
        x, y = cx + v0 * r[0] * w, cy + v0 * r[1] * h
        w, h = w * math.exp(v1 * r[2]), h * math.exp(v1 * r[3])
    elif form["kind"] == "grid":
        x, y, w, h = cx + r[0] * sx, cy + r[1] * sy, sx * math.exp(r[2]), sy * math.exp(r[3])
    else:
        x, y = cx + (2 * sigmoid(r[0]) - 0.5) * sx, cy + (2 * sigmoid(r[1]) - 0.5) * sy
        w, h = w * (2 * sigmoid(r[2])) ** 2, h * (2 * sigmoid(r[3])) ** 2
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def plain_decode(post, outputs, least, size):
    """Candidates as dicts of score, label, box (edges) and points, in pixels of the input."""
    found, form = [], post["box"]
    for level in post["levels"]:
        scores, boxes = outputs[level["class"]], outputs[level["box"]]
        stride = level["stride"]
        sy, sx = stride if isinstance(stride, list) else (stride, stride)
        anchors = level.get("anchors", [[sx, sy]])
        step = scores.shape[0] // len(anchors)
        for y, x, a in np.ndindex(*scores.shape[1:], len(anchors)):
            cx, cy = (x + post.get("offset", 0.5)) * sx, (y + post.get("offset", 0.5)) * sy
            values = 4 * form.get("bins", 1)
            r = [float(v) for v in boxes[values * a : values * (a + 1), y, x]]
            logits = [float(v) for v in scores[step * a : step * (a + 1), y, x]]
            gate = 1.0
            if "objectness" in level:
                gate = sigmoid(float(outputs[level["objectness"]][a, y, x]))
            box = plain_box(form, r, cx, cy, (sx, sy), anchors[a])
            if post.get("clip"):
                box = [min(max(v, 0), size[1 - i % 2]) for i, v in enumerate(box)]
            points = []
            if "landmark" in level:
                marks = outputs[level["landmark"]]
                n = marks.shape[0] // len(anchors)
                v0 = form.get("variances", [1, 1])[0]
                ux, uy = ([v0 * s for s in anchors[a]] if form["kind"] in ("ssd", "linear")
                          else (sx, sy))
                points = [(cx + ux * float(marks[n * a + k, y, x]),
                           cy + uy * float(marks[n * a + k + 1, y, x])) for k in range(0, n, 2)]
            for label, share in enumerate(plain_scores(post, logits)):
                score = gate * share
                if post.get("score") == "geometric":
                    score = math.sqrt(score)
                if score >= least:
                    found.append({"score": score, "label": label, "box": box, "points": points})
    return found


def head(seed, box, *, classes=3, score="sigmoid", background=0, objectness=False, points=0,
         size=(64, 96)):
    """A description of two levels and random tensors for it."""
    rng = np.random.default_rng(seed)
    post = {"kind": "detection", "labels": [f"class {i}" for i in range(classes)], "box": box,
            "score": score, "levels": []}
    if score == "softmax" and background is not None:
        post["background"] = background
    outputs = {}
    for i, stride in enumerate((16, [16, 32])):
        sy, sx = stride if isinstance(stride, list) else (stride, stride)
        level = {"stride": stride}
        count = 1
        if i == 0 or box["kind"] in ("ssd", "yolo", "yolov3", "linear"):
            count = int(rng.integers(1, 4))
            level["anchors"] = rng.integers(8, 60, (count, 2)).tolist()
        more = score == "softmax" and background != "zero"
        parts = {"class": classes + more, "box": 4 * box.get("bins", 1),
                 "objectness": int(objectness), "landmark": 2 * points}
        for part, n in parts.items():
            if n:
                level[part] = f"{part}{i}"
                outputs[f"{part}{i}"] = rng.normal(
                    0, 1.5, (count * n, size[0] // sy, size[1] // sx)).astype(np.float32)
        post["levels"].append(level)
    return {"preprocess": {"size": list(size)}, "postprocess": post}, outputs


def same(found, expected, labels, frame):
    assert len(found) == len(expected)
    for d, e in zip(found, expected):
        x1, y1, x2, y2 = e["box"]
        assert d.class_name == labels[e["label"]]
        assert d.score == pytest.approx(e["score"], rel=1e-9)
        np.testing.assert_allclose(
            [d.x, d.y, d.w, d.h],
            [(x1 - frame.left) * frame.scale_x, (y1 - frame.top) * frame.scale_y,
             (x2 - x1) * frame.scale_x, (y2 - y1) * frame.scale_y], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(
            np.reshape(d.landmarks, (-1, 2)),
            np.reshape([((px - frame.left) * frame.scale_x, (py - frame.top) * frame.scale_y)
                        for px, py in e["points"]], (-1, 2)), rtol=1e-9, atol=1e-9)


CASES = [
    {}, {"objectness": True}, {"classes": 1, "score": "softmax", "points": 5},
    {"classes": 7, "objectness": True, "points": 2},
    {"classes": 4, "score": "softmax", "background": None},
    {"classes": 3, "score": "softmax", "background": 3},
    {"classes": 2, "score": "softmax", "background": "zero"},
    {"classes": 3, "score": "geometric", "objectness": True},
]


@pytest.mark.parametrize("more", CASES, ids=[
    "classes", "objectness", "softmax", "all", "background", "background last", "no background",
    "geometric"])
@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("least", [0.4, 0.8, 1.0])
def test_decoding_against_plain_python(box, more, least):
    meta, outputs = head(len(box) + len(more), BOXES[box], **more)
    post, frame = meta["postprocess"], Frame(640, 300, 4, 6, 2.5, 1.25)
    post.update(clip=box in ("ssd", "linear"), offset=0.0 if box == "yolo" else 0.5)
    found = postprocess(meta, outputs, frame, score_threshold=least, nms_threshold=1.0,
                        maximum=10**6)
    expected = plain_decode(post, outputs, least, meta["preprocess"]["size"])
    assert bool(expected) == (least < 1)
    expected.sort(key=lambda e: -e["score"])
    same(found, expected, post["labels"], frame)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_suppression_against_plain_python(mode, agnostic, seed):
    meta, outputs = head(seed, BOXES["ssd"], points=1)
    post, frame = meta["postprocess"], Frame(96, 64)
    post.update(nms=mode, agnostic=agnostic, nms_threshold=0.35, sigma=0.3, maximum=40,
                score_threshold=0.3)
    candidates = plain_decode(post, outputs, 0.3, None)
    expected = plain_suppress(candidates, mode, 0.35, 0.3, 0.3, agnostic, 40)
    assert 10 < len(expected) < len(candidates)
    same(postprocess(meta, outputs, frame), expected, post["labels"], frame)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(40))
def test_ties_and_edges_against_plain_python(mode, seed):
    """Whole numbers: equal scores, equal boxes, boxes without area."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 40))
    boxes = np.hstack([rng.integers(0, 12, (n, 2)), rng.integers(0, 9, (n, 2))]).astype(float)
    scores, labels = rng.integers(1, 8, n) / 8, rng.integers(0, 2, n)
    threshold, agnostic = float(rng.choice([0, 0.25, 0.5, 1])), bool(seed % 2)
    kept, left = suppress(
        Boxes(boxes, scores, labels, np.zeros((n, 0, 2))), mode=mode, threshold=threshold,
        sigma=0.5, least=0.2, agnostic=agnostic, maximum=15)
    found = [{"i": i, "score": float(scores[i]), "label": int(labels[i]),
              "box": [*boxes[i, :2], *(boxes[i, :2] + boxes[i, 2:])]} for i in range(n)]
    expected = plain_suppress(found, mode, threshold, 0.5, 0.2, agnostic, 15)
    assert kept == [e["i"] for e in expected]
    assert left == pytest.approx([e["score"] for e in expected])
    for i in range(min(n, 3)):
        np.testing.assert_allclose(
            iou(boxes[i], boxes), [plain_iou(found[i]["box"], f["box"]) for f in found])


def test_the_defaults_are_those_of_the_description():
    meta, outputs = head(5, BOXES["grid"])
    post, frame = meta["postprocess"], Frame(96, 64)
    post["nms_threshold"] = 0.8
    usual = postprocess(meta, outputs, frame)
    assert usual == postprocess(meta, outputs, frame, score_threshold=0.5, nms_threshold=0.8,
                                maximum=100)
    assert len(postprocess(meta, outputs, frame, maximum=3)) == 3 < len(usual)
    post["maximum"] = 2
    assert postprocess(meta, {k: v[None] for k, v in outputs.items()}, frame) == usual[:2]


@pytest.mark.parametrize("change, message", [
    ({"box": {"kind": "ball"}}, r"box\.kind='ball' is unknown"),
    ({"nms": "hard"}, "nms='hard' is unknown"),
    ({"score": "argmax"}, "score='argmax' is unknown"),
    ({"labels": ["a"]}, r"output 'class0' \(class\) is \[\d+, 4, 6\] where postprocess says"),
    ({"box": {}}, "unusable"), ({"levels": [3]}, "unusable"), ({"levels": []}, "unusable"),
])
def test_what_is_refused(change, message):
    meta, outputs = head(0, BOXES["ssd"])
    meta["postprocess"].update(change)
    with pytest.raises(FalconetError, match=message):
        postprocess(meta, outputs, Frame(96, 64))


def test_clip_wants_the_size_and_outputs_a_name():
    meta, outputs = head(0, BOXES["ssd"])
    with pytest.raises(FalconetError, match="frame is missing"):
        postprocess(meta, outputs)
    with pytest.raises(FalconetError, match="output 'class0' is missing"):
        postprocess(meta, {}, Frame(96, 64))
    meta["postprocess"]["clip"] = True
    del meta["preprocess"]
    with pytest.raises(FalconetError, match=r"preprocess\.size is missing"):
        postprocess(meta, outputs, Frame(96, 64))


def test_records_become_boxes_on_the_photograph():
    records = np.array([(160, -16, 480, 328, 49152, 1, 0, 3, 2), (0, 0, 1, 0, 65535, 0, 17, 0, 0)],
                       RECORD)
    marks = np.array([[[320, 32]], [[-8, 8]]], np.int16)
    meta = {"postprocess": {"labels": ["cat", "dog"]}}
    found = detections_of(meta, Detections(records, marks, 9), Frame(80, 60, 4, 2, 2.0, 0.5))
    assert found == [
        Detection("dog", 0.75, 12, -1.5, 40, 10.75, ((32, 0),)),
        Detection("cat", 65535 / 65536, -8, -1, 0.125, 0, ((-9, -0.75),)),
    ]
    none = Detections(records[:0], np.zeros((0, 5, 2), np.int16), 0)
    assert detections_of({}, none, Frame(80, 60)) == []
    meta["postprocess"]["labels"].pop()
    with pytest.raises(FalconetError, match="has 1 names, the machine found class 1"):
        detections_of(meta, Detections(records, marks, 9), Frame(80, 60))
