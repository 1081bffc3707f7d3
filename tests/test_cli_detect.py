"""``falconet detect`` and what else of the commands is about boxes, on a small network by file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from falconet.isa import FalconetError, Program
from falconet.runtime.detections import Detections, Options, limits
from falconet.runtime.device import RunResult
from falconet.runtime.suppression import suppress
from falconet_app.cli import main
from falconet_app.commands.machines import require_same
from falconet_app.commands.sources import inputs_of
from falconet_models.zoo.builder import GraphBuilder
from falconet_sim.golden.detect import candidates, landmarks
from falconet_sim.golden.device import GoldenDevice

pytestmark = pytest.mark.timeout(300)
Capture = pytest.CaptureFixture[str]
SIZE = (32, 48)
HEADS = {
    "labels": ["ant", "bee"], "box": {"kind": "ssd", "variances": [0.3, 0.2]},
    "score_threshold": 0.5, "nms_threshold": 0.4, "maximum": 20,
    "levels": [{"stride": 8, "anchors": [[20, 18]], "class": "class", "box": "box",
                "landmark": "mark"}],
}


def float_network() -> onnx.ModelProto:
    """A convolution, three heads, and a tail that makes rows of them."""
    rng = np.random.default_rng(3)
    g = GraphBuilder("net", (1, 3, *SIZE))

    def conv(name: str, x: str, i: int, o: int, k: int, stride: int, bias: float) -> str:
        weight = rng.normal(size=(o, i, k, k)) / np.sqrt(i * k * k)
        return g.conv(name, x, weight, bias + rng.normal(size=o), stride=stride)

    x = g.node("Relu", "stem.relu", conv("stem", "input", 3, 8, 7, 8, 0))
    heads = [conv(name, x, 8, c, 1, 1, bias)
             for name, c, bias in (("class", 2, 0), ("box", 4, 0), ("mark", 4, 0))]
    heads[0] = g.node("Sigmoid", "score", heads[0])
    return g.finish([g.node("Concat", "all", *heads, axis=1)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detect")
    rng = np.random.default_rng(0)
    (path / "photos").mkdir()
    for name in ("noise.png", "photos/a.png", "photos/b.png"):
        coarse = rng.integers(0, 256, (8, 12, 3), np.uint8)
        Image.fromarray(coarse.repeat(5, 0).repeat(5, 1)).save(path / name)
    onnx.save(float_network(), str(path / "float.onnx"))
    (path / "heads.json").write_text(json.dumps(HEADS))
    command = ("quantize {0}/float.onnx --heads {0}/heads.json --calibration {0}/photos --mean "
               "120,120,120 --std 60,60,60 --fit stretch --output {0}/net.onnx")
    assert main(command.format(path).split()) == 0
    for post in ("machine", "host"):
        assert main(f"compile {path}/net.onnx --preset tiny --post {post} "
                    f"--output {path}/{post}.flc".split()) == 0
    return path


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("falconet_app.commands.sources.BUILD", folder / "build")


def boxes_of(command: str, capsys: Capture) -> dict[str, Any]:
    """The JSON of a detect command that must succeed."""
    capsys.readouterr()
    assert main(["detect", "noise.png", "--json", *command.split()]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def expected(mode: str, options: Options, *, agnostic: bool = False) -> Detections:
    """The boxes from the heads that the host's program stores."""
    program, host = Program.load("machine.flc"), Program.load("host.flc")
    tensors = GoldenDevice(host).run(inputs_of(host, "noise.png")).outputs
    assert program.detect is not None
    detect = dataclasses.replace(program.detect, mode=mode)
    lim = limits(detect, options)
    records, seen = candidates(tensors, detect, lim, program.arch)
    if mode in ("softer", "adaptive"):
        records = records[: detect.limit]  # the host sees what there is room for
    kept = suppress(records, lim, mode=mode, agnostic=agnostic)
    return Detections(kept, landmarks(tensors, detect, kept), seen)


def same_boxes(found: dict[str, Any], want: Detections) -> None:
    """The input is stretched to 3/4 x 5/4 of the photograph's 60 x 40 pixels."""
    assert found["post"] == "machine" and found["candidates"] == want.candidates
    assert len(found["boxes"]) == len(want.records) > 0
    for box, r, mark in zip(found["boxes"], want.records, want.landmarks):
        x1, y1, x2, y2 = (int(r[k]) / 16 for k in ("x1", "y1", "x2", "y2"))
        place = [x1 * 1.25, y1 * 1.25, (x2 - x1) * 1.25, (y2 - y1) * 1.25]
        assert [box[k] for k in ("x", "y", "w", "h")] == pytest.approx(place)
        assert box["score"] == int(r["score"]) / 65536
        assert box["class"] == HEADS["labels"][int(r["label"])]  # type: ignore[index]
        np.testing.assert_allclose(box["landmarks"], mark / 16 * 1.25)


