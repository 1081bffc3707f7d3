"""``detect`` and ``classify`` of many pictures: folders, globs, videos, cameras, files."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import networks
import numpy as np
import pytest
from detectors import detector
from PIL import Image
from pycocotools.coco import COCO

from falconet.compiler import compile_graph
from falconet.isa import build_folder, preset
from falconet.runtime.photographs import Video, read_photograph
from falconet_app.cli import main
from falconet_app.commands import detecting as detector_module
from falconet_app.commands import machines
from falconet_app.commands.annotations import Annotations
from falconet_app.commands.inputs import Input, Inputs, Shot
from falconet_models.datasets import open_yolo

pytestmark = pytest.mark.timeout(300)
Capture = pytest.CaptureFixture[str]
TINY = preset("tiny")
BUILT = build_folder().resolve()
RNG = np.random.default_rng(50)
PREPROCESS = {"fit": "letterbox", "colour": "RGB", "size": [32, 48], "mean": [110.0] * 3,
              "std": [2.0] * 3, "pad": [0, 0, 0]}
GREEN = (0, 200, 83)


def noise(height: int = 64, width: int = 96) -> Any:
    coarse = RNG.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)


def save(path: Path, image: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def save_video(path: Path, codec: str, count: int = 6) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (96, 64))
    for _ in range(count):
        writer.write(noise() // 2)  # nothing of the colour of boxes
    writer.release()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many")
    graph = detector(size=(32, 48), levels=1, points=1, maximum=6, score_threshold=0.3)
    graph.meta["preprocess"] = PREPROCESS
    compile_graph(graph, TINY, "net").save(path / "net.flc")
    b = networks.Builder((3, 32, 48))
    other = b.done(b.conv(b.conv("x", 8, 3, 2), 4, 3, 2))
    labels = [f"thing {i}" for i in range(int(np.prod(other.tensors[other.outputs[0]].shape)))]
    other.meta = {"preprocess": PREPROCESS, "postprocess": {
        "kind": "classification", "output": other.outputs[0], "labels": labels}}
    compile_graph(other, TINY, "cls").save(path / "cls.flc")
    for i in range(47):
        save(path / "fifty" / f"{i:03}.{('png', 'jpg', 'webp')[i % 3]}", noise())
    (path / "fifty" / "010b.jpg").write_bytes((path / "fifty" / "010.jpg").read_bytes()[:-300])
    (path / "fifty" / "020b.png").write_bytes(b"")
    (path / "fifty" / "090.webp").write_text("hello")
    for name in ("same/x/1.png", "same/y/1.png", "same/y/1.jpg", "same/y/classes.png"):
        save(path / name, noise())
    for name in ("coco/000000000139.png", "coco/000000000285.png", "one.png"):
        save(path / name, noise())
    (path / "empty").mkdir()
    (path / "file").write_text("")
    save_video(path / "clip.mp4", "mp4v")
    save_video(path / "clip.avi", "MJPG")
    return path


@pytest.fixture(autouse=True)
def inside(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test in a folder of its own, with links to what is read."""
    for entry in folder.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str) -> int:
    return main(command.split())


def detect(command: str) -> int:
    return run(f"detect --model net.flc {command}")


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def boxes_alone(name: str, capsys: Capture) -> Any:
    """The boxes of one picture, by a command of its own."""
    capsys.readouterr()
    assert detect(f"{name} --json") == 0
    return json.loads(capsys.readouterr().out)["boxes"]


def has_box(image: Any, near: int = 0) -> bool:
    """Whether there is a line of the colour of boxes, at least as wide as the thinnest line."""
    green = (np.abs(np.asarray(image).astype(int) - GREEN) <= near).all(2)
    return int(green.sum()) >= 8


