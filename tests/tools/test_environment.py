"""Set-up: what is missing is said in one line before anything is installed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment", ROOT / "tools/environment.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def readme_packages() -> list[list[str]]:
    """Of each line of apt-get."""
    text = (ROOT / "README.md").read_text()
    return [line.split("#")[0].split() for line in
            re.findall(r"^sudo apt-get install (.*)$", text, re.MULTILINE)]


def test_sizes_are_those_measured(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """What set-up announces, and README, against the table of docs/performance.md."""
    said: list[str] = []

    def show(text: str) -> None:
        said.append(text)
        raise InterruptedError

    monkeypatch.setattr(environment, "Show", show)
    for name in ("check_system", "make_venv", "say_which_torch"):
        monkeypatch.setattr(environment, name, lambda *_: None)
    for part in ("sim", "test"):
        with pytest.raises(InterruptedError):
            environment.install(part)
    readme, page = ((ROOT / p).read_text() for p in ("README.md", "docs/performance.md"))
    for part, text in zip(("sim", "test"), said):
        row = re.search(rf"\| make {part} \| \d+ \| (\d+) MB \| \d+ \| (\d+) MB", page)
        announced = re.search(r"(\d+) MB to download, (\d+) MB on disk", text)
        assert row and announced
        for now, then in zip(announced.groups(), row.groups()):
            assert float(now) == pytest.approx(float(then), rel=0.05)
        assert f"{int(row[2]) / 1000:.1f} GB" in readme


def test_here_nothing_is_missing(environment: ModuleType) -> None:
    assert environment.missing("sim") == environment.missing("test") == []


def test_what_is_missing_is_what_the_readme_names(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    monkeypatch.setattr(environment.shutil, "which", lambda tool: None)
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(environment, "has_libpython", lambda: False)
    monkeypatch.setattr(environment, "PYTHON", tmp_path / "none")
    first, second = readme_packages()
    for part, named in zip(("sim", "test"), (first, first + second)):
        assert {p for _, p in environment.missing(part)} == set(named) - {"python3"}
        with pytest.raises(SystemExit) as e:
            environment.check_system(part)
        line = str(e.value)
        assert line.startswith("setup: ") and "\n" not in line
        assert set(line.split("apt-get install ")[1].split()) == set(named) - {"python3"}


def test_a_python_without_its_library_is_told(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lost(path: str) -> None:
        raise OSError(path)

    monkeypatch.setattr(environment.ctypes, "CDLL", lost)
    monkeypatch.setattr(environment.shutil, "which", lambda tool: tool)
    assert environment.missing("sim") == []
    assert environment.missing("test") == [("Python's shared library", "libpython3-dev")]


def test_an_old_python_is_told_which_is_needed(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment.sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit, match=r"Python 3\.10 or newer is needed"):
        environment.check_system("sim")


@pytest.mark.parametrize(("versions", "says"), [
    ("torch (2.15.0)\nAvailable versions: 2.15.0, 2.13.0, 2.12.1", "CUDA"),
    ("torch (2.15.0)\nAvailable versions: 2.15.0, 2.13.0+cpu, 2.13.0", "the CPU build"),
])
def test_which_torch_is_said_before_it_comes(
    versions: str, says: str, environment: ModuleType, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(environment.subprocess, "run",
                        lambda *_, **__: subprocess.CompletedProcess([], 0, versions, ""))
    monkeypatch.setattr(environment.sys, "platform", "linux")
    monkeypatch.setattr(environment.platform, "machine", lambda: "x86_64")
    environment.say_which_torch()
    said = capsys.readouterr().out
    assert says in said and environment.torch_version() in said
    assert ("PIP_EXTRA_INDEX_URL=" in said) == (says == "CUDA")


def test_pip_is_shown_and_counted(environment: ModuleType, tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "torch.whl").write_bytes(bytes(3_000_000))
    show = environment.Show("things")
    for line in ("Obtaining file:///x", "Collecting numpy>=1.21",
                 "  Downloading numpy-2.4.6-cp311.whl (16.7 MB)", "Collecting onnx",
                 "  Using cached onnx-1.22.whl (500 kB)", "Installing collected packages: a, b",
                 f"Processing {tmp_path / 'torch.whl'}"):
        show.line(line)
    show.end()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "setup: things" and said[-1].startswith("  4 packages, 20 MB fetched")


def test_a_failing_pip_is_shown(environment: ModuleType, capsys: pytest.CaptureFixture[str],
                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PYTHON", Path(sys.executable))
    with pytest.raises(SystemExit, match=r"setup: pip failed.*no-such-folder"):
        environment.pip(environment.Show("things"), "./no-such-folder")
    assert "no-such-folder" in capsys.readouterr().err


def test_a_bare_debian_can_be_refused_in_a_sentence() -> None:
    done = subprocess.run(["bash", str(ROOT / "tools/bare.sh")], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 64 and "SUITE COMMAND" in done.stderr
