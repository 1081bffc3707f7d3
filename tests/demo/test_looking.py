"""The timeline of a run, by hand and on the RTL; a board's steps; the board's own command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_programs import classifier, detector_program, noise, png
from demo_server import server
from devices import board

import falconet.demo.opening
from falconet.demo.__main__ import main
from falconet.demo.looking import Machine, Times, by_inputs, by_steps, timeline
from falconet.isa import Elementwise, End, Engine, Load, Mac, Program, Store, preset
from falconet.runtime.detections import Options
from falconet.runtime.device import RunResult, Trace
from falconet_app.cli import main as command
from falconet_sim.golden.device import GoldenDevice

pytestmark = pytest.mark.timeout(300)
TINY = preset("tiny")


def test_bars_by_hand() -> None:
    """Loads of one layer are one bar, gaps of a two-thousandth included; others stay apart."""
    instructions = [Load(), Load(), Load(), Mac(wait_load=1), Elementwise(), Mac(), Store(), End()]
    layers = [0, 0, 0, 0, 1, 1, 1, -1]
    program = Program(TINY, b"".join(i.encode() for i in instructions), {
        "instructions": 8, "steps": [[n, -1, 0, 0, 0, 0] for n in layers],
        "layers": [{"name": "a", "op": "conv", "engine": "MAC", "macs": 640},
                   {"name": "b", "op": "add", "engine": "VEC", "macs": 0}],
    })
    start = [0, 11, 30, 100, 700, 900, 3000, 4000]
    retire = [10, 20, 40, 900, 800, 1000, 3500, 4000]
    trace = Trace(np.array(start), np.array(retire))
    found = timeline(program, RunResult({}, cycles=4000, trace=trace))
    assert found is not None and found["engines"] == [e.name for e in Engine]
    assert found["bars"] == [
        [Engine.LOAD, 0, 0, 20], [Engine.LOAD, 0, 30, 40],  # gaps of 1 and of 10 of 4000 cycles
        [Engine.MAC, 0, 100, 900], [Engine.MAC, 1, 900, 1000], [Engine.VEC, 1, 700, 800],
        [Engine.STORE, 1, 3000, 3500],
    ]
    a, b = found["layers"]
    assert (a["name"], a["cycles"], a["utilisation"]) == ("a", 900, 640 / 800 / TINY.macs_per_cycle)
    assert (b["op"], b["cycles"], b["utilisation"]) == ("add", 3100, None)
    assert timeline(program, RunResult({}, cycles=4000)) is None
    assert timeline(program, RunResult({}, trace=trace)) is None


@pytest.mark.parametrize("post", ["machine", "host"])
def test_rtl_and_board_see_what_the_golden_model_sees(post: str) -> None:
    """``by_inputs`` has exact traces; ``by_steps``, the board's way, reads them off counters."""
    program, device = detector_program(post), board(TINY)
    golden = Machine(program, by_inputs(GoldenDevice(program), program), "golden", "")
    device.load(program)
    rtl = Machine(program, by_inputs(device, program), "rtl", "")
    steps = Machine(program, by_steps(device), "board", "")
    for seed, options in enumerate([Options(), Options(score=0.9, iou=0.2, maximum=4)]):
        def look(machine: Machine, trace: bool, at: int = seed, o: Options = options) -> Any:
            return machine.look(noise(seed=at), o, trace=trace, times=Times())

        want, exact, near = look(golden, True), look(rtl, True), look(steps, True)
        assert want["boxes"] == exact["boxes"] == near["boxes"]
        assert want["timeline"] is None and look(steps, False)["timeline"] is None
        assert exact["cycles"] == pytest.approx(near["cycles"], rel=0.02)  # refresh, polling
        assert exact["fps"] == TINY.clock_mhz * 1e6 / exact["cycles"]
        assert exact["utilisation"] == rtl.macs / exact["cycles"] / TINY.macs_per_cycle
        for found in (exact, near):
            run = found["timeline"]
            assert sum(layer["cycles"] for layer in run["layers"]) == found["cycles"]
            assert all(0 <= s <= e <= found["cycles"] for _, _, s, e in run["bars"])
            assert set(found["times"]) == {"prepare", "machine", "read"}
        for engine in Engine:  # what is busy has bars, up to the gaps that are not drawn
            drawn = sum(e - s for of, _, s, e in exact["timeline"]["bars"] if of == engine)
            assert exact["busy"][engine.name] <= drawn + 200
        assert exact["busy"]["MAC"] > 0 and (exact["busy"]["DETECT"] > 0) is (post == "machine")


