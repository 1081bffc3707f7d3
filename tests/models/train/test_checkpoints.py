"""Checkpoints that are damaged, lie, or hold what no network can have: one sentence, no memory."""

from __future__ import annotations

import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from falconet.isa import FalconetError
from falconet_models.architecture import preset
from falconet_models.networks.brevitas import quantise
from falconet_models.networks.detector import Detector
from falconet_models.train.checkpoints import load, load_detector, save, save_detector

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    return Detector(preset("digits", labels=("a", "b"), size=(32, 32), neck=16)).eval()


@pytest.fixture
def good(detector: Detector, tmp_path: Path) -> Path:
    save_detector(tmp_path / "good.pt", detector, {"epoch": 3})
    return tmp_path / "good.pt"


def content(detector: Detector) -> dict[str, Any]:
    return {"config": detector.config.to_dict(), "style": detector.style, "about": {},
            "state": dict(detector.state_dict())}


def refused(path: Path) -> str:
    with pytest.raises(FalconetError) as e:
        load_detector(path)
    assert str(e.value).isprintable() and len(str(e.value)) < 500
    assert str(path) in str(e.value)
    return str(e.value)


def test_both_styles_are_read_as_they_were_written(detector: Detector, tmp_path: Path) -> None:
    made = quantise(detector, [torch.randn(2, 3, 32, 32)])
    for each in (detector, made):
        save_detector(tmp_path / "a.pt", each, {"epoch": 3})
        found, about = load_detector(tmp_path / "a.pt")
        assert about == {"epoch": 3} and found.style == each.style
        state = found.state_dict()
        assert state.keys() == each.state_dict().keys()
        assert all(torch.equal(v, state[k]) for k, v in each.state_dict().items())


BOMB: Any = ()
for _ in range(60):
    BOMB = (BOMB, BOMB)


@pytest.mark.parametrize("changes, said", [
    ({"state": None}, "style, about or state"), ({"state": [1]}, "style, about or state"),
    ({"style": "int3"}, "style, about or state"), ({"style": ["float"]}, "style, about or state"),
    ({"about": 3}, "style, about or state"), ({"config": [1, 2]}, "config: all of it: [1, 2]"),
    ({"config": {"labels": ["a"], "backbone": {"width": "x"}}}, "config: backbone.width: 'x'"),
    ({"config": {"labels": ["a"], "neck": 10**9}}, "config: neck: 1000000000"),
    ({"config": {"labels": ["a"], "mean": torch.zeros(3)}}, "config: not plain texts"),
    ({"config": {"labels": ["a"], "neck": 2048, "depth": 16}}, "is missing or not of this network"),
    ({"config": BOMB}, "more than 1,000,000 values"), ({"about": {"a": BOMB}}, "more than 1,000,"),
    ({"state": {"a": torch.zeros(1)}}, "is missing or not of this network"),
])
def test_wrong_kinds(changes: dict[str, Any], said: str, detector: Detector,
                     tmp_path: Path) -> None:
    save(tmp_path / "a.pt", {**content(detector), **changes})
    assert said in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("value, said", [
    (lambda t: t * float("nan"), "no numbers (nan or inf)"),
    (lambda t: t / 0, "no numbers (nan or inf)"), (lambda t: t[:-1], "is no torch.float32 of ["),
    (lambda t: t.double(), "is no torch.float32 of ["), (lambda t: 3, "is no torch.float32 of ["),
])
def test_wrong_weights(value: Any, said: str, detector: Detector, tmp_path: Path) -> None:
    changed = content(detector)
    name = "backbone.blocks.0.conv.weight"
    changed["state"][name] = value(changed["state"][name])
    save(tmp_path / "a.pt", changed)
    assert f"state.{name}" in (text := refused(tmp_path / "a.pt")) and said in text


