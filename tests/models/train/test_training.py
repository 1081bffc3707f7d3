"""Runs: what is interrupted ends as what is not, alone and with two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import BASE, TRAIN, VAL, recipe

from falconet.isa import FalconetError
from falconet_models.datasets import write_coco
from falconet_models.train import checkpoints, loop
from falconet_models.train.diary import read_history
from falconet_models.train.loop import Trainer

pytestmark = pytest.mark.timeout(300)


def state(folder: Path, name: str = checkpoints.QUANTISED) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = checkpoints.load(folder / name)["state"]
    return found


def same(a: Path, b: Path) -> None:
    for name in (checkpoints.FLOAT, checkpoints.QUANTISED):
        first, second = state(a, name), state(b, name)
        assert first.keys() == second.keys()
        for key in first:
            assert torch.equal(first[key], second[key]), key
    rows = [[{k: v for k, v in r.items() if k != "seconds"} for r in read_history(f)]
            for f in (a, b)]
    assert rows[0] == rows[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    made = Trainer(recipe(), TRAIN, VAL, folder).run()
    return folder, made


def test_a_run_leaves_all_that_is_needed(whole):
    folder, made = whole
    rows = read_history(folder)
    assert [(r["phase"], r["epoch"]) for r in rows] == [
        ("float", 0), ("float", 1), ("quantised", -1), ("quantised", 0)]
    assert rows[1]["loss"] < rows[0]["loss"]
    assert rows[1]["loss"] == pytest.approx(rows[1]["loss_class"] + rows[1]["loss_box"], rel=1e-4)
    assert made["float"]["map50"] == max(r["map50"] for r in rows[:2])
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["epochs"] == 2
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [e.value for e in events.Scalars("float/loss")] == pytest.approx(
        [r["loss"] for r in rows[:2]], rel=1e-5)
    for style in ("float", "quantised"):
        detector, about = checkpoints.load_detector(folder, style)
        assert detector.style == style and about["map50"] == made[style]["map50"]
    assert about["epoch"] == 0
    assert checkpoints.load_detector(folder / checkpoints.CALIBRATED)[1]["epoch"] == -1


@pytest.mark.parametrize("trained", [0.4, 0.6])
def test_it_is_said_if_quantised_training_ends_below_its_start(
        tmp_path, capsys, monkeypatch, trained):
    judged = iter([(0.1, 0.1), (0.5, 0.3), (trained, 0.3)])
    monkeypatch.setattr(loop, "mean_ap", lambda *_: next(judged))
    made = Trainer(recipe(epochs=1), TRAIN, VAL, tmp_path / "run").run()
    assert (made["quantised"]["epoch"], made["quantised"]["map50"]) == (0, trained)
    said = "calibrated.pt has that" in " ".join(capsys.readouterr().err.split())
    assert said == (trained < 0.5)


def test_the_float_network_teaches_the_quantised_one(tmp_path):
    made = recipe(quantise={"epochs": 1, "rate": 1e-4, "images": 16, "teach": 1.0})
    Trainer(made, TRAIN, VAL, tmp_path / "run").run()
    rows = [r for r in read_history(tmp_path / "run") if "loss" in r]
    assert [r["phase"] for r in rows if r.get("loss_soft", 0) > 0] == ["quantised"]
    assert {r["phase"] for r in rows} == {"float", "quantised"}


@pytest.mark.parametrize("after", [2, 7])
def test_a_stopped_run_goes_on(whole, tmp_path, after, monkeypatch):
    """Stopped by a signal in the middle of an epoch, float or quantised."""
    folder, step, count = tmp_path / "run", Trainer._step, 0

    def counted(self, *args):
        nonlocal count
        count += 1
        if count == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *args)

    monkeypatch.setattr(Trainer, "_step", counted)
    with pytest.raises(KeyboardInterrupt):
        Trainer(recipe(), TRAIN, VAL, folder).run()
    assert count == after
    Trainer(recipe(), TRAIN, VAL, folder).run()
    assert count == 9  # no batch twice
    same(whole[0], folder)
    Trainer(recipe(), TRAIN, VAL, folder).run()
    assert count == 9  # a finished run is finished


def test_another_recipe_does_not_overwrite(whole):
    with pytest.raises(FalconetError, match="another recipe"):
        Trainer(recipe(rate=0.1), TRAIN, VAL, whole[0])


def test_a_broken_checkpoint_is_named(tmp_path):
    (tmp_path / "float.pt").write_bytes(b"nothing")
    with pytest.raises(FalconetError, match=r"float\.pt: not a checkpoint"):
        checkpoints.load_detector(tmp_path)
    with pytest.raises(FalconetError, match=r"quantised\.pt: no such file"):
        checkpoints.load_detector(tmp_path, "quantised")


def test_a_phase_ends_when_nothing_gets_better(tmp_path):
    made = recipe(epochs=6, rate=1e-30, patience=2, quantise={"epochs": 0, "images": 16})
    Trainer(made, TRAIN, VAL, tmp_path / "run").run()
    assert [(r["phase"], r["epoch"]) for r in read_history(tmp_path / "run")] == [
        ("float", 0), ("float", 1), ("float", 2), ("quantised", -1)]


def test_weights_to_start_from(whole, tmp_path):
    made = recipe(start=str(whole[0]), epochs=0, quantise={"epochs": 0, "images": 16})
    Trainer(made, TRAIN, VAL, tmp_path / "run").run()
    first, second = state(whole[0], "float.pt"), state(tmp_path / "run", "float.pt")
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("phase", ["float", "quantised"])
def test_a_teacher_adds_its_terms(whole, tmp_path, phase):
    distil = {"teacher": str(whole[0]), "features": 0.5, "attention": 1.0}
    made = recipe(distil=distil, epochs=int(phase == "float"),
                  fields={"size": [32, 32], "neck": 8},
                  quantise={"epochs": int(phase != "float"), "images": 16})
    Trainer(made, TRAIN, VAL, tmp_path / "run").run()
    row = next(r for r in read_history(tmp_path / "run") if "loss" in r)
    assert row["phase"] == phase
    assert all(row[f"loss_{t}"] > 0 for t in ("soft", "features", "attention"))
    assert not any("adapter" in k for k in state(tmp_path / "run", f"{phase}.pt"))


def test_a_teacher_of_other_classes_is_refused(whole, tmp_path):
    data = type("Letters", (), {
        "labels": tuple("abcdefghij"), "__len__": lambda _: 48,
        "load": lambda _, i: TRAIN.load(i)})()
    with pytest.raises(FalconetError, match="labels"):
        Trainer(recipe(distil={"teacher": str(whole[0])}), data, VAL, tmp_path / "run").run()


# -- the command, in processes of its own

@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_coco(TRAIN, folder, "train")
    write_coco(VAL, folder, "val")
    return folder


def command(data: Path, folder: Path, config: Path, processes: int = 1) -> list[str]:
    launch = [] if processes == 1 else [
        "-m", "torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0",
        "--local-addr=127.0.0.1", "--nproc-per-node", str(processes)]
    return [sys.executable, *launch, "-m", "falconet_app.cli", "train", str(data), "--config",
            str(config), "--out", str(folder)]


def test_a_killed_run_goes_on(whole, data, tmp_path):
    config = tmp_path / "r.yaml"
    config.write_text(yaml.safe_dump(BASE))
    killed = subprocess.Popen(command(data, tmp_path / "b", config), stderr=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 100
    while not (tmp_path / "b" / checkpoints.LAST).is_file() and time.monotonic() < limit:
        time.sleep(0.02)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "b" / "model.onnx").exists()
    done = subprocess.run(command(data, tmp_path / "b", config), capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0 and "mAP@0.5" in done.stdout, done.stderr
    same(whole[0], tmp_path / "b")


def test_two_processes_learn_what_one_learns(whole, data, tmp_path):
    """The folded network has no batch statistics, so that a batch may be shared exactly."""
    config = tmp_path / "r.yaml"
    config.write_text(yaml.safe_dump({
        **BASE, "start": str(whole[0]), "epochs": 0, "optimiser": "sgd", "clip": 0,
        "boxes": {"kind": "wiou_v2"},
        "quantise": {"epochs": 1, "rate": 0.002, "images": 16}}))
    for processes in (1, 2):
        done = subprocess.run(command(data, tmp_path / str(processes), config, processes),
                              capture_output=True, text=True, timeout=200,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
    ones, twos = (checkpoints.load(tmp_path / n / checkpoints.LAST) for n in "12")
    start = state(whole[0])
    moved = far = 0.0
    for key, value in ones["student"].items():
        if key.endswith("conv.weight"):
            name = key.removeprefix("detector.")
            moved = max(moved, float((value - start[name]).abs().max()))
            far = max(far, float((value - twos["student"][key]).abs().max()))
    assert far < 0.05 * moved and moved > 1e-4
    assert ones["criterion"]["box.mean"] == pytest.approx(float(twos["criterion"]["box.mean"]),
                                                          rel=1e-2)  # a mean of means
    rows = [read_history(tmp_path / n) for n in "12"]
    assert rows[0][-1]["loss"] == pytest.approx(rows[1][-1]["loss"], rel=0.02)
    assert len(rows[1]) == len(rows[0]) == 3


def test_two_processes_train_in_float(data, tmp_path):
    config = tmp_path / "r.yaml"
    config.write_text(yaml.safe_dump({**BASE, "quantise": {"epochs": 1, "images": 16}}))
    done = subprocess.run(command(data, tmp_path / "run", config, 2), capture_output=True,
                          text=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    rows = read_history(tmp_path / "run")
    assert [r["phase"] for r in rows] == ["float", "float", "quantised", "quantised"]
    assert rows[1]["loss"] < rows[0]["loss"]
    assert json.loads((tmp_path / "run" / "data.json").read_text())["data"] == str(data)
