"""The page: all figures and pictures in it, nothing from elsewhere; pictures of what was given."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from falconet_models.datasets import Digits, Found
from falconet_models.judge import curves, scenes
from falconet_models.judge.drawing import png
from falconet_models.judge.metrics import measure
from falconet_models.judge.verdict import write_report

pytestmark = pytest.mark.timeout(60)
HISTORY = [
    {"epoch": 0, "phase": "float", "loss": 2.0, "loss_box": 1.5, "loss_class": 0.5, "seconds": 1},
    {"epoch": 1, "phase": "float", "loss": 1.0, "loss_box": 0.8, "loss_class": 0.2, "map50": 0.4,
     "map50_95": 0.2, "seconds": 1},
    {"epoch": 0, "phase": "quantised", "loss": 0.9, "loss_box": 0.7, "loss_class": 0.2,
     "map50": 0.5, "map50_95": 0.3, "seconds": 1},
]


@pytest.fixture(scope="module")
def judged():
    data, rng = Digits("test", 12), np.random.default_rng(0)
    seen = []
    for i in range(12):
        s = data.load(i)
        kinds = np.where(rng.random(len(s.classes)) < 0.2, 7, s.classes)
        seen.append(Found(s.boxes + rng.normal(0, 1, s.boxes.shape).astype(np.float32),
                          rng.uniform(0.3, 1, len(kinds)).astype(np.float32), kinds))
    return data, seen, measure(data, seen)


class Sources(HTMLParser):
    def __init__(self):
        super().__init__()
        self.images, self.links, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        for key, value in attrs:
            if key in ("src", "href"):
                (self.images if tag == "img" else self.links).append(value)

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_needs_nothing_else(judged, tmp_path):
    data, seen, metrics = judged
    page = write_report(tmp_path / "r", "run <1>", data, seen, metrics, history=HISTORY,
                        facts={"parameters": 33358, "macs": 4695552, "device": "golden"},
                        times={"pre-processing": 0.001, "network": 0.004,
                               "post-processing": 0.002})
    text = page.read_text()
    parser = Sources()
    parser.feed(text)
    assert not parser.links and not re.search(r"https?:|@import|url\(", text)
    files = sorted((tmp_path / "r").glob("*.png"))
    drawn = {base64.b64decode(i.removeprefix("data:image/png;base64,")) for i in parser.images}
    assert drawn == {f.read_bytes() for f in files} and len(files) == 9
    for f in files:
        picture = np.asarray(Image.open(f).convert("L"))
        assert min(picture.shape) > 100 and picture.std() > 5, f.name
    words = " ".join(parser.words)
    for figure in (f"{metrics.map50:.3f}", f"{metrics.f1:.3f}", "33,358", "4,695,552", "7.0 ms",
                   "run <1>", "golden"):
        assert figure in words
    said = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert said["map50"] == metrics.map50 and said["facts"]["macs"] == 4695552


def test_confusions_are_drawn_true_by_predicted(judged):
    _, _, metrics = judged
    ax = curves.confusion_matrix(metrics, normalised=False).axes[0]
    assert np.asarray(ax.images[0].get_array()).tolist() == metrics.confusion.tolist()
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("true", "predicted")
    part = np.asarray(curves.confusion_matrix(metrics, normalised=True).axes[0]
                      .images[0].get_array())
    rows = metrics.confusion.sum(1) > 0
    assert part[rows].sum(1) == pytest.approx(1)
    assert metrics.confusion[:-1, 7].sum() > metrics.confusion[7].sum()  # 7 was said too often


def test_curves_are_those_of_the_classes(judged):
    _, _, metrics = judged
    ax = curves.precision_recall(metrics).axes[0]
    lines = [line.get_ydata() for line in ax.lines]
    for line, row in zip(lines, metrics.precision_recall):
        assert np.array_equal(line, row)
    assert lines[-1] == pytest.approx(metrics.precision_recall.mean(0))
    left, right = curves.learning_curves(HISTORY).axes
    by_name = {line.get_label(): line.get_xydata().tolist() for line in (*left.lines, *right.lines)}
    assert by_name["loss"] == [[1, 2.0], [2, 1.0], [3, 0.9]]
    assert by_name["mAP@0.5"] == [[2, 0.4], [3, 0.5]]


def test_labels_are_counted(judged):
    data, _, _ = judged
    samples = [data.load(i) for i in range(len(data))]
    made = scenes.label_statistics(samples, data.labels)
    heights = [bar.get_height() for bar in made.axes[0].patches]
    every = np.concatenate([s.classes for s in samples])
    assert heights == [int((every == c).sum()) for c in range(10)]
    values, kinds = scenes.shapes(samples)
    assert kinds.tolist() == every.tolist() and len(made.axes[1].patches) == len(every)
    first = samples[0].boxes[0]
    assert values[0] == pytest.approx([(first[0] + first[2]) / 192, (first[1] + first[3]) / 192,
                                       (first[2] - first[0]) / 96, (first[3] - first[1]) / 96])


def test_boxes_are_drawn_where_they_are():
    data = Digits("test", 1)
    s = data.load(0)
    seen = [Found(s.boxes[:1], np.array([0.9], np.float32), s.classes[:1])]
    made = scenes.mosaics(data, seen, [0], 0.5)
    left, right = made.axes[:2]
    corners = [(p.get_x() + 0.5, p.get_y() + 0.5, p.get_width(), p.get_height())
               for p in left.patches]
    expected = [(b[0], b[1], b[2] - b[0], b[3] - b[1]) for b in s.boxes.tolist()]
    assert len(corners) == len(s.boxes) > 0
    assert np.array(corners) == pytest.approx(np.array(expected))
    assert len(right.patches) == 1
    assert not scenes.mosaics(data, seen, [0], 0.95).axes[1].patches
    assert Image.open(io.BytesIO(png(made, 40))).format == "PNG"