def test_fifty_photographs_of_which_three_are_broken(folder: Path, capsys: Capture) -> None:
    assert detect("fifty --output out --boxes boxes.jsonl") == 1
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == (
        "falconet: 3 of 50 could not be read; they are named above, the others are done")
    for name, reason in (("010b.jpg", "image file is truncated"), ("020b.png", "give a file of"),
                         ("090.webp", "give a file of JPEG")):
        assert f"fifty/{name}: not a picture that can be read" in err and reason in err
    good = sorted(p for p in os.listdir("fifty") if p[:3].isdigit() and "b" not in p[:4]
                  and p != "090.webp")
    assert len(good) == 47 and sorted(os.listdir("out")) == good
    found = lines("boxes.jsonl")
    assert [f["image"] for f in found] == [f"fifty/{name}" for name in good]
    assert sum(len(f["boxes"]) for f in found) > 47
    said = out.splitlines()
    assert len([s for s in said if s.startswith("fifty/")]) == 47
    assert f"47 pictures, {sum(len(f['boxes']) for f in found)} found by net" in out
    assert said[-2:] == ["pictures: out", "boxes: boxes.jsonl"]
    for f in found:
        drawn, plain = (read_photograph(p) for p in (
            f["image"].replace("fifty", "out"), f["image"]))
        assert drawn.shape == plain.shape == (f["height"], f["width"], 3)
        if f["image"].endswith(".png"):
            assert has_box(drawn) == bool(f["boxes"]) and not has_box(plain)
    for f in found[:3]:
        assert f["boxes"] == boxes_alone(f["image"], capsys)


