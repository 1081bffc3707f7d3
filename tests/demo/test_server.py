"""The server of the page: what it answers, refuses, and lets nobody do."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_programs import classifier, detector_program, noise, png
from demo_server import Capture
from flask.testing import FlaskClient
from PIL import Image

from falconet.demo.camera import Camera
from falconet.demo.looking import Machine, Ran, by_inputs
from falconet.demo.server import LIMIT, make_app
from falconet.isa import FalconetError, Program
from falconet_app.cli import main
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.simulator import IssDevice

pytestmark = pytest.mark.timeout(120)
SAMPLES = {"one": lambda: png(noise(seed=1))}


def machine(program: Program, device: Any = GoldenDevice) -> Machine:
    return Machine(program, by_inputs(device(program), program), "model", "no clock")


def client(program: Program, device: Any = GoldenDevice, **more: Any) -> FlaskClient:
    return make_app(machine(program, device), SAMPLES, **more).test_client()


@pytest.fixture(scope="module")
def programs() -> dict[str, Program]:
    return {"machine": detector_program(), "host": detector_program("host"),
            "classes": classifier(), "gaussian": detector_program(nms="soft_gaussian")}


def told(command: str, program: Program, folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """What the command line says of the same picture and program."""
    program.save(folder / "net.flc")
    (folder / "noise.png").write_bytes(png(noise()))
    capsys.readouterr()
    name, *options = command.split()
    assert main([name, f"{folder}/noise.png", "--model", f"{folder}/net.flc", "--json", *options]
                ) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", ["machine", "host", "gaussian"])
@pytest.mark.parametrize("device", [GoldenDevice, IssDevice])
@pytest.mark.parametrize("query, options", [
    ("", ""), ("score=0.8", "--threshold 0.8"), ("iou=0.1&maximum=3", "--iou 0.1 --maximum 3"),
    ("sigma=0.1&iou=&score=0.6", "--sigma 0.1 --threshold 0.6"),
])
def test_boxes_are_those_of_the_command_line(
    kind: str, device: Any, query: str, options: str, programs: dict[str, Program],
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    want = told(f"detect {options}", programs[kind], tmp_path, capsys)
    found = client(programs[kind], device).post(f"/see?{query}", data=png(noise())).get_json()
    assert (found["width"], found["height"]) == (60, 40)
    assert len(found["boxes"]) == len(want["boxes"]) > 0
    assert found.get("candidates") == want["candidates"]
    for a, b in zip(found["boxes"], want["boxes"]):
        assert (a["class_name"], a["score"]) == (b["class"], b["score"])
        assert [a[k] for k in "xywh"] == [b[k] for k in "xywh"]
        assert a["landmarks"] == b["landmarks"] and len(a["landmarks"]) == 2
    assert found["cycles"] is found["fps"] is found["timeline"] is None
    assert set(found["times"]) == {"decode", "prepare", "machine", "read"}
    assert all(t > 0 for t in found["times"].values())


def test_options_matter(programs: dict[str, Program]) -> None:
    """What the test above compares does depend on them."""
    for kind in ("machine", "host", "gaussian"):
        ask, kept = client(programs[kind]), []
        for query in ("", "score=0.93", "iou=0.1", "maximum=3", "sigma=0.1"):
            reply = ask.post(f"/see?{query}", data=png(noise())).get_json()
            kept.append(json.dumps(reply["boxes"]))
        assert len(set(kept)) == 4
        assert kept[0] == kept[2 if kind == "gaussian" else 4]


def test_classes_are_those_of_the_command_line(
    programs: dict[str, Program], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    want = told("classify", programs["classes"], tmp_path, capsys)
    found = client(programs["classes"]).post("/see", data=png(noise())).get_json()
    assert "boxes" not in found and len(found["classes"]) == 5
    assert [(c["class_name"], c["score"], c["index"]) for c in found["classes"]] == [
        (c["class"], c["score"], c["index"]) for c in want["classes"]]


def test_state(programs: dict[str, Program]) -> None:
    state = client(programs["gaussian"]).get("/state").get_json()
    assert state["options"] == {"score": 0.5, "iou": 0.4, "sigma": 0.5, "mode": "soft_gaussian",
                                "limit": 30, "maximum": 30}
    assert state["samples"] == ["one"] and state["camera"] is None and state["limit"] == LIMIT
    assert state["macs"] > 0 and state["device"] == "model" and state["preset"] == "tiny"
    host = client(programs["host"]).get("/state").get_json()
    assert host["options"] == {"score": 0.5, "iou": 0.4, "sigma": 0.5, "mode": "greedy",
                               "limit": None, "maximum": 30}
    assert client(programs["classes"]).get("/state").get_json()["options"] is None


def test_a_program_without_a_picture_to_draw() -> None:
    program = classifier()
    program.header["meta"] = {"preprocess": program.header["meta"]["preprocess"]}
    with pytest.raises(FalconetError, match="outputs are not described, so there is nothing to"):
        machine(program)


def test_samples(programs: dict[str, Program]) -> None:
    ask = client(programs["machine"])
    reply = ask.get("/samples/one")
    with Image.open(io.BytesIO(reply.data)) as picture:
        assert np.array_equal(np.asarray(picture), noise(seed=1))
    for name in ("two", "..%2fserver.py", "%2fetc%2fpasswd"):
        assert ask.get(f"/samples/{name}").status_code == 404


@pytest.mark.parametrize("path, data, status, sentence", [
    ("/see", b"", 400, "the file is empty; send"),
    ("/see?name=x.txt", b"no picture", 400, "x.txt: not a picture that can be read"),
    ("/see", b"no picture", 400, "the picture: not a picture that can be read"),
    ("/see?name=cut.png", png(noise())[:300], 400, "cut.png: not a picture that can be read ("),
    ("/see?score=2", png(noise()), 400, "options: score=2.0; give a number from 0 to 1"),
    ("/see?score=nan", png(noise()), 400, "options: score=nan; give a number from 0 to 1"),
    ("/see?sigma=0", png(noise()), 400, "options: sigma=0.0; give a positive number"),
    ("/see?iou=much", png(noise()), 400, "options: iou='much' is not a number"),
    ("/see?maximum=2.5", png(noise()), 400, "options: maximum='2.5' is not a whole number"),
    ("/see?maximum=0", png(noise()), 400, "options: maximum=0; give a whole number from 1"),
    ("/see?maximum=31", png(noise()), 400, "options: maximum=31; the program has room for 30"),
    ("/camera", b"", 404, "this server has no camera; start it with --camera 0"),
    ("/nowhere", b"", 404, "Not Found: "),
    ("/state", b"", 405, "Method Not Allowed: "),
])
def test_mistakes(path: str, data: bytes, status: int, sentence: str,
                  programs: dict[str, Program]) -> None:
    reply = client(programs["machine"]).post(path, data=data)
    assert reply.status_code == status and list(reply.get_json()) == ["error"]
    assert reply.get_json()["error"].startswith(sentence)


def test_a_bomb(programs: dict[str, Program]) -> None:
    bomb = png(np.zeros((1, 1, 3), np.uint8))
    size = (30_000).to_bytes(4, "big")
    header = bomb[12:16] + size + size + bomb[24:29]
    bomb = bomb[:12] + header + zlib.crc32(header).to_bytes(4, "big") + bomb[33:]
    reply = client(programs["machine"]).post("/see", data=bomb)
    assert reply.status_code == 400 and "pixels; make it smaller" in reply.get_json()["error"]


def test_too_much(programs: dict[str, Program]) -> None:
    reply = client(programs["machine"]).post("/see", data=bytes(LIMIT + 1))
    assert reply.status_code == 413
    assert reply.get_json()["error"] == "the picture is larger than 64 MB; send a smaller one"


@pytest.mark.parametrize("headers, status", [
    ({}, 200), ({"Host": "127.0.0.1:8000"}, 200), ({"Host": "[::1]:8000"}, 200),
    ({"Host": "127.0.0.5"}, 200), ({"Host": "127.0.0.1.rebound.example"}, 403),
    ({"Host": "rebound.example:8000"}, 403), ({"Host": "localhost.rebound.example"}, 403),
    ({"Host": "192.168.1.7"}, 403), ({"Host": "[::2]"}, 403), ({"Host": ""}, 403),
    ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, 200),
    ({"Host": "localhost:8000", "Origin": "http://other.example"}, 403),
    ({"Host": "localhost:8000", "Origin": "http://localhost:8001"}, 403),
    ({"Origin": "null"}, 403),
])
def test_pages_of_others(headers: dict[str, str], status: int, programs: dict[str, Program]
                         ) -> None:
    ask = client(programs["machine"])
    reply = ask.post("/see", data=png(noise()), headers=headers)
    assert reply.status_code == status
    assert ask.get("/", headers={"Host": headers.get("Host", "localhost")}).status_code == (
        status if "Origin" not in headers else 200)


def test_on_the_network_any_name_will_do(programs: dict[str, Program]) -> None:
    ask = client(programs["machine"], local=False)
    assert ask.get("/state", headers={"Host": "pynq:8000"}).status_code == 200
    reply = ask.get("/state", headers={"Host": "pynq:8000", "Origin": "http://other.example"})
    assert reply.status_code == 403


@pytest.mark.parametrize("path", ["/", "/style.css", "/script.js", "/icon.svg", "/state", "/no"])
def test_headers(path: str, programs: dict[str, Program]) -> None:
    reply = client(programs["machine"]).get(path)
    assert reply.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_one_run_at_a_time(programs: dict[str, Program]) -> None:
    """Of four requests at once, each runs alone, and gets its own boxes."""
    m, under_way = machine(programs["machine"]), []
    inner = m.run

    def run(*arguments: Any) -> Ran:
        assert not under_way
        under_way.append(1)
        time.sleep(0.05)
        ran = inner(*arguments)
        under_way.clear()
        return ran

    m.run = run
    app, replies = make_app(m, {}), {}

    def ask(seed: int) -> None:
        replies[seed] = app.test_client().post("/see", data=png(noise(seed=seed))).get_json()

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = client(programs["machine"])
    for seed, reply in replies.items():
        assert reply["boxes"] == alone.post("/see", data=png(noise(seed=seed))).get_json()["boxes"]
    assert len({json.dumps(r["boxes"]) for r in replies.values()}) == 4


def test_the_machine_stops(programs: dict[str, Program]) -> None:
    m = machine(programs["machine"])

    def run(*_: Any) -> Ran:
        raise FalconetError("falconet: the machine stops")

    m.run = run
    ask = make_app(m, {}).test_client()
    for _ in range(2):  # whoever comes next is not kept waiting
        reply = ask.post("/see", data=png(noise()))
        assert reply.status_code == 500
        assert reply.get_json() == {"error": "falconet: the machine stops"}


def test_camera(monkeypatch: pytest.MonkeyPatch, programs: dict[str, Program]) -> None:
    monkeypatch.setattr("cv2.VideoCapture", Capture)
    camera = Camera(0)
    frame = camera.frame()
    assert frame.dtype == np.uint8 and frame[0, 0].tolist() == [200, 100, 4]  # the 4th is new
    ask = client(programs["machine"], camera=camera)
    assert ask.get("/state").get_json()["camera"] == 0
    found = ask.post("/camera?picture=1").get_json()
    assert (found["width"], found["height"]) == (60, 40) and "boxes" in found
    with Image.open(io.BytesIO(base64.b64decode(found["picture"]))) as picture:
        assert picture.format == "JPEG" and picture.size == (60, 40)
        assert np.abs(np.asarray(picture).astype(int) - [200, 100, 5]).max() < 8
    camera.close()
    assert camera._capture.released
    reply = client(programs["machine"], camera=Camera(7)).post("/camera")
    assert reply.status_code == 400
    assert reply.get_json()["error"] == "camera 7 gives no picture; is it still connected?"
    with pytest.raises(FalconetError, match="camera 9 cannot be opened; is it connected, and fr"):
        Camera(9)
