"""Every command through every mishap: one sentence that names the file, no half a file, the exit
status of docs/command-line.md. A command without a row here fails."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
import typer
import typer.main
from PIL import Image

from falconet import ending
from falconet.compiler import compile_graph, compile_model
from falconet.ending import ended
from falconet.isa import docs, preset
from falconet_app.cli import main
from falconet_app.commands import app
from falconet_app.commands.console import results
from falconet_hw.build import synth, verilog
from falconet_hw.build.bitstream import __main__ as bitstream

pytestmark = pytest.mark.timeout(120)
Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[1]

READS: dict[str, list[str]] = {
    "quantize": ["quantize {}.onnx", "quantize digits.onnx --calibration {}.onnx"],
    "compile": ["compile {}.onnx -p tiny", "compile digits.onnx -p tiny --heads {}.json"],
    "check": ["check {}.onnx -p tiny", "check digits.onnx --heads {}.json -p tiny"],
    "inspect": ["inspect {}.flc"],
    "run": ["run {}.flc x.npz", "run net.flc {}.npz", "run digits.flc {}.png"],
    "detect": ["detect {}.png --model digits.flc", "detect scene.png --model {}.flc"],
    "classify": ["classify {}.png --model names.flc", "classify scene.png --model {}.flc"],
    "demo": ["demo --model {}.flc --port 0"],
    "compare": ["compare {}.flc", "compare net.flc -i {}.npz", "compare digits.flc -i {}.png"],
    "wave": ["wave {}.vcd --list"],
    "bench": ["bench {}.flc", "bench net.flc --markdown {}.md"],
    "estimate": ["estimate {}.flc", "estimate {}.onnx", "estimate digits.onnx --markdown {}.md"],
    "report": ["report {}.flc"],
    "worst-case": ["worst-case --markdown {}.md"],
    "accuracy": ["accuracy {}.onnx", "accuracy digits --markdown {}.md"],
    "resources": ["resources --markdown {}.md"],
    "timing": ["timing --markdown {}.md"],
    "bitstream": ["bitstream ecp5 --markdown {}.md"],
    "samples": [],
    "train": ["train {}.yaml --out r", "train digits --out r --config {}.yaml"],
    "eval": ["eval {}.onnx --data digits", "eval {}.pt --data digits",
             "eval digits.onnx --data {}.yaml", "eval {}.flc --data digits"],
    "export": ["export {}.pt"],
    "list": [],
    "data digits": [],
    "study losses": ["study losses --markdown {}.md"],
    "study distillation": ["study distillation {}.pt"],
    "study imagenet": ["study imagenet --markdown {}.md"],
    "study run": ["study run digits --markdown {}.md"],
}
"""What reads a file, by command; ``{}`` is its name. A page may be missing."""

QUICK: dict[str, list[str]] = {
    "compile": ["compile digits.onnx -o {}.flc"],
    "run": ["run net.flc x.npz -o {}.npz"],
    "detect": ["detect scene.png --model digits.flc -o {}.png",
               "detect scene.png --model digits.flc --boxes {}.jsonl",
               "detect scene.png --model digits.flc --boxes {}.json"],
    "classify": ["classify scene.png --model names.flc -o {}.csv"],
    "eval": ["eval digits.onnx --data digits --device golden --images 1 -o {}"],
    "data digits": ["data digits {} --count 9 1 1"],
}
"""What is done in a second where there is room."""

WRITES: dict[str, list[str]] = {
    **{name: [] for name in ("check", "inspect", "demo", "list")},
    **QUICK,
    "quantize": ["quantize digits.onnx --images 1 -o {}.onnx"],
    "compare": ["compare net.flc --instruction 0 --waveform {}.vcd"],
    "report": ["report net.flc -o {}.html"],
    "wave": ["wave ok.vcd --png {}.png"],
    "samples": ["samples {}"],
    "train": ["train digits --quick -o {}"],
    "export": ["export wrong.pt -o {}.onnx"],
    **{name: [line.replace("{}.md", "{}") for line in READS[name] if "markdown" in line]
       for name in ("bench", "estimate", "worst-case", "accuracy", "resources", "timing",
                    "bitstream", "study losses", "study imagenet", "study run")},
    "study distillation": ["study distillation wrong.pt --markdown {}"],
}
"""What writes a file; all but the quick ones look at the place before they begin."""


VCD = """$timescale 1ns $end
$scope module top $end
$var wire 1 a clk $end
$var wire 1 b valid $end
$var wire 1 c ready $end
$upscope $end
$enddefinitions $end
#0
0a
0b
1c
""" + "".join(f"#{5 * i}\n{i % 2}a\n{i // 2 % 2}b\n" for i in range(1, 40))


def commands() -> Iterator[tuple[str, Any]]:
    """Every command of the program, and the function of it."""
    def below(of: typer.Typer, before: str) -> Iterator[tuple[str, Any]]:
        for c in of.registered_commands:
            assert c.callback is not None
            yield before + (c.name or c.callback.__name__.replace("_", "-")), c.callback
        for g in of.registered_groups:
            assert g.typer_instance is not None
            yield from below(g.typer_instance, f"{before}{g.name} ")

    return below(app, "")


COMMANDS = dict(commands())


def lines(table: dict[str, list[str]]) -> Any:
    return pytest.mark.parametrize("line", [line for part in table.values() for line in part])


def test_every_command_has_a_row() -> None:
    assert set(READS) == set(WRITES) == set(COMMANDS)
    for table in (READS, WRITES):
        assert all(line.startswith(f"{name} ") and line.count("{}") == 1
                   for name, part in table.items() for line in part)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("walk")
    compile_graph(networks.zoo_of_operators(size=12), preset("tiny"), "net").save(path / "net.flc")
    np.savez(path / "x.npz", x=np.zeros((3, 12, 12), np.int8))
    zoo = ROOT / "models/falconet_models/zoo/digits"
    shutil.copyfile(zoo / "model.onnx", path / "digits.onnx")
    names = ROOT / "tests/data/brevitas_digits.onnx"
    for source, name in ((path / "digits.onnx", "digits"), (names, "names")):
        compile_model(str(source), preset("pynq-z2"), name=name).save(path / f"{name}.flc")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)).save(
        path / "scene.png")
    (path / "file.txt").write_text("")
    (path / "ok.vcd").write_text(VCD)
    for suffix in {Path(line.partition("{}")[2].split(" ")[0]).name
                   for part in READS.values() for line in part}:
        (path / f"wrong{suffix}").write_bytes(b"\xff\x00 of no kind")
        # a file whose first byte cannot be read, not even by root
        (path / f"sick{suffix}").symlink_to("/proc/self/mem")
    return path


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FALCONET_BUILD", str(folder / "made"))
    monkeypatch.delenv(ending.TRACEBACK, raising=False)


def files(folder: Path) -> set[str]:
    """What is there but for caches."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*")
            if p.relative_to(folder).parts[0] not in ("made", "build")}


