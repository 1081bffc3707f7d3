"""The int8 networks against the float ones, and the reports of resources and of timing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from falconet.isa import FalconetError
from falconet.runtime.vision import Detection
from falconet_app.commands import accuracy, timing


def test_every_sure_face_is_found_again() -> None:
    rows = accuracy.judge("retinaface", "pynq-z2")
    assert len(rows) >= 5
    for row in rows:
        assert row["matched, IoU >= 0.85"] == row["float boxes > 0.6"], row
        assert row["of these without a match"] == "0", row
    assert sum(int(row["float boxes > 0.6"]) for row in rows) >= 30


def test_logits_are_within_the_bar() -> None:
    for row in accuracy.judge("mobilenetv2", "pynq-z2"):
        assert float(row["SNR of logits"].split()[0]) >= 12, row
        assert row["same"] == "yes", row


def test_boxes_are_matched_by_overlap() -> None:
    sure = Detection("face", 0.9, 10, 10, 20, 20)
    faint = Detection("face", 0.5, 80, 80, 5, 5)
    moved = Detection("face", 0.8, 10, 20, 20, 20)  # half of it is common: IoU 1/3
    row = accuracy._boxes(({}, [sure, faint]), ({}, [moved]), "")
    assert (row["float boxes > 0.6"], row["matched, IoU >= 0.85"]) == ("1", "0")
    assert (row["machine's boxes > 0.6"], row["of these without a match"]) == ("1", "1")
    assert row["lowest IoU"] == "0.333"


def test_resources_want_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(accuracy, "BUILD", tmp_path)
    with pytest.raises(FalconetError, match=r"synth/tiny\.json: .*make synth PRESET=tiny"):
        accuracy.resources("tiny")
    (tmp_path / "synth").mkdir()
    (tmp_path / "synth/tiny.json").write_text(json.dumps(
        {"dsp": 52, "bram36": 8.5, "lut": 12345, "ff": 6, "max_fanout": 7, "title": "tiny",
         "bars": {"lut": 45000}}))
    page = tmp_path / "page.md"
    accuracy.resources("tiny", page=page)
    assert "| lut | 12,345 | 45,000 |" in page.read_text()


def test_timing_wants_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "BUILD", tmp_path)
    with pytest.raises(FalconetError, match=r"timing/board-pynq-z2\.json: .*make timing BOARD=py"):
        timing.timing(board="pynq-z2")
    (tmp_path / "timing").mkdir()
    to = [{"register": f"top.x.b{n}", "pin": "D", "ns": 7.0, "file": "", "ends": 1}
          for n in range(6)]
    (tmp_path / "timing/tiny.json").write_text(json.dumps({
        "title": "tiny on a chip", "net": 0.6, "period": 6.667, "crossings": [],
        "clocks": [{"clock": "clk", "ends": 12345, "late": 678, "mhz": {"0.45": 143.4}}],
        "groups": [{"register": "top.a", "pin": "Q", "file": "mac.py", "ns": 8.409,
                    "levels": 10, "ends": 9, "late": 7, "to": to, "path": []}],
    }))
    page = tmp_path / "page.md"
    timing.timing("tiny", page=page)
    text = page.read_text()
    assert "tiny on a chip" in text and "estimate, not place and route" in text
    assert "| clk | 12,345 | 678 | 143 |" in text
    assert "| 8.41 | 10 | 7 | `a` (mac.py) | `x.b0`, `x.b1`, `x.b2`, 3 more |" in text
