"""The command line: what it prints, and one sentence for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import networks
import numpy as np
import onnx
import onnx_nets
import pytest
from onnx import TensorProto, helper
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from falconet.compiler import compile_graph
from falconet.compiler.schedule.search import POLICIES
from falconet.ending import EXTRAS
from falconet.isa import PRESETS, Arch, Mac, Program, preset
from falconet_app.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files right and wrong, by name."""
    path = tmp_path_factory.mktemp("cli")
    program = compile_graph(networks.zoo_of_operators(size=12), preset("tiny"), "net")
    program.save(path / "net.flc")
    data = bytearray((path / "net.flc").read_bytes())
    (path / "short.flc").write_bytes(data[:-100])
    data[len(data) // 2] ^= 1
    (path / "damaged.flc").write_bytes(data)
    (path / "text.txt").write_text("not a program, not a picture")
    (path / "empty.onnx").write_bytes(b"")
    (path / "photos").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).save(path / "noise.png")
    odd = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["y"], name="odd")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    onnx.save(helper.make_model(odd, opset_imports=[helper.make_opsetid("", 17)]),
              str(path / "odd.onnx"))
    shape = program.header["inputs"][0]["shape"]
    x = rng.integers(-128, 128, shape, np.int8)
    np.savez(path / "x.npz", x=x)
    np.savez(path / "other.npz", z=x)
    np.savez(path / "float.npz", x=x.astype(np.float32))
    np.savez(path / "small.npz", x=x[:, 1:])
    return path


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


MISTAKES = [
    ("compile nothing.onnx", "nothing.onnx: no such file"),
    ("compile text.txt", "text.txt: not an ONNX file"),
    ("compile empty.onnx", "empty.onnx: "),
    ("compile odd.onnx", "node 'odd' (Softmax)"),
    ("compile noise.png", "noise.png: not an ONNX file"),
    ("compile unheard", "model 'unheard' is not in the zoo; use one of"),
    ("compile odd.onnx --preset huge",
     "preset 'huge' is unknown; choose one of: aup-zu3, pynq-z2, tiny"),
    ("quantize nothing.onnx", "nothing.onnx: no such file"),
    ("quantize text.txt --calibration photos", "photos: no pictures in this folder"),
    ("quantize text.txt --calibration nowhere", "nowhere: no such folder"),
    ("quantize odd.onnx --images 1", "node 'odd' (Softmax)"),
    ("quantize odd.onnx --images 1 --method luck", "method 'luck' is unknown; use one of"),
    ("inspect nothing.flc", "nothing.flc: No such file or directory; give the path of a program"),
    ("inspect text.txt", "text.txt: not a Falconet program; make one with 'falconet compile'"),
    ("inspect damaged.flc", "damaged.flc: checksum mismatch; the file is damaged, copy it again"),
    ("inspect short.flc", "short.flc: "),
    ("run damaged.flc x.npz", "damaged.flc: checksum mismatch"),
    ("run net.flc nothing.npz", "nothing.npz: not a readable .npz file (No such file"),
    ("run net.flc other.npz", "other.npz: input 'x' is missing; store it as int8 [3, 12, 12]"),
    ("run net.flc float.npz", "float.npz: input 'x' is float32 [3, 12, 12]; store it as int8"),
    ("run net.flc small.npz", "small.npz: input 'x' is int8 [3, 11, 12]; store it as int8"),
    ("run net.flc x.npz --preset pynq-z2", "net.flc: made for 'tiny', not for 'pynq-z2'"),
    ("run net.flc noise.png", "meta: preprocess is missing"),
    ("detect nothing.png --model net.flc", "nothing.png: no such picture"),
    ("detect nobody --model net.flc", "photograph 'nobody' is unknown; use one of"),
    ("detect text.txt --model net.flc", "text.txt: not a picture that can be read"),
    ("detect photos --model net.flc", "photos: no pictures in this folder"),
    ("detect noise.png --model net.flc", "program 'net': its outputs are not described"),
    ("classify noise.png --model net.flc", "program 'net': its outputs are not described"),
    ("classify noise.png --model damaged.flc", "damaged.flc: checksum mismatch"),
    ("compare nothing.flc", "nothing.flc: no such file"),
    ("compare net.flc --image small.npz", "small.npz: input 'x' is int8 [3, 11, 12]"),
    ("compare net.flc --reference", "net.flc: a program file does not hold its ONNX model"),
    ("bench nothing.flc", "nothing.flc: no such file"),
    ("report text.txt", "text.txt: not an ONNX file"),
]