def refused(code: int, capsys: Capture, name: str, *also: str) -> str:
    """The sentence, the only thing that was printed about it."""
    err: str = capsys.readouterr().err
    assert code in (1, 2) and "Traceback" not in err and "a fault of" not in err, err
    last = err.splitlines()[-1]
    said = [line for line in err.splitlines() if line.startswith("falconet: ")]
    assert said == [last] if code == 1 else "Invalid value" in err, err
    assert all(word in " ".join(err.split()) for word in (name, *also)), err
    return last


@pytest.mark.parametrize(("kind", "line"), [
    (kind, line) for part in READS.values() for line in part for kind in ("none", "sick", "wrong")
    if kind != "none" or "--markdown" not in line  # a page that is missing is made
])
def test_a_bad_input_is_named(kind: str, line: str, folder: Path, capsys: Capture) -> None:
    before = files(folder)
    refused(main(shlex.split(line.format(kind))), capsys, kind)
    assert files(folder) == before


@lines(WRITES)
@pytest.mark.parametrize("place", ["file.txt", "/proc/falconet"])
def test_a_place_that_cannot_be_written_is_named(
        line: str, place: str, folder: Path, capsys: Capture) -> None:
    before = files(folder)
    refused(main(shlex.split(line.format(f"{place}/x"))), capsys, f"{place}/x")
    assert files(folder) == before


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 100 kB with 1 kB of room, where one may be mounted."""
    path = tmp_path_factory.mktemp("full")
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(path)]
    if shutil.which("mount") is None or subprocess.run(
            mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here; run this as root")
    try:
        with contextlib.suppress(OSError), (path / "filler").open("wb", 0) as f:
            while True:
                f.write(bytes(4096))
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@lines(QUICK)
def test_a_full_disk_is_told(line: str, full: Path, capsys: Capture) -> None:
    refused(main(shlex.split(line.format(full / "x"))), capsys, str(full / "x"), "No space left")
    assert {p.name for p in full.rglob("*") if p.is_file()} == {"filler"}
    if line.startswith("eval"):  # it makes its folder first
        shutil.rmtree(full / "x", ignore_errors=True)
    assert not (full / "x").exists()


@lines(QUICK)
def test_with_room_it_is_done(line: str, tmp_path: Path) -> None:
    """What the other tests of these lines see is the mishap alone."""
    assert main(shlex.split(line.format(tmp_path / "x"))) == 0
    assert list(tmp_path.iterdir()) and not list(tmp_path.rglob(".*"))


def printing() -> list[str]:
    """Something of each command that prints results."""
    return ["list", "inspect net.flc", "compare net.flc -d iss",
            *(line.format("shut") for part in QUICK.values() for line in part
              if not line.startswith("eval")),  # six seconds of drawing
            *(f"{name} --help" for name in COMMANDS)]


@pytest.mark.parametrize("line", printing())
def test_a_pipe_that_is_shut_ends_it_quietly(
        line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as shut:
        monkeypatch.setattr(sys, "stdout", shut)
        monkeypatch.setattr(results, "quiet", False)  # as rich makes it, for ever
        assert main(shlex.split(line)) == 1
        monkeypatch.undo()
    assert "falconet: " not in capsys.readouterr().err
    for path in folder.glob("shut*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


class Press:
    """Ctrl-C as a function is entered."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.code, self.pressed = function.__code__, False

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code is self.code and not self.pressed:
            self.pressed = True
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupted_command_says_so(name: str, folder: Path, capsys: Capture) -> None:
    line = [*READS[name], *WRITES[name], name][0].format("net" if "{}.flc" in READS[name] else "x")
    before, handler = files(folder), signal.signal(signal.SIGINT, signal.default_int_handler)
    press = Press(COMMANDS[name])
    sys.setprofile(press)
    try:
        code = main(shlex.split(line))
    finally:
        sys.setprofile(None)
        signal.signal(signal.SIGINT, handler)
    assert press.pressed and code == 130 and files(folder) == before
    assert capsys.readouterr().err == "falconet: interrupted\n"


@pytest.mark.parametrize(("program", "line"), [
    (verilog.main, "-o {}/x.v"), (bitstream.main, "--board ecp5 --output {}/x"),
    (docs.main, "{}/x"), (docs.main, "{}"),
])
@pytest.mark.parametrize("place", ["file.txt", "/proc/falconet"])
def test_modules_have_the_same_manners(
        program: Callable[[list[str]], int], line: str, place: str, folder: Path, capsys: Capture
) -> None:
    before = files(folder)
    refused(ended(lambda: program(line.format(place).split()), last=False), capsys, place)
    assert files(folder) == before


def test_synthesis_names_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: Capture) -> None:
    (tmp_path / "build").write_text("")
    monkeypatch.chdir(tmp_path)
    refused(ended(lambda: synth.main(["--preset", "tiny"]), last=False), capsys, "build/synth")


@pytest.mark.parametrize("module", [
    "falconet_hw.build.verilog", "falconet_hw.build.synth", "falconet_hw.build.bitstream",
    "falconet.isa.docs",
])
def test_modules_end_as_commands_do(module: str) -> None:
    """Started as one starts them, with a standard output that nobody reads."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run([sys.executable, "-m", module, "--help"], stdout=theirs,
                          stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")
