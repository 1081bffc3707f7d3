"""``falconet train``, ``eval`` and ``export`` as they are typed."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import subprocess
import sys
import warnings

import numpy as np
import onnx
import pytest
import torch
import yaml
from PIL import Image
from tiny_training import BASE, TRAIN, VAL

from falconet_app.cli import main
from falconet_models.data import SCENES
from falconet_models.datasets import Digits, write_coco
from falconet_models.metadata import get_meta
from falconet_models.train import checkpoints
from falconet_models.train.checkpoints import load_detector

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two epochs, by the command."""
    folder = tmp_path_factory.mktemp("commands")
    for split, data in (("train", TRAIN), ("val", VAL)):
        write_coco(data, folder / "data", split)
    (folder / "r.yaml").write_text(yaml.safe_dump(BASE))
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["train", str(folder / "data"), "--config", str(folder / "r.yaml"),
                     "--out", str(folder / "run")]) == 0
    (folder / "said.txt").write_text(out.getvalue())
    write_coco(VAL, folder / "data", "test")
    return folder


def judged(capsys, *arguments):
    assert main(["eval", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("device", ["float", "fakequant"])
def test_networks_of_a_run_are_judged(run, capsys, device):
    found = judged(capsys, run / "run", "--device", device, "--split", "val")
    style = {"fakequant": "quantised"}.get(device, device)
    # the best network of the run, image by image instead of in batches
    assert found["map50"] == pytest.approx(load_detector(run / "run", style)[1]["map50"], abs=2e-3)
    assert found["images"] == 8 and set(found["classes"]) == set("0123456789")
    assert found["facts"]["parameters"] > 10_000 and found["facts"]["macs"] > 100_000
    assert set(found["times"]) == {"pre-processing", "network", "post-processing"}
    page = run / "run" / f"eval-{device}" / "report.html"
    assert str(page) == found["report"] and "learning.png" in [
        p.name for p in page.parent.iterdir()]


def test_the_exported_network_runs(run, capsys, tmp_path):
    target = tmp_path / "net.onnx"
    assert main(["export", str(run / "run"), "--output", str(target)]) == 0
    meta = get_meta(onnx.load(target))
    assert meta["postprocess"]["kind"] == "detection" and meta["training"]["epoch"] in (-1, 0)
    assert main(["compile", str(target), "--preset", "tiny", "--output",
                 str(tmp_path / "net.flc")]) == 0
    capsys.readouterr()
    found = judged(capsys, target, "--data", run / "data", "--device", "golden", "--preset",
                   "tiny", "--images", "3", "--out", tmp_path / "r")
    assert found["images"] == 3


def test_the_next_step_that_train_prints_is_one(run, tmp_path):
    """Of a set without a split for tests."""
    (line,) = [x for x in (run / "said.txt").read_text().splitlines() if x.startswith("next: ")]
    _, *arguments = shlex.split(line.removeprefix("next: "))
    (tests,) = run.glob("data/**/instances_test.json")
    aside = tests.rename(tmp_path / "aside")
    try:
        assert main([*arguments, "--images", "2", "--out", str(tmp_path)]) == 0
    finally:
        aside.rename(tests)


@pytest.mark.parametrize("spoil, said", [
    (lambda t: t.copy_(torch.logspace(0, 6, len(t))), "than float32 can count"),
    (lambda t: t.fill_(np.nan), "no numbers")])
def test_what_diverged_is_not_exported(run, tmp_path, capsys, spoil, said):
    content = checkpoints.load(run / "run" / "quantised.pt")
    for name, tensor in content["state"].items():
        if name.endswith("conv.bias"):
            spoil(tensor)
    checkpoints.save(tmp_path / "quantised.pt", content)
    assert main(["export", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert said in error and "diverged" in error and not (tmp_path / "model.onnx").exists()


def test_what_is_wrong_is_told_before_torch_is_imported(tmp_path):
    """A data set, a recipe, and what a recipe says of each part of a run and of its network."""
    wrong = {"rate: 100": "rate", "rtae: 1": "no such field", "boxes: {kind: dui}": "diou",
             "assign: {kind: x}": "assign.kind", "classes: {kind: x}": "classes.kind",
             "augment: {mosaic: 5}": "augment.mosaic", "network: digit": "did you mean 'digits'",
             "fields: {box: sdd}": "ssd", "fields: {backbone: {family: v9}}": "family",
             "fields: {size: 95}": "size"}
    cases = [(["train", "NONE", "--out", "x"], "no such file or folder"),
             (["train", "digits", "--out", "x", "--config", "smal"], "did you mean 'small'")]
    for i, (text, said) in enumerate(wrong.items()):
        (tmp_path / f"{i}.yaml").write_text(text)
        cases.append((["train", "digits", "--out", "x", "--config", f"{i}.yaml"], said))
    program = ("import sys; from falconet_app.cli import main; "
               f"print([(main(a), 'torch' in sys.modules) for a in {[a for a, _ in cases]}])")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          cwd=tmp_path)
    assert done.stdout.strip() == str([(1, False)] * len(cases)), done.stderr
    for line, (_, said) in zip(done.stderr.splitlines(), cases, strict=True):
        assert line.startswith("falconet: ") and said in line, (line, said)
    assert not (tmp_path / "x").exists()


def test_brevitas_says_nothing_of_itself():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import falconet_models.networks.export, "
         "falconet_models.networks.brevitas, falconet_models.train.loop"],
        capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments, said", [
    (["eval", "RUN/none", "--device", "golden"], "no such file"),
    (["eval", "RUN/none"], "no such file"),
    (["eval", "RUN/run/float.pt"], "a float network"),
    (["eval", "RUN/run/last.pt"], "the state of a run"),
    (["eval", "RUN/run", "--data", "OTHER"], "classes"),
    (["eval", "RUN/run", "--split", "none"], "none"),
    (["train", "RUN/data", "--quick", "--config", "small", "--out", "RUN/x"], "leave one"),
    (["train", "RUN/data", "--config", "smal", "--out", "RUN/x"], "small-quick"),
    (["train", "RUN/none", "--out", "RUN/x"], "no such file or folder"),
    (["train", "RUN/data", "--config", "small", "--out", "RUN/run"], "--fresh"),
    (["train", "RUN/data", "--out", "RUN/data", "--fresh"], "not the folder of a run"),
    (["export", "RUN/run/float.pt"], "quantise"),
])
def test_mistakes_end_in_one_sentence(run, tmp_path, capsys, arguments, said):
    if "OTHER" in arguments:
        other = type("Letters", (), {"labels": tuple("abcdefghij"), "__len__": lambda _: 2,
                                     "load": lambda _, i: VAL.load(i)})()
        write_coco(other, tmp_path / "other", "test")
    given = [a.replace("RUN", str(run)).replace("OTHER", str(tmp_path / "other"))
             for a in arguments]
    assert main(given) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "falconet:" in line]
    assert len(lines) == 1 and said in lines[0]


def test_the_digits_of_the_zoo(capsys, tmp_path):
    """The committed network sees; the machine's RTL gives what the golden model gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        golden = judged(capsys, "digits", "--images", "30", "--out", tmp_path / "g")
    assert golden["map50"] > 0.85 and golden["facts"]["device"] == "golden"
    few = [judged(capsys, "digits", "--device", device, "--preset", "tiny", "--images", "3",
                  "--out", tmp_path / device) for device in ("golden", "rtl")]
    for part in ("map50", "map50_95", "classes", "confusion", "confidence"):
        assert few[0][part] == few[1][part]
    assert few[1]["facts"]["cycles per image"] > 10_000


def test_the_scene_of_the_zoo_is_of_the_test_split():
    picture = np.asarray(Image.open(SCENES["digits"]))
    assert np.abs(picture.astype(int) - Digits("test", 4).load(3).image).max() <= 1