def test_file_to_boxes(folder: Path, capsys: Capture) -> None:
    """A program file, the model, and the simulator give the same boxes, near those in float."""
    found = boxes_of("--model machine.flc", capsys)
    same_boxes(found, expected("greedy", Options()))
    assert boxes_of("--model net.onnx --preset tiny", capsys) == found
    simulated = boxes_of("--model machine.flc --device iss --verify", capsys)
    assert simulated["boxes"] == found["boxes"]
    for source in ("host.flc", "net.onnx --preset tiny --post host"):
        host = boxes_of(f"--model {source}", capsys)
        assert host["post"] == "host" and len(host["boxes"]) == len(found["boxes"])
        for a, b in zip(host["boxes"], found["boxes"]):
            assert a["class"] == b["class"]
            assert a["score"] == pytest.approx(b["score"], abs=2**-15)
            assert a["landmarks"] == [pytest.approx(p, abs=0.2) for p in b["landmarks"]]
            assert [a[k] for k in "xywh"] == pytest.approx([b[k] for k in "xywh"], abs=0.2)


@pytest.mark.parametrize("nms", ["greedy", "soft_linear", "soft_gaussian", "diou", "softer",
                                 "adaptive"])
@pytest.mark.parametrize("agnostic", ["--agnostic", "--per-class"])
def test_modes(nms: str, agnostic: str, capsys: Capture) -> None:
    """Of the model, so that it is compiled for the mode; softer and adaptive are the host's."""
    options = "--threshold 0.6 --iou 0.2 --sigma 0.3"
    found = boxes_of(f"--model net.onnx --preset tiny --nms {nms} {agnostic} {options}", capsys)
    want = expected(nms, Options(0.6, 0.2, 0.3), agnostic=agnostic == "--agnostic")
    same_boxes(found, want)


def test_modes_differ() -> None:
    """What the test above compares does depend on the mode."""
    kept = [expected(m, Options(0.6, 0.2, 0.3), agnostic=a).records.tobytes()
            for m in ("greedy", "soft_linear", "soft_gaussian", "diou", "softer")
            for a in (True, False)]
    assert len(set(kept)) >= 8


def test_options_of_a_run(capsys: Capture) -> None:
    found = boxes_of("--model machine.flc --threshold 0 --iou 1", capsys)
    assert len(found["boxes"]) == 20 < found["candidates"] == 2 * 4 * 6
    assert len(boxes_of("--model machine.flc --maximum 2", capsys)["boxes"]) == 2
    sure = boxes_of("--model machine.flc --threshold 0.6", capsys)
    assert sure["boxes"] and all(b["score"] >= 0.6 for b in sure["boxes"])
    more = boxes_of("--model net.onnx --preset tiny --threshold 0 --iou 1 --maximum 25", capsys)
    assert len(more["boxes"]) == 25


def test_what_is_said(capsys: Capture) -> None:
    assert main("detect noise.png --model machine.flc --device iss --verify -o boxes.png".split()
                ) == 0
    out = capsys.readouterr().out
    assert "boxes by the machine, of" in out and "picture: boxes.png" in out
    assert "golden = ISS: all " in out and "(boxes, landmarks, counts) are equal" in out
    assert main("detect noise.png --model machine.flc --nms softer --threshold 0".split()) == 0
    assert "48 candidates, of which the 20 best were looked at" in capsys.readouterr().out
    counts = ("candidates", "dropped")
    for nms, dropped in (("softer", 28), ("greedy", 0)):  # of the host; of the machine
        found = boxes_of(f"--model machine.flc --nms {nms} --threshold 0", capsys)
        assert [found[k] for k in counts] == [48, dropped]