@pytest.mark.parametrize("device", ["iss", "rtl"])
def test_opened_once(device: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Device and pre-processing are made once; each picture is verified."""
    monkeypatch.setenv("FALCONET_BUILD", str(BUILT))
    made, ready = [], []
    make, prepare = machines.make_device, detector_module.preparer
    monkeypatch.setattr(machines, "make_device", lambda *a: made.append(a[0]) or make(*a))
    monkeypatch.setattr(detector_module, "preparer", lambda p: ready.append(p) or prepare(p))
    assert detect(f"same/x same/y --verify --device {device}") == 0
    out = capsys.readouterr().out
    assert [d.value for d in made] == ["golden", "iss", "rtl"][: 2 + (device == "rtl")]
    assert len(ready) == 1 and "4 pictures" in out
    assert f"golden = ISS{' = RTL' * (device == 'rtl')}: all " in out
    assert out.count(" cycles") == 4 * (device == "rtl")


def test_verify_finds_a_difference_in_a_later_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from falconet_sim.iss.simulator import IssDevice

    run_, count = IssDevice.run, []

    def wrong(self: Any, *a: Any) -> Any:
        result = run_(self, *a)
        count.append(1)
        if len(count) == 3:
            result.detections.records["score"] += 1
        return result

    monkeypatch.setattr(IssDevice, "run", wrong)
    assert detect("same/x same/y --verify") == 1
    assert "falconet: instruction-set simulator: the boxes differ" in capsys.readouterr().err
    assert len(count) == 3


@pytest.mark.parametrize("target", ["out.mp4", "out.avi", "out.mkv", "out", "out/x.mov"])
@pytest.mark.parametrize("source", ["clip.mp4", "clip.avi"])
def test_video(source: str, target: str, capsys: Capture) -> None:
    assert detect(f"{source} --output {target} --boxes b.jsonl") == 0
    written = Path(target) / source if target == "out" else Path(target)
    with Video(source) as before, Video(written) as after:
        assert after.rate == before.rate == 10
        shots, drawn = list(before), list(after)
    found = lines("b.jsonl")
    assert len(drawn) == len(shots) == len(found) == 6
    assert [f["frame"] for f in found] == list(range(6)) and found[5]["seconds"] == 0.5
    assert all(f["boxes"] for f in found)
    for i, (shot, image) in enumerate(zip(shots, drawn)):
        assert has_box(image, 40) and not has_box(shot, 40)  # codecs change colours a little
        save(Path(f"{i}.png"), shot)
        assert found[i]["boxes"] == boxes_alone(f"{i}.png", capsys)


def test_a_video_of_odd_sides() -> None:
    """Codecs know even sides only; nothing is cut off."""
    source = Input("clip.mp4", Path("clip.mp4"))
    sink = Annotations(Path("odd.mp4"), Inputs((source,), True))
    image = (noise() // 2)[:47, :63]
    image[-1] = image[:, -1] = 255
    for i in range(3):
        sink.put(Shot(source, image, i, 5.0), [], {})
    sink.close()
    with Video("odd.mp4") as video:
        frames = list(video)
    assert [f.shape for f in frames] == [(48, 64, 3)] * 3
    assert frames[2][:, -2:].mean() > 200 < frames[2][-2:].mean()


def test_a_video_that_is_cut_short(capsys: Capture) -> None:
    data = Path("clip.avi").read_bytes()
    Path("cut.avi").write_bytes(data[: len(data) * 6 // 10])
    assert detect("cut.avi one.png -o out") == 1
    out, err = capsys.readouterr()
    assert "cut.avi: of 6 frames" in err and "is the file cut short?" in err
    with Video("out/cut.avi") as video:
        assert 0 < len(list(video)) < 5
    assert "one.png: " in out and Path("out/one.png").exists()
    assert detect("cut.avi") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("falconet: cut.avi: of 6 frames")


def test_frames_and_camera(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert detect("clip.mp4 --frames 2 --json") == 0
    assert [json.loads(s)["frame"] for s in capsys.readouterr().out.splitlines()] == [0, 1]
    open_ = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture",
                        lambda source: open_("clip.avi" if source == 3 else source))
    assert detect("--camera 3 --frames 4 -o out") == 0
    with Video("out/camera-3.mp4") as video:
        assert len(list(video)) == 4
    assert detect("one.png --camera 3") == 2


def test_coco(capsys: Capture) -> None:
    """pycocotools takes it; numbers of files are the ids."""
    assert detect("coco --boxes boxes.json --threshold 0.2") == 0
    truth = COCO()
    truth.dataset = {"images": [{"id": 139}, {"id": 285}], "annotations": [],
                     "categories": [{"id": i, "name": f"class {i - 1}"} for i in (1, 2, 3)]}
    truth.createIndex()
    loaded = truth.loadRes("boxes.json")
    capsys.readouterr()
    for number in (139, 285):
        own = loaded.loadAnns(loaded.getAnnIds(imgIds=[number]))
        assert detect(f"coco/{number:012}.png --threshold 0.2 --json") == 0
        alone = json.loads(capsys.readouterr().out)["boxes"]
        assert len(own) == len(alone) > 0
        for a, b in zip(own, alone):
            assert a["bbox"] == pytest.approx([b[k] for k in "xywh"], abs=1e-3)
            assert a["score"] == b["score"] and f"class {a['category_id'] - 1}" == b["class"]
    assert detect("same/x same/y --format coco --boxes other.txt") == 0  # names, no numbers
    found = json.loads(Path("other.txt").read_text())
    assert {(f["image_id"], f["file_name"]) for f in found} <= {
        (1, "same/x/1.png"), (2, "same/y/1.jpg"), (3, "same/y/1.png"), (4, "same/y/classes.png")}


def test_yolo(capsys: Capture) -> None:
    """As a data set of YOLO, read back: classes and boxes, cut off at the edges."""
    Path("set/images").mkdir(parents=True)
    for name in ("a.png", "b.png", "c.png"):
        save(Path("set/images") / name, noise())
    assert detect("set/images --boxes set/labels") == 0
    names = Path("set/labels/classes.txt").read_text().split("\n")[:-1]
    Path("set/data.yaml").write_text(f"names: {json.dumps(names)}\nval: images\n")
    found = open_yolo("set/data.yaml", "val")
    total = 0
    for i, name in enumerate(("a", "b", "c")):
        sample, alone = found.load(i), boxes_alone(f"set/images/{name}.png", capsys)
        corners = np.array([[b["x"], b["y"], b["x"] + b["w"], b["y"] + b["h"]] for b in alone])
        corners = np.clip(corners.reshape(-1, 4), 0, [96, 64, 96, 64])
        keep = (corners[:, 2:] > corners[:, :2]).all(1)
        np.testing.assert_allclose(sample.boxes, corners[keep], atol=2e-3)
        assert [names[c] for c in sample.classes] == [
            b["class"] for b, k in zip(alone, keep) if k]
        total += len(sample.boxes)
    assert total > 3
    assert detect("set/images --boxes set/labels") == 1
    assert "set/labels/a.txt: is there already" in capsys.readouterr().err
    assert detect("clip.mp4 --boxes frames") == 0
    assert sorted(os.listdir("frames")) == [
        "classes.txt", *(f"clip_{i:06}.txt" for i in range(6))]


def test_names_that_collide_lose_nothing(capsys: Capture) -> None:
    assert detect("same/x same/y clip.mp4 clip.mp4 -o out --boxes labels --format yolo") == 0
    assert sorted(os.listdir("out")) == ["1-2.png", "1.jpg", "1.png", "classes.png", "clip-2.mp4",
                                         "clip.mp4"]
    assert sorted(n for n in os.listdir("labels") if "clip" not in n) == [
        "1-2.txt", "1-3.txt", "1.txt", "classes-2.txt", "classes.txt"]
    assert len([n for n in os.listdir("labels") if "clip" in n]) == 12
    a, b = (read_photograph(f"same/{n}/1.png").astype(int) for n in "xy")
    one, two = (read_photograph(f"out/{n}.png") for n in ("1", "1-2"))
    assert (a == one).mean() > 0.5 > (a == two).mean() and (b == two).mean() > 0.5


def test_globs_and_names(capsys: Capture) -> None:
    for given, expected in (
        ("same/*/1.*", ["same/x/1.png", "same/y/1.jpg", "same/y/1.png"]),
        ("same/**/*.png", ["same/x/1.png", "same/y/1.png", "same/y/classes.png"]),
        ("one.png digits", ["one.png", "digits"]),
        ("one.png one.png", ["one.png"] * 2),
        ("same/x", ["same/x/1.png"]),
    ):
        capsys.readouterr()
        assert detect(f"{given} --json") == 0
        found = [json.loads(s)["image"] for s in capsys.readouterr().out.splitlines()]
        assert found == expected
    save(Path("odd[1].png"), noise())  # a file goes before a pattern
    assert detect("odd[1].png -o out") == 0 and os.listdir("out") == ["odd[1].png"]


def test_one_picture_into_a_folder(capsys: Capture) -> None:
    Path("there.d").mkdir()
    for given, place in (("there.d", "there.d/one.png"), ("new", "new/one.png"),
                         ("x/y.jpg", "x/y.jpg")):
        assert detect(f"one.png -o {given}") == 0
        assert f"picture: {place}" in capsys.readouterr().out
        assert has_box(read_photograph(place), 60)
    assert detect("digits -o new --boxes new/b.jsonl") == 0
    assert Path("new/digits.png").exists() and len(lines("new/b.jsonl")) == 1


REFUSED = [
    ("one.png -o x.xyz", "x.xyz: a picture cannot be saved as .xyz; use .png, .jpg"),
    ("clip.mp4 -o x.png", "x.png: a video cannot be saved as .png; use .mp4"),
    ("same/x -o x.png", "x.png: the pictures go to a folder; give a name without '.png'"),
    ("one.png -o file", "file: has no suffix that says what to write; use .png"),
    ("one.png -o one.png", "one.png: is an input, and would be lost; give another name"),
    ("one.png -o ./same/../one.png", "same/../one.png: is an input"),
    ("same/x -o same/x", "same/x/1.png: is an input"),
    ("clip.mp4 -o clip.mp4", "clip.mp4: is an input"),
    ("one.png --boxes one.png --format jsonl", "one.png: is an input"),
    ("one.png --boxes x.txt", "x.txt: .jsonl are JSON lines, .json is COCO, a folder is YOLO"),
    ("one.png --boxes file --format yolo", "file: YOLO has a file for each picture; give a fold"),
    ("one.png --boxes empty --format coco", "empty: is a folder; give the name of a file in it"),
    ("one.png --format coco", "--format: is of the boxes; say where they go with --boxes"),
    ("empty", "empty: no pictures in this folder; folders in it are not searched"),
    ("one.png nothing.png", "nothing.png: no such picture; give a file or a name"),
    ("none*.png", "none*.png: no picture has such a name"),
    ("fifty/020b.png fifty/090.webp", "not one picture could be read; see above"),
    ("fifty/020b.png", "fifty/020b.png: not a picture that can be read"),
    ("one.png --model cls.flc", "program 'cls': its outputs are a classification, so 'falconet "
                                "detect' cannot interpret them; use 'falconet classify'"),
]


@pytest.mark.parametrize(("command", "sentence"), REFUSED, ids=[c for c, _ in REFUSED])
def test_what_is_refused_is_one_sentence(command: str, sentence: str, capsys: Capture) -> None:
    before = {p: p.stat().st_mtime_ns for p in Path().rglob("*")}
    assert detect(command) == 1
    out, err = capsys.readouterr()
    assert err.splitlines()[-1].startswith(f"falconet: {sentence}") and out == ""
    assert err.count("falconet:") == 1 and "Traceback" not in err
    assert {p: p.stat().st_mtime_ns for p in Path().rglob("*")} == before


def test_boxes_are_printed_before_what_cannot_be_written(capsys: Capture) -> None:
    for given in ("file/x.png", "file/x.png --json"):
        assert detect(f"one.png -o {given}") == 1
        out, err = capsys.readouterr()
        assert "class" in out and "falconet: file/x.png: cannot be written (" in err
    assert detect("same/x -o file/x") == 1
    out, err = capsys.readouterr()
    assert "same/x/1.png: " in out and "falconet: file/x/1.png: cannot be written (" in err


@pytest.mark.parametrize("sources", ["clip.mp4", "fifty"])
def test_interrupted_files_are_whole(sources: str, monkeypatch: pytest.MonkeyPatch) -> None:
    look, count = detector_module.Detector.__call__, []

    def stop(self: Any, image: Any) -> Any:
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt
        return look(self, image)

    monkeypatch.setattr(detector_module.Detector, "__call__", stop)
    code = 130
    with suppress(KeyboardInterrupt):
        code = detect(f"{sources} -o out --boxes b.jsonl")
    assert code != 0 and len(count) == 4
    assert len(lines("b.jsonl")) == 3
    if sources == "clip.mp4":
        assert os.listdir("out") == ["clip.mp4"]
        with Video("out/clip.mp4") as video:
            assert len(list(video)) == 3
    else:
        assert sorted(os.listdir("out")) == ["000.png", "001.jpg", "002.webp"]
        for name in os.listdir("out"):
            read_photograph(f"out/{name}")
    assert not [n for n in os.listdir() if n.startswith(".")]


def test_without_opencv(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert detect("one.png -o out") == 0
    for command, use in (("clip.mp4", "read videos"), ("--camera 0", "read a camera"),
                         ("clip.mp4 -o out", "write videos")):
        assert detect(command) == 1
        assert capsys.readouterr().err.splitlines()[-1] == (
            f"falconet: to {use}, OpenCV is needed; run: pip install opencv-python-headless")


def test_a_bar_on_the_terminal_leaves_the_pipe_alone() -> None:
    """Results go to standard output, also while the bar on a terminal redirects it."""
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "falconet_app.cli", *"detect same/y --model net.flc".split()],
            stdout=subprocess.PIPE, stderr=theirs, timeout=60, check=True, text=True)
    finally:
        os.close(theirs)
        os.close(ours)
    assert [s.partition(":")[0] for s in done.stdout.splitlines()[:3]] == [
        "same/y/1.jpg", "same/y/1.png", "same/y/classes.png"]


def test_classify(capsys: Capture) -> None:
    assert run("classify --model cls.flc one.png --json --top 3") == 0
    alone = json.loads(capsys.readouterr().out)
    assert len(alone["classes"]) == 3 and alone["image"] == "one.png"
    assert run("classify --model cls.flc one.png fifty clip.mp4 --top 3 -o c.csv") == 1
    out, err = capsys.readouterr()
    assert "3 of 52 could not be read" in err and "54 pictures, by cls" in out
    rows = [line.split(",") for line in Path("c.csv").read_text().splitlines()]
    assert rows[0] == ["image", "frame", "rank", "class", "score", "index"]
    assert len(rows) == 1 + 3 * (1 + 47 + 6)
    for rank, (row, c) in enumerate(zip(rows[1:4], alone["classes"]), 1):
        assert row == ["one.png", "", str(rank), c["class"], repr(c["score"]), str(c["index"])]
    assert [r[:3] for r in rows[-3:]] == [["clip.mp4", "5", str(r)] for r in (1, 2, 3)]
    assert run("classify --model cls.flc one.png same/x -o c.jsonl --top 3 --verify") == 0
    assert lines("c.jsonl")[0] == alone
    assert "golden = ISS: all " in capsys.readouterr().out
    for command, sentence in (
        ("one.png -o c.txt", "c.txt: classes are saved as .csv or .jsonl; give it one of these"),
        ("one.png --model net.flc", "program 'net': its outputs are a detection, so 'falconet "
                                    "classify' cannot interpret them; use 'falconet detect'"),
    ):
        assert run(f"classify --model cls.flc {command}") == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"falconet: {sentence}")


def test_run_keeps_its_input(capsys: Capture) -> None:
    assert run("run net.flc one.png -o raw.npz") == 0
    program = machines.Program.load("net.flc")
    shape = program.header["inputs"][0]["shape"]
    np.savez("x.npz", x=RNG.integers(-128, 128, shape, np.int8))
    for output, sentence in (("x.npz", "x.npz: is an input"), ("net.flc", "net.flc: outputs are"),
                             ("out.txt", "out.txt: outputs are saved as .npz")):
        capsys.readouterr()
        assert run(f"run net.flc x.npz -o {output}") == 1
        out, err = capsys.readouterr()
        assert err.splitlines()[-1].startswith(f"falconet: {sentence}") and out == ""
    assert run("run net.flc x.npz -o file/y.npz") == 1
    out, err = capsys.readouterr()
    assert "boxes of" in out and "falconet: file/y.npz: cannot be written (" in err
