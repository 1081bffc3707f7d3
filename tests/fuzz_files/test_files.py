"""Bad files: a FalconetError with one sentence, in bounded time; and every failure ever found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from falconet_sim.hosts.handoff import board_of

sys.path.insert(0, str(Path(__file__).parent))

import constants_target
import data_targets
import file_campaign
import handoff_target
from targets import TARGETS, models, programs, seal, take_onnx, take_program

COUNT = {"program": 1000, "onnx": 250, "heads": 3000, "coco": 400, "voc": 400, "yolo": 400,
         "yaml": 400, "recipe": 200, "picture": 400, "checkpoint": 60, "npz": 400, "constants": 200}
"""Of the suite; handoff files ask for PYNQ's packages, and so for a process of their own."""


@pytest.mark.parametrize("target", COUNT)
def test_seeded(target: str) -> None:
    assert set(COUNT) | {"hwh"} == set(TARGETS)
    found: list[tuple[int, str]] = []
    file_campaign.run(target, range(COUNT[target]), lambda seed, _, why: found.append((seed, why)))
    assert not found


@pytest.mark.timeout(300)
def test_the_command_goes_on(tmp_path: Path) -> None:
    """With handoff files; a failure of a run before is tried again."""
    path = tmp_path / "hwh.json"
    for executions in (100, 300):
        subprocess.run([sys.executable, Path(__file__).parent, "--target", "hwh", "--state",
                        tmp_path, "--executions", str(executions)], check=True, capture_output=True)
        state = json.loads(path.read_text())
        assert state["done"] == sum(state["commits"].values()) == executions
        assert executions / 5 < state["refused"] < executions and not state["failures"]
        assert state["mended"] == ({} if executions == 100 else {"1000001": "it was bad"})
        assert 0 < state["seconds"] < 10 and 0 < state["bytes"] < 1 << 30
        path.write_text(json.dumps(state | {"failures": {"1000001": "it was bad"}}))


@pytest.mark.parametrize("path", sorted(file_campaign.CASES.glob("*.bin")), ids=lambda p: p.stem)
def test_found_before(path: Path) -> None:
    assert not file_campaign.taken(path.stem.split("-")[0], path.read_bytes()).why


def test_what_is_mutated_is_good() -> None:
    """Else all would be refused at the door."""
    for header, code in programs():
        take_program(seal(json.dumps(header).encode(), code))
    for data in models():
        take_onnx(data)
    for target, files in data_targets.good().items():
        for data in files:
            TARGETS[target][1](data)
    for data in constants_target.good():
        constants_target.take_constants(data)
    for data in handoff_target.good():
        (data_targets.folder() / "good.hwh").write_bytes(data)
        board_of(data_targets.folder() / "good.hwh")


def test_failures_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another exception, two lines, a case without end, and one that takes memory."""
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

    monkeypatch.setattr(file_campaign, "SECONDS", 10)
    monkeypatch.setattr(file_campaign, "MEMORY", 100 << 20)
    monkeypatch.setitem(TARGETS, "bad", (lambda _: b"", lambda _: np.ones(15 << 20).sum()))
    found: list[str] = []
    file_campaign.run("bad", [1], lambda seed, data, why: found.append(why))
    assert len(found) == 1 and "MiB of memory" in found[0]
