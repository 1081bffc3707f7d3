"""Detectors' tails as they are exported: what is recognised, and that the proof can fail."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
import tail_networks as nets
import torch

from falconet.compiler.importer.tails import proof, table_fit
from falconet.compiler.importer.tails.raw_heads import complete
from falconet.compiler.importer.tails.recogniser import Recognised, recognise
from falconet.compiler.importer.tails.tail_graph import NotATail, without_suppression
from falconet.isa import FalconetError
from falconet_models.onnx_session import Reference
from falconet_models.ptq.head_cut import cut
from falconet_models.ptq.prepare import load_float

pytestmark = pytest.mark.timeout(120)

STRIDES = [8, 16, 32]
SSD = {"kind": "ssd", "variances": [0.1, 0.2]}

FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "yolov5": (lambda: nets.Yolov5(), {"box": {"kind": "yolo"}, "offset": 0, "score": "sigmoid"}),
    "yolov5 and its levels": (lambda: nets.Yolov5(raw=True), {"box": {"kind": "yolo"}}),
    "yolov3": (lambda: nets.Yolov5(exp=True), {"box": {"kind": "yolov3"}, "offset": 0}),
    "yolov4": (lambda: nets.Yolov5(exp=True, scale=1.05), {
        "box": {"kind": "yolov3", "scale": 1.05}, "offset": 0}),
    "yolov8": (lambda: nets.Yolov8(), {
        "box": {"kind": "dfl", "bins": 16}, "offset": 0.5, "score": "sigmoid"}),
    "gfl": (lambda: nets.Yolov8(bins=8, corners=True), {"box": {"kind": "dfl", "bins": 8}}),
    "yolov6": (lambda: nets.Yolov8(bins=1, ones=True), {
        "box": {"kind": "distance", "function": "linear"}, "score": "sigmoid"}),
    "yolov8 pose": (lambda: nets.Yolov8(points=3), {"box": {"kind": "dfl", "bins": 16}}),
    "ssdlite": (lambda: nets.Priors(5), {"box": SSD, "score": "softmax", "offset": 0.5}),
    "blazeface": (lambda: nets.Priors(1, softmax=False, linear=True, points=6, unit=False), {
        "box": {"kind": "linear", "variances": [2 ** -7, 2 ** -6]}, "score": "sigmoid"}),
    "fcos by root": (lambda: nets.Fcos(), {"score": "geometric"}),
    "direct distances": (lambda: nets.Yolov8(bins=1), {
        "box": {"kind": "distance", "function": "linear"}, "offset": 0.5, "score": "sigmoid"}),
    "distances to corners": (lambda: nets.Yolov8(bins=1, corners=True), {
        "box": {"kind": "distance", "function": "linear"}}),
    "pose": (lambda: nets.Yolov8(bins=1, points=3), {
        "box": {"kind": "distance", "function": "linear"}}),
    "yolox": (lambda: nets.Yolox(), {"box": {"kind": "grid"}, "offset": 0, "score": "sigmoid"}),
    "one class and background": (lambda: nets.Priors(1), {"box": SSD, "score": "softmax"}),
    "clipped pixels": (lambda: nets.Priors(1, unit=False, clip=True), {"box": SSD, "clip": True}),
    "centres in shares": (lambda: nets.Priors(1, boxes="centre"), {"box": SSD, "clip": False}),
    "faces": (lambda: nets.Priors(1, boxes="centre", points=5), {"box": SSD}),
    "efficientdet": (lambda: nets.Priors(softmax=False, boxes="yx", clip=True, variances=(1, 1)), {
        "box": {"kind": "ssd", "variances": [1, 1]}, "score": "sigmoid", "clip": True}),
    "retinanet": (lambda: nets.Priors(softmax=False, unit=False, anchors=9, variances=(1, 1)), {
        "box": {"kind": "ssd", "variances": [1, 1]}, "score": "sigmoid", "clip": False}),
    "fcos": (lambda: nets.Fcos(root=False), {"box": {"kind": "distance", "function": "relu"}}),
    "fcos by exp": (lambda: nets.Fcos(exp=True, root=False), {
        "box": {"kind": "distance", "function": "exp"}, "offset": 0.5}),
}


def recognised(module: Any, **metadata: str) -> Recognised:
    model = nets.export(module, **metadata)
    return recognise(load_float(model), {p.key: p.value for p in model.metadata_props})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tail_as_exported_is_described_and_proved(family: str) -> None:
    make, fields = FAMILIES[family]
    found = recognised(make())
    description = found.description
    assert {k: description[k] for k in fields} == fields
    assert [level["stride"] for level in description["levels"]] == STRIDES
    assert found.deviation.box < 0.2 and found.deviation.score < 5e-5
    assert "proved" in found.line() and "8, 16, 32" in found.line()


def test_anchors_are_those_of_the_file() -> None:
    yolo = recognised(nets.Yolov5()).description
    assert [level["anchors"] for level in yolo["levels"]] == [
        [[float(v) for v in a] for a in level] for level in nets.ANCHORS]
    priors = recognised(nets.Priors(1)).description
    assert [level["anchors"] for level in priors["levels"]] == [
        [[2.0 * s, 3.0 * s], [2.5 * s, 2.75 * s]] for s in STRIDES]


@pytest.mark.parametrize("names, count, objectness", [
    ("{0: 'ant', 1: 'bee', 2: 'cow', 3: 'dog'}", 4, False),
    ("['ant', 'bee', 'cow']", 3, True),
])
def test_the_names_in_the_file_say_whether_there_is_an_objectness(
    names: str, count: int, objectness: bool
) -> None:
    """Of four sigmoids behind a box."""
    found = recognised(nets.Yolox(3) if objectness else nets.Yolov8(4, 1), names=names)
    assert len(found.description["labels"]) == count and found.description["labels"][1] == "bee"
    assert ("objectness" in found.description["levels"][0]) == objectness
    assert not [n for n in found.notes if "objectness" in n or "names" in n]


def test_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(NotATail, match="4 scores where the file names 2 classes"):
        recognised(nets.Yolox(), names="['ant', 'bee']")


@pytest.mark.parametrize("family", ["yolov5", "pose", "efficientdet", "fcos by exp"])
def test_the_new_heads_are_the_channels_of_the_old(family: str) -> None:
    """The cut network gives, channel by channel, what the file's convolutions give."""
    model = load_float(nets.export(FAMILIES[family][0]()))
    found = recognise(model)
    x = np.random.default_rng(3).normal(size=(1, 3, *nets.SIZE)).astype(np.float32)
    heads = Reference(cut(found.model, found.description))(x)
    everything = Reference(cut(found.model, {"levels": [
        {"box": p.source, "class": p.name} for p in found.parts]}))(x)
    assert {p.name for p in found.parts} == set(heads)
    for p in found.parts:
        old = everything[p.source][0, list(p.channel)]
        expected = old * np.reshape(p.factor, (-1, 1, 1)) + np.reshape(p.shift, (-1, 1, 1))
        np.testing.assert_allclose(heads[p.name][0], expected, rtol=1e-4, atol=1e-4)


