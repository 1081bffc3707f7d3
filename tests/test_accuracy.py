"""The int8 networks against the float ones, and the report of resources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from falconet.commands import accuracy
from falconet.isa import FalconetError
from falconet.runtime.vision import Detection


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