def test_command(tmp_path: Path) -> None:
    """It says where it is, answers there, refuses a port that is taken, and ends by Ctrl-C."""
    path = tmp_path / "net.flc"
    detector_program().save(path)
    arguments = ["demo", "--model", str(path), "--port", "0"]
    with server(arguments, "falconet_app.cli") as (address, process):
        request = urllib.request.Request(f"http://{address}/see", png(noise()))
        with urllib.request.urlopen(request) as reply:
            assert json.load(reply)["boxes"]
        with urllib.request.urlopen(f"http://{address}/samples/astronaut") as reply:
            assert reply.read(4) == b"\x89PNG"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(
                f"http://{address}/state", headers={"Host": "rebound.example"}))
        port = address.split(":")[1]
        again = subprocess.run(
            [sys.executable, "-m", "falconet_app.cli", *arguments[:-1], port],
            capture_output=True, text=True, timeout=60)
        assert again.returncode == 1 and again.stdout == ""
        assert again.stderr == (f"falconet: --port {port}: 127.0.0.1 cannot be listened on there "
                                "(Address already in use); give another --port\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr is not None and process.stderr.read() == ""


@pytest.mark.parametrize("host, sentence", [
    ("no.such.host.invalid", "falconet: --host no.such.host.invalid: no such address"),
    ("192.0.2.1", "falconet: --port 0: 192.0.2.1 cannot be listened on there"),
])
def test_addresses(host: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
                   ) -> None:
    detector_program().save(tmp_path / "net.flc")
    assert command(f"demo --model {tmp_path}/net.flc --port 0 --host {host}".split()) == 1
    assert capsys.readouterr().err.startswith(sentence)


def test_on_a_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                    capsys: pytest.CaptureFixture[str]) -> None:
    """``python3 -m falconet.demo``: the machine of the board, given back at the end."""
    detector_program().save(tmp_path / "net.flc")
    machine, seen = board(TINY), {}

    def stand_in(app: Any, host: str, port: int, ready: Any) -> None:
        ready(f"http://{host}:{port}")
        ask = app.test_client()
        seen["state"] = ask.get("/state", headers={"Host": "pynq:80"}).get_json()
        seen["reply"] = ask.post("/see?trace=1", data=png(noise())).get_json()

    monkeypatch.setattr(falconet.demo.opening, "open_board", lambda *_, **__: machine)
    monkeypatch.setattr("falconet.demo.serving.serve", stand_in)
    assert main([str(tmp_path / "net.flc"), "--host", "0.0.0.0", "--port", "80"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "spots on the board pynq-z2: http://0.0.0.0:80 (Ctrl-C ends)",
        "everybody on this network can use this page and its machine"]
    assert seen["state"]["device"] == "board pynq-z2"
    assert "counted on the board" in seen["state"]["note"]
    assert seen["reply"]["timeline"]["bars"] and seen["reply"]["cycles"] > 0
    assert not machine.board.buffers  # its memory


@pytest.mark.parametrize("simulated", [True, False])
def test_a_bitstream_goes_through_pynq(
    simulated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where it is installed; its simulated board is called one."""
    (tmp_path / "pynq.py").write_text(
        "class Overlay:\n    def __init__(self, path): self.path, self.device = path, Device()\n"
        f"class Device:\n    {'run_timeout = 600.0' if simulated else 'pass'}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pynq", raising=False)
    detector_program().save(tmp_path / "net.flc")
    opened, machine = [], board(TINY)

    def open_board(overlay: Any, **_: Any) -> Any:
        opened.append(overlay.path)
        return machine

    monkeypatch.setattr(falconet.demo.opening, "open_board", open_board)
    monkeypatch.setattr("falconet.demo.serving.serve", lambda app, host, port, ready: ready("here"))
    assert main([f"{tmp_path}/net.flc", "--bitstream", "some/falconet.bit"]) == 0
    assert opened == ["some/falconet.bit"]
    where = "simulated board" if simulated else "board pynq-z2"
    assert capsys.readouterr().out == f"spots on the {where}: here (Ctrl-C ends)\n"
    del sys.modules["pynq"]


def test_a_browser_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector_program().save(tmp_path / "net.flc")
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("falconet.demo.serving.serve", lambda app, host, port, ready: ready("here"))
    for option, want in (("--no-open", []), ("--open", ["here"])):
        assert command(["demo", "--model", f"{tmp_path}/net.flc", option]) == 0
        assert opened == want


@pytest.mark.parametrize("arguments, sentence", [
    ("--bitstream x.bit", "--bitstream is loaded into a board; give --device board too"),
    ("--device board --board zed", "board 'zed' is unknown; choose one of: pynq-z2"),
    ("--device board --model net.flc", "net.flc: made for 'tiny', not for 'pynq-z2'"),
    ("--model plain.flc", "program 'kinds': its outputs are not described, so there is nothing"),
])
def test_mistakes(arguments: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                  capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    detector_program().save("net.flc")
    plain = classifier()
    plain.header["meta"] = {"preprocess": plain.header["meta"]["preprocess"]}
    plain.save("plain.flc")
    assert command(["demo", *arguments.split()]) == 1
    assert capsys.readouterr().err.startswith(f"falconet: {sentence}")


@pytest.mark.parametrize("arguments, sentence", [
    (["nothing.flc"], "falconet: nothing.flc: not in this folder and not among the samples"),
    (["text.txt"], "falconet: text.txt: not a Falconet program"),
    (["net.flc", "--bitstream", "no.bit"], "falconet: no.bit: No such file or directory"),
])
def test_mistakes_on_a_board(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    detector_program().save(tmp_path / "net.flc")
    (tmp_path / "text.txt").write_text("no program")
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert err.startswith(sentence) and err.count("\n") == 1 and out == ""