def test_every_bit_of_the_data_counts(good: Path) -> None:
    """PyTorch itself does not look at the checksums."""
    data, rng = good.read_bytes(), random.Random(0)
    with zipfile.ZipFile(good) as archive:
        most = max(archive.infolist(), key=lambda m: m.file_size)
    for _ in range(8):
        bad = bytearray(data)
        bad[most.header_offset + 200 + rng.randrange(most.file_size - 200)] ^= 1 << rng.randrange(8)
        good.write_bytes(bad)
        assert "not a checkpoint (damaged data in " in refused(good)


def test_no_kind_of_archive(good: Path) -> None:
    data = good.read_bytes()
    for bad in (b"", b"PK", data[: len(data) // 2], b"\0" * 1000, b"\x80\x02]q\0."):
        good.write_bytes(bad)
        assert "not a checkpoint (" in refused(good)


def rewritten(source: Path, kind: int = zipfile.ZIP_STORED, **parts: bytes) -> None:
    """The archive with other parts; ``data.pkl`` is ``pickle`` here."""
    with zipfile.ZipFile(source) as old:
        members = {n: old.read(n) for n in old.namelist()}
    with zipfile.ZipFile(source, "w", kind) as new:
        for name, data in members.items():
            new.writestr(name, parts.get(name.rpartition("/")[2].replace("data.pkl", "pickle"),
                                         data))


def test_a_bomb_is_refused_before_it_is_unpacked(good: Path) -> None:
    rewritten(good, zipfile.ZIP_DEFLATED, pickle=b"N" * (1 << 28) + b".")
    assert good.stat().st_size < 1 << 20
    code = ("import resource, sys; from falconet_models.train.checkpoints import load\n"
            "from falconet.isa import FalconetError\n"
            "resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "from pathlib import Path\n"
            "try: load(Path(sys.argv[1]))\n"
            "except FalconetError as e: print(e)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)")
    out = subprocess.run([sys.executable, "-c", code, str(good)], capture_output=True, text=True,
                         check=True).stdout.splitlines()
    assert "compressed data" in out[0] and int(out[1]) < 64 << 10  # KiB


def test_a_storage_is_as_long_as_the_pickle_says(good: Path) -> None:
    rewritten(good, **{"0": b"\0" * 4})
    assert "storage 0 of an unexpected size" in refused(good)


def test_the_archive_is_no_longer_than_the_file(good: Path) -> None:
    data = bytearray(good.read_bytes())
    at = data.rindex(b"PK\x01\x02")  # the last member, in the directory
    data[at + 20 : at + 28] = b"\xff\xff\xff\x7f" * 2
    good.write_bytes(data)
    assert "more data than the file is long" in refused(good)


def test_two_parts_of_one_name(good: Path) -> None:
    with zipfile.ZipFile(good, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(archive.namelist()[0], b"N.")
    assert "two parts of one name" in refused(good)


def test_a_tensor_is_no_larger_than_its_storage(detector: Detector, tmp_path: Path) -> None:
    save(tmp_path / "a.pt", {**content(detector), "more": torch.zeros(1).expand(10**6, 10**6)})
    assert "a tensor larger than its storage" in refused(tmp_path / "a.pt")


def test_notes_on_versions_may_be_anything(detector: Detector, tmp_path: Path) -> None:
    state = detector.state_dict()
    state._metadata["backbone"] = "x"  # type: ignore[attr-defined]
    save(tmp_path / "a.pt", {**content(detector), "state": state})
    load_detector(tmp_path / "a.pt")


def test_nothing_is_executed(good: Path) -> None:
    rewritten(good, pickle=b"cos\nsystem\n(S'touch /tmp/executed'\ntR.")
    assert "the name os.system" in refused(good)


def test_memory_for_nothing(good: Path) -> None:
    rewritten(good, pickle=b"\x80\x02]r\xff\xff\xff\x7f.")
    assert "wants memory for nothing" in refused(good)


def test_the_state_of_a_run_is_no_network(tmp_path: Path) -> None:
    save(tmp_path / "last.pt", {"epoch": 3})
    assert load(tmp_path / "last.pt")["epoch"] == 3
    assert "the state of a run, not a network" in refused(tmp_path / "last.pt")
