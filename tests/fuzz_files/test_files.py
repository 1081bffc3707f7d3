"""Bad files: a FalconetError with one sentence, in bounded time; and every failure ever found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import data_targets
import file_campaign
from targets import TARGETS, models, programs, seal, take_onnx, take_program

COUNT = {"program": 1000, "onnx": 250, "heads": 3000, "coco": 400, "voc": 400, "yolo": 400,
         "recipe": 200, "picture": 400, "checkpoint": 60, "npz": 400}


@pytest.mark.parametrize("target", TARGETS)
def test_seeded(target: str) -> None:
    found: list[tuple[int, str]] = []
    file_campaign.run(target, 0, COUNT[target], lambda seed, _, why: found.append((seed, why)))
    assert not found


@pytest.mark.parametrize("path", sorted(file_campaign.CASES.glob("*.bin")), ids=lambda p: p.stem)
def test_found_before(path: Path) -> None:
    assert not file_campaign.taken(path.stem.split("-")[0], path.read_bytes()).why


def test_what_is_mutated_is_good() -> None:
    """Else all would be refused at the door."""
    import json

    for header, code in programs():
        take_program(seal(json.dumps(header).encode(), code))
    for data in models():
        take_onnx(data)
    for target, files in data_targets.good().items():
        for data in files:
            TARGETS[target][1](data)


def test_failures_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another exception, two lines, and a case without end."""
    from falconet.isa import FalconetError

    def two_lines(_: bytes) -> None:
        raise FalconetError("a\nb")

    def endless(_: bytes) -> None:
        while True:
            pass

    monkeypatch.setattr(file_campaign, "SECONDS", 0.2)
    for take, says in ((two_lines, "no sentence"), (endless, "more than"),
                       (lambda _: [][1], "IndexError")):
        monkeypatch.setitem(TARGETS, "bad", (lambda _: b"", take))
        assert says in file_campaign.taken("bad", b"").why
