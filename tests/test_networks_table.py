"""``make networks``: rows, refusals, time limits, going on, and the page."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from functools import cache
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from falconet.isa import FalconetError, preset
from falconet_models.zoo.papers import NETWORKS
from falconet_models.zoo.papers.to_onnx import onnx_of

TABLE = Path(__file__).parent / "networks_table"
sys.path.insert(0, str(TABLE))

import table_rows  # noqa: E402
from table_page import page  # noqa: E402
from table_rows import Case, cases, measure  # noqa: E402


@pytest.fixture(name="command")
def _command(monkeypatch, tmp_path):
    """The module behind ``python tests/networks_table``, with a build folder of its own."""
    spec = importlib.util.spec_from_file_location("networks_table", TABLE / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "build_folder", lambda: tmp_path)
    monkeypatch.setattr(module, "revision", lambda: "abc1234")
    return module


def given(**changes):
    return argparse.Namespace(**{"names": ["resnet18", "squeezenet"], "preset": "pynq-z2",
                                 "minutes": 10, "limit": 10, "again": False, "markdown": None,
                                 **changes})


@cache
def exported(case):
    return onnx_of(case.network, size=case.size)


def row_of(case, **more):
    return {"name": case.name, "title": case.title, "size": list(case.size), "weights": "drawn",
            "step": "done", "seconds": {"compile": 1.25}, "parameters": 1_235_496,
            "definition_macs": 349_000_000, "macs": 349_000_000, "cycles": 1_442_083,
            "snr": 40.04, "snr_onnxruntime": 35.0, **more}


def test_every_network_has_a_row_and_the_yolos_two():
    rows = cases()
    assert {c.network for c in rows} == {*NETWORKS, "retinaface"}
    assert len({c.name for c in rows}) == len(rows)
    sizes = {(c.network, *c.size) for c in rows}
    for name in ("yolov5n", "yolov8n", "yolo11n", "yolox-nano"):
        assert {(name, 320, 320), (name, 640, 640)} <= sizes


def test_what_is_measured_is_kept_and_not_measured_again(command, tmp_path):
    asked = []

    def measured(case, preset_name, limit, said):
        asked.append(case.name)
        said("rtl")
        return row_of(case)

    command.measured = measured
    command.work(given(names=["resnet18"]), Console(file=StringIO()))
    page_file = tmp_path / "page.md"
    command.work(given(markdown=page_file), Console(file=StringIO()))
    assert asked == ["resnet18-224", "squeezenet-224"]
    command.work(given(again=True), Console(file=StringIO()))
    assert len(asked) == 4
    text = page_file.read_text()
    assert text.count("| abc1234 |") == 2 and "ResNet-18" in text and "94.5%" in text
    command.revision = lambda: "def5678"
    command.work(given(names=["resnet18"], markdown=page_file), Console(file=StringIO()))
    text = page_file.read_text()
    assert len(asked) == 5 and text.count("| abc1234 |") == text.count("| def5678 |") == 1


def test_no_row_begins_when_the_time_is_over(command):
    command.measured = lambda *_: pytest.fail("a row began")
    out = StringIO()
    command.work(given(minutes=-1), Console(file=out))
    assert "-1 minutes are over; say it again to go on" in out.getvalue()


@pytest.mark.parametrize("script, limit, refusal", [
    ("import time; print('{\"step\": \"rtl\"}', flush=True); time.sleep(60)", 3,
     "the step took longer than the 0.05 minutes that a row has"),
    ("print('{\"step\": \"rtl\"}')", 60, "the step ended without a word"),
])
def test_a_row_that_does_not_end_is_told(command, monkeypatch, script, limit, refusal):
    monkeypatch.setattr(command.sys, "executable", sys.executable)
    real = command.subprocess.Popen
    monkeypatch.setattr(command.subprocess, "Popen",
                        lambda _, **options: real([sys.executable, "-c", script], **options))
    steps = []
    row = command.measured(Case("resnet18", (224, 224)), "pynq-z2", limit, steps.append)
    assert row == {"step": "rtl", "refusal": refusal, "fault": True} and steps == ["rtl"]


def test_a_row_is_measured_on_every_device(monkeypatch):
    monkeypatch.setattr(table_rows, "CALIBRATION", 2)
    monkeypatch.setattr(table_rows.Case, "export", exported)
    steps = []
    row = measure(Case("squeezenet", (32, 32)), preset("tiny"),
                  lambda row: steps.append(row["step"]))
    assert row.get("refusal") is None, row
    assert steps == ["export", "quantize", "compile", "golden", "iss", "rtl", "compare"]
    assert row["parameters"] == 1_235_496 and row["step"] == "done"
    assert row["agreement"].startswith("golden = ISS = RTL")
    share = row["macs"] / (preset("tiny").macs_per_cycle * row["cycles"])
    assert 0.1 < share < 1 and row["macs"] == row["definition_macs"]
    assert row["snr"] > 10 and row["snr_onnxruntime"] > 10
    assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize("error, sentence, fault", [
    (FalconetError("the network cannot be compiled for 2 reasons:\n  node 'a': one; do\n  b"),
     "node 'a': one; do", False),
    (FalconetError("node 'a': it is so\nmore"), "node 'a': it is so", False),
    (ValueError("shapes | differ"), "ValueError: shapes | differ", True),
    (AssertionError(), "AssertionError: without a word", True),
])
def test_a_refusal_ends_the_row_and_stands_in_the_page(monkeypatch, error, sentence, fault):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(table_rows, "quantize", refuse)
    monkeypatch.setattr(table_rows.Case, "export", exported)
    row = measure(Case("squeezenet", (32, 32)), preset("tiny"))
    assert (row["refusal"], row["fault"], row["step"]) == (sentence, fault, "quantize")
    text = page([row | {"commit": "abc1234"}], preset("tiny"), calibration=8, held_out=3)
    escaped = sentence.replace("|", "\\|")
    assert (f"| SqueezeNet 1.1 | 32 x 32 | 1,235,496 | 3.5 M | quantize | {escaped} | abc1234 |"
            in text)
    assert "None yet." in text


def test_names_of_networks_and_of_rows_choose(command):
    assert [c.name for c in command.chosen(["yolov8n-640", "yolov5n"])] == [
        "yolov8n-640", "yolov5n-320", "yolov5n-640"]
    assert command.chosen([]) == cases()
    with pytest.raises(FalconetError, match="'yolov9' is unknown; did you mean 'yolov"):
        command.chosen(["yolov9"])
