"""``falconet quantize`` on a detector's file as its exporter wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tail_networks as nets
from PIL import Image

from falconet.compiler import compile_model
from falconet.isa import FalconetError, preset
from falconet_app.cli import main
from falconet_models.metadata import get_meta
from falconet_models.ptq.quantize import quantize

pytestmark = pytest.mark.timeout(300)

ULTRALYTICS = {"names": "{0: 'ant', 1: 'bee', 2: 'cow'}", "stride": "32", "task": "detect",
               "imgsz": "[64, 96]"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(4):
        pixels = np.kron(random.integers(0, 256, (6, 9, 3)), np.ones((16, 16, 1)))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def tensors(count: int = 4) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.uniform(size=(1, 3, *nets.SIZE)).astype(np.float32) for _ in range(count)]


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """What a command that goes well prints."""
    code = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def test_the_command_says_what_it_recognised_and_writes_the_description(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "best.onnx", tmp_path / "int8.onnx"
    onnx.save(nets.export(nets.Yolov8(bins=1), lift=4.0, **ULTRALYTICS), source)
    said = " ".join(run(capsys, "quantize", source, "--calibration", photos, "--output", target
                        ).split())
    assert "heads: distances (linear), scores by sigmoid of 3 classes" in said
    assert "3 levels of stride 8, 16, 32" in said and "proved: boxes within 0.0" in said
    meta = get_meta(onnx.load(target))
    assert meta["postprocess"]["labels"] == ["ant", "bee", "cow"]
    assert meta["preprocess"]["fit"] == "letterbox" and meta["preprocess"]["pad"] == [114] * 3
    program = tmp_path / "net.flc"
    run(capsys, "compile", target, "--preset", "tiny", "--output", program)
    found = run(capsys, "detect", photos / "0.png", "--model", program, "--device", "golden",
                "--threshold", 0.1, "--json")
    assert {d["class"] for d in json.loads(found)["boxes"]} <= {"ant", "bee", "cow"}


def test_json_holds_the_same_line(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(nets.export(nets.Yolox()), tmp_path / "x.onnx")
    said = run(capsys, "quantize", tmp_path / "x.onnx", "--calibration", photos, "--json",
               "--output", tmp_path / "y.onnx")
    (line,) = json.loads(said)["heads"]
    assert "YOLOX" in line and "taken as the objectness" in line


def test_thresholds_of_a_suppression_at_the_end_are_defaults() -> None:
    model = nets.with_suppression(nets.export(nets.Priors(softmax=False, unit=False,
                                                          variances=(1, 1))), 0.6, 0.3)
    post = get_meta(quantize(model, tensors()))["postprocess"]
    assert (post["nms_threshold"], post["score_threshold"]) == (0.6, 0.3)


def test_what_is_not_recognised_is_said_beside_the_refusal() -> None:
    with pytest.raises(FalconetError, match="as a detector's tail it was not recognised: output "
                                            r".*no boxes are computed from it"):
        quantize(nets.export(nets.Priors(decoded=False)), tensors())


def test_without_detect_nothing_is_looked_for() -> None:
    with pytest.raises(FalconetError) as e:
        quantize(nets.export(nets.Yolox()), tensors(), detect=False)
    assert "tail" not in str(e.value)


def test_a_network_that_is_no_detector_is_quantised_as_before() -> None:
    """Heads as they are, without a tail, stay outputs."""
    lines: list[str] = []
    model = nets.export(nets.Plain())
    made = quantize(model, tensors(), recognised=lines.append)
    assert not lines and "postprocess" not in get_meta(made)
    assert [o.name for o in made.graph.output] == [o.name for o in model.graph.output]


def test_a_decoder_by_hand_needs_no_tensors(tmp_path: Path) -> None:
    """YOLOX by its exporter's default decodes no boxes; two fields say how."""
    heads = tmp_path / "heads.json"
    heads.write_text('{"box": {"kind": "grid"}, "offset": 0}')
    lines: list[str] = []
    made = quantize(nets.export(nets.Yolox(raw=True)), tensors(), heads=heads,
                    recognised=lines.append)
    post = get_meta(made)["postprocess"]
    assert "not proved" in lines[0] and [level["stride"] for level in post["levels"]] == [8, 16, 32]
    assert compile_model(made, preset("tiny")).detect is not None
    heads.write_text('{"box": {"kind": "yolo"}, "levels": [{}, {}]}')
    with pytest.raises(FalconetError, match=r"3 levels .* name the heads' tensors"):
        quantize(nets.export(nets.Yolox(raw=True)), tensors(), heads=heads)


def test_rows_of_more_boxes_than_a_machine_has_pixels_are_no_obstacle() -> None:
    """The expectation over bins of YOLOv8 at 640 has 8,400 columns; here there are 5,376."""
    size = 512, 512
    model = nets.export(nets.Yolov8(2), size)
    random = np.random.default_rng(0)
    made = quantize(model, [random.uniform(size=(1, 3, *size)).astype(np.float32)],
                    equalisation=False, bias_correction=False)
    assert get_meta(made)["postprocess"]["box"] == {"kind": "dfl", "bins": 16}


def test_a_tail_that_is_not_recognised_and_too_large_is_said_to_be_both() -> None:
    with pytest.raises(FalconetError, match=r"4095 pixels a side.*\n.*tail it was not recognised: "
                                            ".*several cells"):
        quantize(nets.export(nets.Attended(), (512, 512)), tensors(1))