@pytest.mark.parametrize(("command", "sentence"), MISTAKES, ids=[c for c, _ in MISTAKES])
def test_a_mistake_is_one_sentence(command: str, sentence: str, capsys: Capture) -> None:
    assert main(command.split()) == 1
    out, err = capsys.readouterr()
    lines = err.strip().splitlines()
    assert lines[-1].startswith(f"falconet: {sentence}")
    assert "Traceback" not in out + err
    assert sum(line.startswith("falconet:") for line in lines) == 1
    assert out == ""


@pytest.mark.parametrize(
    "command",
    ["frobnicate", "compile", "detect", "run net.flc x.npz --device fpga", "inspect --colour",
     "detect noise.png --threshold 2", "classify noise.png --top 0", "bench net.flc --images 0"],
)
def test_wrong_usage_is_two(command: str, capsys: Capture) -> None:
    assert main(command.split()) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert "Usage" in err


def test_missing_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert main(["samples", "new"]) == 1
    assert "run: pip install 'falconet[cli]'" in capsys.readouterr().err


def brought(extra: str) -> set[str]:
    """Names of the distributions that an extra asks for, through others too."""
    names = set()
    for line in requires("falconet") or ():
        asked = Requirement(line)
        if asked.marker and asked.marker.evaluate({"extra": extra}) and not (
                asked.marker.evaluate({"extra": ""})):
            names |= {canonicalize_name(asked.name)}
            for other in asked.extras:
                names |= brought(other)
    return names


@pytest.mark.parametrize("module", EXTRAS)
def test_the_extra_that_is_named_brings_the_package(module: str) -> None:
    assert set(map(canonicalize_name, packages_distributions()[module])) & brought(EXTRAS[module])


def test_run_on_two_devices(folder: Path, capsys: Capture) -> None:
    assert main("run net.flc x.npz --device iss --verify -o out/y.npz".split()) == 0
    assert "golden = ISS: all " in capsys.readouterr().out
    found = np.load(folder / "out" / "y.npz")
    header = Program.load("net.flc").header
    assert {k: list(v.shape) for k, v in found.items()} == {
        t["name"]: t["shape"] for t in header["outputs"]
    }