def broken(module: Any, change: Any, monkeypatch: Any) -> str:
    """What the proof says of a description with a fault in it."""
    real = proof.prove

    def prove(known: Any, levels: Any, post: dict[str, Any], parts: Any) -> Any:
        post, parts = change(dict(post), list(parts))
        return real(known, levels, post, parts)

    monkeypatch.setattr(table_fit, "prove", prove)
    with pytest.raises(NotATail) as e:
        recognised(module)
    return str(e.value)


def _level(post: dict[str, Any], number: int, **fields: Any) -> dict[str, Any]:
    levels = [dict(level) for level in post["levels"]]
    levels[number].update(fields)
    return {**post, "levels": levels}


FAULTS: dict[str, tuple[Any, Any, str]] = {
    "stride": (lambda: nets.Yolox(), lambda d, p: (_level(d, 1, stride=15), p), "level 1.*box"),
    "offset": (lambda: nets.Yolox(), lambda d, p: ({**d, "offset": 0.5}, p), "level 0.*box"),
    "anchor": (lambda: nets.Priors(1), lambda d, p: (_level(
        d, 2, anchors=[[64.0, 96.0], [81.0, 88.0]]), p), "level 2, anchor 1.*box"),
    "variance": (lambda: nets.Priors(1), lambda d, p: (
        {**d, "box": {"kind": "ssd", "variances": [0.1, 0.21]}}, p), "box"),
    "function": (lambda: nets.Fcos(root=False), lambda d, p: (
        {**d, "box": {"kind": "distance", "function": "exp"}}, p), "box"),
    "channels": (lambda: nets.Yolox(), lambda d, p: (d, [dataclasses.replace(
        q, channel=(1, 0, 2, 3)) if len(q.channel) == 4 else q for q in p]), "box"),
    "classes": (lambda: nets.Yolov8(bins=1), lambda d, p: (d, [dataclasses.replace(
        q, channel=(0, 2, 1)) if len(q.channel) == 3 else q for q in p]), "score"),
    "landmarks": (lambda: nets.Yolov8(bins=1, points=2), lambda d, p: (d, [dataclasses.replace(
        q, shift=tuple(s + 0.1 for s in q.shift)) if q.name.endswith("landmark") else q
        for q in p]), "landmark"),
    "clip": (lambda: nets.Priors(1, unit=False, clip=True), lambda d, p: (
        {**d, "labels": ["a"], "offset": 0.55}, p), "box"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_proof_says_what_differs_of_a_wrong_description(fault: str, monkeypatch: Any) -> None:
    make, change, said = FAULTS[fault]
    message = broken(make(), change, monkeypatch)
    assert re.search(said, message) and "in the file and" in message, message


class Softplus(nets.Yolox):
    """A decoder that the machine does not have."""

    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        return torch.cat((y[..., :2], torch.nn.functional.softplus(y[..., 2:4]), y[..., 4:]), -1)


class Mixed(nets.Yolox):
    """Rows that depend on each other."""

    def forward(self, x: Any) -> Any:
        return super().forward(x).softmax(1)


class Moved(nets.Yolox):
    """Two levels count their cells from 3 pixels further on."""

    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        return torch.cat((y[:, :96], y[:, 96:] + torch.tensor([3.0] + [0.0] * 7)), 1)


def test_levels_that_begin_elsewhere_are_moved_by_the_bias() -> None:
    found = recognised(Moved())
    shifts = {p.shift[0] for p in found.parts if p.name.endswith(".box")}
    assert found.description["offset"] == 0
    np.testing.assert_allclose(sorted(shifts), [3 / 32, 3 / 16], atol=1e-4)


@pytest.mark.parametrize("make, why", [
    (lambda: Softplus(), "boxes by none of the decoders"),
    (lambda: Mixed(), "several cells"),
    (lambda: nets.Yolox(raw=True), "no boxes are computed"),
    (lambda: nets.Yolov5(logits=True), "no boxes are computed"),
    (lambda: nets.Priors(decoded=False), "no boxes are computed"),
], ids=["softplus", "mixed", "raw yolox", "levels of yolov5", "raw priors"])
def test_what_is_no_tail_of_ours_is_said_by_the_output(make: Any, why: str) -> None:
    with pytest.raises(NotATail, match=f"output '.*{why}"):
        recognised(make())


def test_a_suppression_at_the_end_is_cut_and_its_thresholds_kept() -> None:
    model = nets.export(nets.Priors(softmax=False, unit=False, variances=(1, 1)))
    boxes = model.graph.output[0].name
    model = nets.with_suppression(model, 0.6, 0.3)
    short, fields = without_suppression(model)
    assert fields == {"nms_threshold": 0.6, "score_threshold": 0.3}
    assert [o.name for o in short.graph.output] == [boxes, "turned"]
    found = recognise(load_float(short))
    assert found.description["box"]["kind"] == "ssd" and len(found.description["labels"]) == 3


YOLO_BY_HAND = {"box": {"kind": "yolo"}, "offset": 0, "levels": [
    {"anchors": [list(a) for a in level]} for level in nets.ANCHORS]}
GRID_BY_HAND = {"box": {"kind": "grid"}, "offset": 0}
FACE_BY_HAND = {"box": SSD, "levels": [{"anchors": [[2 * s, 3 * s], [2.5 * s, 2.75 * s]]}
                                       for s in STRIDES]}


@pytest.mark.parametrize("raw, decoded, by_hand", [
    (lambda: nets.Yolov5(logits=True), lambda: nets.Yolov5(), YOLO_BY_HAND),
    (lambda: nets.Yolox(raw=True), lambda: nets.Yolox(), GRID_BY_HAND),
    (lambda: nets.Priors(1, points=3, decoded=False), lambda: nets.Priors(
        1, points=3), FACE_BY_HAND),
    (lambda: nets.Priors(4, decoded=False), lambda: nets.Priors(4), FACE_BY_HAND),
], ids=["levels of yolov5", "raw yolox", "faces", "ssd"])
def test_raw_heads_and_a_decoder_by_hand_are_what_is_recognised_of_the_decoded_file(
    raw: Any, decoded: Any, by_hand: dict[str, Any]
) -> None:
    found = complete(load_float(nets.export(raw())), by_hand)
    expected = recognised(decoded())
    assert "not proved" in found.line() and "proved:" not in found.line()
    tensors = {p.name: p for p in (*found.parts, *expected.parts)}
    for key in ("box", "offset", "labels", "score"):
        assert found.description.get(key, 0.5) == expected.description[key]
    for mine, theirs in zip(found.description["levels"], expected.description["levels"],
                            strict=True):
        assert mine.keys() == theirs.keys()
        for role in set(mine) - {"stride", "anchors"}:
            assert tensors[mine[role]].channel == tensors[theirs[role]].channel
            assert tensors[mine[role]].source == tensors[theirs[role]].source
        assert mine["stride"] == theirs["stride"]


@pytest.mark.parametrize("by_hand, error, why", [
    ({"box": {"kind": "grid"}, "levels": [{}, {}]}, NotATail, "3 levels of heads and .* 2"),
    ({"box": {"kind": "yolo"}, "levels": [{"anchors": [[1, 1]] * 3}] * 3}, NotATail, "1 anchors"),
    ({"box": {"kind": "cube"}}, FalconetError, "postprocess.box.kind: 'cube' is unknown"),
    ({"box": {"kind": "ssd"}, "levels": [{"anchors": 7}] * 3}, FalconetError, "anchors"),
])
def test_a_decoder_by_hand_that_does_not_fit_is_refused(
    by_hand: dict[str, Any], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        complete(load_float(nets.export(nets.Yolox(raw=True))), by_hand)


class Infinite(nets.Yolox):
    """A tail whose results are not always numbers."""

    def forward(self, x: Any) -> Any:
        return super().forward(x).log()


class Wide(nets.Levels):
    """A classifier whose last convolutions have one cell and many channels."""

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.nn.ModuleList(torch.nn.Conv2d(16, 2100, 1) for _ in range(2))

    def forward(self, x: Any) -> Any:
        x = super().forward(x)[-1].mean((2, 3), keepdim=True)
        return torch.cat([layer(x).flatten(1) for layer in self.last], 1) + 1.0


@pytest.mark.parametrize("make, why", [
    (lambda: Infinite(), "output '.*': values of usual heads are not finite"),
    (lambda: Wide(), "more than 2048 channels"),
])
def test_a_tail_that_takes_too_much_or_is_not_finite_is_none(make: Any, why: str) -> None:
    with pytest.raises(NotATail, match=why):
        recognised(make())
