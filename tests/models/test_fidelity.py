"""What quantisation lost is measured, said, and not decided by one odd photograph."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from falconet_app.cli import main
from falconet_models.onnx_session import Reference, snr_db
from falconet_models.ptq.calibration import outliers
from falconet_models.ptq.fidelity import Report
from falconet_models.ptq.quantize import quantize
from falconet_models.ptq.stored_tensors import make_plan
from falconet_models.zoo.builder import GraphBuilder

SIZE = 32


def network():
    """What is smooth stays small, and what alternates from pixel to pixel becomes large."""
    rng = np.random.default_rng(3)
    g = GraphBuilder("edges", (1, 3, SIZE, SIZE))
    alternating = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 16
    first = rng.normal(size=(8, 3, 3, 3)) / 9
    first[7] = 200 * alternating
    bias = np.append(rng.normal(size=7) / 9, -150.0)  # more than the edge of the picture gives
    a = g.node("Relu", "ar", g.conv("a", "input", first, bias))
    g.conv("head", a, rng.normal(size=(6, 8, 1, 1)), rng.normal(size=6))
    return g.finish(["head"])


def photographs(count, seed=0):
    """Smooth ones, uint8 [SIZE, SIZE, 3]."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return [np.asarray(Image.fromarray(s).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
            for s in small]


def text():
    """As dense as text: black and white in turn, in one place."""
    found = np.full((SIZE, SIZE, 3), 128, np.uint8)
    found[8:24, 8:24] = 255 * (np.indices((16, 16)).sum(0) % 2)[..., None]
    return found


def fidelity(model, seed=9):
    """dB of the head on photographs that were not seen."""
    exact, rounded = Reference(network()), Reference(model)
    images = [np.float32(p.transpose(2, 0, 1)[None]) / 255 for p in photographs(8, seed)]
    pairs = [(exact(x)["head"], rounded(x)["head"]) for x in images]
    return snr_db(np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs]))


@pytest.mark.parametrize("odd", [1, 3])
def test_an_odd_photograph_does_not_choose_a_range(odd):
    usual = {f"{i}.png": p for i, p in enumerate(photographs(17))}
    mixed = {**usual, **{f"text{i}.png": text() for i in range(odd)}}
    reports: list[Report] = []
    healed = quantize(network(), mixed, report=reports.append)
    spoilt = quantize(network(), mixed, keep_outliers=True, report=reports.append)
    without = quantize(network(), usual)
    assert fidelity(healed) == fidelity(without) > 25
    assert fidelity(spoilt) < 10
    assert healed.SerializeToString() == without.SerializeToString()
    assert set(reports[0].left_out) == {f"text{i}.png" for i in range(odd)}
    assert not reports[1].left_out
    assert "text0.png: left out of the calibration" in reports[0].warnings()[0]


@pytest.mark.parametrize("odd, count", [(6, 17), (1, 2)])
def test_many_or_among_few_are_no_exceptions(odd, count):
    images = [*photographs(count), *[text()] * odd]
    samples = [np.float32(p.transpose(2, 0, 1)[None]) / 255 for p in images]
    model = network()
    assert not outliers(model, make_plan(model).members(), samples, lambda *_: None)


@pytest.fixture
def folder(tmp_path):
    onnx.save(network(), tmp_path / "net.onnx")
    (tmp_path / "photos").mkdir()
    for i, p in enumerate([*photographs(17), text()]):
        Image.fromarray(p).save(tmp_path / "photos" / f"{i:02}.png")
    return tmp_path


def quantised(folder, *more):
    return main(["quantize", str(folder / "net.onnx"), "--calibration", str(folder / "photos"),
                 "--output", str(folder / "int8.onnx"), *more])


def test_the_command_says_what_was_left_out(folder, capsys):
    assert quantised(folder) == 0
    seen = capsys.readouterr()
    assert "warning: 17.png: left out" in seen.err and "--keep-outliers" in seen.err
    rows = [line.split() for line in seen.out.splitlines()]
    assert rows[0][:2] == ["worst", "tensors"] and {r[0] for r in rows[1:3]} == {"head", "ar"}
    assert float(rows[1][1]) <= float(rows[2][1])


def test_the_command_names_the_worst_tensor(folder, capsys):
    """The figures are those of the file and the photographs, found here by other means."""
    assert quantised(folder, "--keep-outliers", "--json") == 0
    seen = capsys.readouterr()
    found = json.loads(seen.out)
    assert not found["left_out"] and found["bytes"] == (folder / "int8.onnx").stat().st_size
    (warning,) = found["warnings"]
    assert f"warning: {warning}" in seen.err and "hardly what it was" in warning
    head = next(t for t in found["tensors"] if t["tensor"] == "head")
    exact, rounded = Reference(network()), Reference(folder / "int8.onnx")
    images = [np.float32(p.transpose(2, 0, 1)[None]) / 255 for p in [*photographs(17), text()]]
    pairs = [(exact(x)["head"], rounded(x)["head"]) for x in images]
    assert head["snr_db"] == pytest.approx(
        np.median([snr_db(a, b) for a, b in pairs]), abs=0.01)
    step = (head["high"] - head["low"]) / 255
    assert head["levels"] == int(np.median([round(np.ptp(b) / step) + 1 for _, b in pairs]))
    assert head["poor"] and head["levels"] < 16


def test_a_good_network_is_not_warned_of(tmp_path, capsys):
    assert main(["quantize", "retinaface", "--images", "8", "--json", "--output",
                 str(tmp_path / "m.onnx")]) == 0
    seen = capsys.readouterr()
    found = json.loads(seen.out)
    assert not found["warnings"] and "warning" not in seen.err and len(found["tensors"]) > 50
    assert min(t["snr_db"] for t in found["tensors"]) > 10