def test_run_json_is_all_of_stdout(capsys: Capture) -> None:
    assert main("run net.flc x.npz --json".split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "net" and found["preset"] == "tiny" and found["device"] == "golden"


def test_compare(capsys: Capture) -> None:
    assert main("compare net.flc --device iss".split()) == 0
    assert "every tile of" in capsys.readouterr().out
    assert main("compare net.flc --image x.npz --device iss --json".split()) == 0
    assert json.loads(capsys.readouterr().out)["equal"] is True


def test_compare_names_the_place(folder: Path, capsys: Capture) -> None:
    """A program whose code was changed, checksum mended, differs from its own golden model."""
    program = Program.load("net.flc")
    size = Arch.INSTRUCTION_BYTES
    instructions = program.instructions()
    at = next(i for i, ins in enumerate(instructions) if isinstance(ins, Mac))
    changed = instructions[at].replace(zp=instructions[at].zp ^ 1).encode()
    code = program.code[: at * size] + changed + program.code[(at + 1) * size :]
    Program(program.arch, code, program.header).save("changed.flc")
    assert main("compare changed.flc --device iss".split()) == 1
    err = capsys.readouterr().err
    assert f"instruction {at} (MAC" in err and "row" in err and "Traceback" not in err


def test_inspect(capsys: Capture) -> None:
    assert main("inspect net.flc --json --disassemble".split()) == 0
    found = json.loads(capsys.readouterr().out)
    program = Program.load("net.flc")
    assert found["preset"] == "tiny"
    assert sum(found["instructions"].values()) == program.n_instructions
    assert len(found["disassembly"]) == program.n_instructions
    assert found["disassembly"][-1].startswith("END")
    assert sum(layer["macs"] for layer in found["layers"]) == found["macs"] > 0
    assert main("inspect net.flc --disassemble".split()) == 0
    text = capsys.readouterr().out
    assert "net, for tiny" in text and "n_ob=" in text


def test_help_needs_no_extra() -> None:
    """In a fresh interpreter, ``--help`` loads nothing but typer, rich and numpy."""
    heavy = ("onnx", "onnxruntime", "amaranth", "skimage", "matplotlib", "PIL")
    code = ("import sys; from falconet_app.cli import main; code = main(['--help']); "
            f"sys.exit(code or any(m in sys.modules for m in {heavy}))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "detect" in done.stdout


def test_a_machine_of_ones_own(capsys: Capture, tmp_path: Path) -> None:
    """Compiled for it, refused for another, and not written over."""
    machine, program = tmp_path / "mine.json", tmp_path / "mine.flc"
    machine.write_text(json.dumps({"lanes": 8, "bank_words": 700, "mult_bits": 15}))
    arch = Arch("mine", lanes=8, bank_words=700, mult_bits=15)
    net, model = onnx_nets.Net((1, 3, 8, 8)), tmp_path / "conv.onnx"
    onnx.save(net.model(net.q(net.conv(net.q("x"), 9, 3))), str(model))
    np.savez(tmp_path / "x.npz", x=np.arange(-96, 96).reshape(3, 8, 8).astype(np.int8))
    compile_it = ["compile", str(model), "--preset", str(machine), "--output"]
    assert main([*compile_it, str(program)]) == 0
    assert Program.load(program).arch == arch and "for mine" in capsys.readouterr().out
    run_it = ["run", str(program), str(tmp_path / "x.npz"), "--preset", str(machine)]
    assert main([*run_it, "--device", "iss", "--verify"]) == 0
    assert "golden = ISS" in capsys.readouterr().out
    assert main([*compile_it, str(machine)]) == 1
    assert "is an input" in capsys.readouterr().err
    machine.write_text('{"lanes": 5}')
    assert main(run_it) == 1
    assert f"{machine}: preset 'mine': lanes=5 is impossible" in capsys.readouterr().err


def test_presets_are_offered_in_the_refusal(capsys: Capture) -> None:
    main(["compile", "odd.onnx", "--preset", "none"])
    err = capsys.readouterr().err
    assert all(name in err for name in PRESETS)


def test_explain_lists_the_tries_and_the_one_taken(capsys: Capture) -> None:
    net = onnx_nets.Net()
    net_file = net.model(net.q(net.conv(net.q(net.conv(net.q("x"), 16)), 16, 16)))
    onnx.save(net_file, "two.onnx")
    for _ in range(2):  # the second time the program is in the cache
        assert main(["compile", "two.onnx", "--preset", "tiny", "-o", "two.flc", "--explain"]) == 0
        lines = capsys.readouterr().out.splitlines()
        rows = [line.split() for line in lines[1:-1]]
        assert lines[0].split()[:3] == ["first", "tile", "slack"]
        assert [(r[0], *map(int, r[1:4])) for r in rows] == [
            (p.order.value, p.tile, p.slack, p.ahead) for p in POLICIES]
        (taken,) = (r for r in rows if r[-1] == "taken")
        estimates = [int(r[5].replace(",", "")) for r in rows]
        assert int(taken[5].replace(",", "")) == min(estimates)
    assert main(["compile", "two.onnx", "--preset", "tiny", "-o", "two.flc"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