@pytest.mark.parametrize(("command", "sentence"), [
    ("--model machine.flc --post host", "machine.flc: its boxes are made by the machine; compile"),
    ("--model host.flc --post machine", "host.flc: its boxes are made by the host; compile"),
    ("--model machine.flc --nms diou", "machine.flc: compiled for nms greedy, not diou; give the"),
    ("--model machine.flc --agnostic", "machine.flc: compiled for agnostic False, not True; give"),
    ("--model host.flc --nms softer", "--nms softer works on the machine's boxes; leave --post"),
    ("--model host.flc --sigma 0", "options: sigma=0.0; give a positive number"),
    ("--model machine.flc --sigma -1", "options: sigma=-1.0; give a positive number"),
    ("--model machine.flc --maximum 21", "options: maximum=21; the program has room for 20"),
    ("--model net.onnx --preset tiny --maximum 65", "postprocess.maximum: 'tiny' has room for"),
])
def test_mistakes(command: str, sentence: str, capsys: Capture) -> None:
    assert main(["detect", "noise.png", *command.split()]) == 1
    out, err = capsys.readouterr()
    assert err.strip().splitlines()[-1].startswith(f"falconet: {sentence}") and out == ""


@pytest.mark.parametrize(("text", "sentence"), [
    ("{", "bad.json: not a JSON file"),
    ('{"labels": []}', "bad.json: postprocess."),
    (json.dumps({**HEADS, "levels": [{**HEADS["levels"][0], "box": "b"}]}),  # type: ignore[index]
     "postprocess.levels[0].box: "),
])
def test_bad_heads(text: str, sentence: str, capsys: Capture) -> None:
    Path("bad.json").write_text(text)
    assert main("compile net.onnx --preset tiny --heads bad.json".split()) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"falconet: {sentence}")


def test_heads_by_hand_at_compile(capsys: Capture) -> None:
    """They replace what the model says."""
    Path("other.json").write_text(json.dumps(HEADS | {"nms": "diou", "labels": ["x", "y"]}))
    assert main("compile net.onnx --preset tiny --heads other.json -o other.flc".split()) == 0
    assert Program.load("other.flc").header["detect"]["mode"] == "diou"
    assert boxes_of("--model other.flc", capsys)["boxes"][0]["class"] in ("x", "y")


def test_inspect_shows_the_head(capsys: Capture) -> None:
    assert main("inspect machine.flc --json".split()) == 0
    head = json.loads(capsys.readouterr().out)["head"]
    assert head["mode"] == "greedy" and head["limit"] == 20 and head["points"] == 2
    assert head["levels"] == [{
        "scores": "class", "height": 4, "width": 6, "stride": [8, 8], "classes": 2,
        "anchors": [[20, 18]], "objectness": False}]
    assert main("inspect machine.flc".split()) == 0
    text = capsys.readouterr().out
    assert "at most 20 of 64 candidates, 2 landmarks each; greedy" in text
    assert "class: 4 x 6 cells of stride 8 x 8, anchors 20 x 18; 2 classes" in text
    assert main("inspect host.flc --json".split()) == 0
    assert json.loads(capsys.readouterr().out)["head"] is None


def test_run_saves_the_boxes(capsys: Capture) -> None:
    assert main("run machine.flc noise.png -o raw.npz".split()) == 0
    want, raw = expected("greedy", Options()), np.load("raw.npz")
    np.testing.assert_array_equal(raw["detections.records"], want.records)
    np.testing.assert_array_equal(raw["detections.landmarks"], want.landmarks)
    assert raw["detections.candidates"] == want.candidates
    assert f"{len(want.records)} boxes of {want.candidates} candidates" in capsys.readouterr().out


def test_compare_walks_the_detect_engine(capsys: Capture) -> None:
    assert main("compare machine.flc --image noise.png --device iss".split()) == 0
    assert "every tile of" in capsys.readouterr().out


def test_a_difference_in_the_boxes_is_named() -> None:
    want = expected("greedy", Options())
    result = RunResult({}, detections=want)
    require_same(result, RunResult({}, detections=want), "RTL")
    records, marks = want.records.copy(), want.landmarks.copy()
    records["x1"][1] += 1
    marks[1, 1, 0] -= 1
    for changed, place in (
        (Detections(records, want.landmarks, want.candidates), r"first in records\[1\]"),
        (Detections(want.records, marks, want.candidates), r"first in landmarks\[1\]"),
        (Detections(want.records[1:], want.landmarks[1:], want.candidates), "records instead of"),
        (Detections(want.records, want.landmarks, 7777), "7777 candidates instead of"),
        (None, "there are no boxes"),
    ):
        with pytest.raises(FalconetError, match=f"RTL: .*{place}"):
            require_same(result, RunResult({}, detections=changed), "RTL")
