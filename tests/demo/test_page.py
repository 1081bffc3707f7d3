"""The page in a real browser: Debian's Chromium, with the camera that it makes up."""

from __future__ import annotations

import base64
import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import MISSING, Browser, browser
from demo_programs import classifier, detector_program, noise, png
from demo_server import Capture, inside, server
from PIL import Image

from falconet.demo.camera import Camera
from falconet.demo.looking import Machine, by_inputs
from falconet.demo.server import make_app
from falconet.isa import Program
from falconet_sim.golden.device import GoldenDevice

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} missing: on Debian, "
                                             "apt-get install chromium chromium-driver"),
]
FOUND = "!document.querySelector('#found').hidden"
IDLE = "document.querySelector('#says').innerText.endsWith('in all')"
BOXES = "document.querySelectorAll('#overlay g').length"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page")
    detector_program().save(path / "net.flc")
    classifier().save(path / "kinds.flc")
    (path / "wide.png").write_bytes(png(noise(40, 120)))
    (path / "dark.png").write_bytes(png(np.zeros((40, 60, 3), np.uint8)))
    (path / "cut.png").write_bytes(png(noise())[:300])
    (path / "text.jpg").write_text("no picture")
    blue = Image.new("RGB", (120, 40), (20, 40, 200))
    blue.save(path / "page.tiff")
    exif = Image.Exif()
    exif[0x0112] = 6
    blue.save(path / "turned.jpg", exif=exif)
    return path


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Of the page on the RTL."""
    arguments = ["demo", "--model", f"{folder}/net.flc", "--device", "rtl", "--port", "0"]
    with server(arguments, "falconet_app.cli") as (where, _):
        yield f"http://{where}"


@pytest.fixture(scope="module")
def window(folder: Path) -> Iterator[Browser]:
    with browser(folder / "profile") as b:
        yield b


@pytest.fixture
def page(window: Browser, address: str) -> Iterator[Browser]:
    """Freshly loaded, 1200 pixels wide; at the end the browser has nothing to complain of."""
    window.size(1200, 900)
    window.open(address)
    window.until("document.body.dataset.ready")
    window.log()
    yield window
    assert window.log() == []


def asked(address: str, file: Path) -> dict:
    """The server's own answer."""
    request = urllib.request.Request(f"{address}/see?trace=1", file.read_bytes())
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def test_boxes_lie_on_the_picture(page: Browser, address: str, folder: Path) -> None:
    """In pixels of the screen: the box's share of the picture, whatever the window's width."""
    want = asked(address, folder / "wide.png")
    page.type("#file", f"{folder}/wide.png")
    page.until(IDLE)
    assert page.run(f"return {BOXES}") == len(want["boxes"]) > 0
    for width in (1200, 400):
        page.size(width, 900)
        shown = page.run("""
            const place = (id) => { const r = document.querySelector(id).getBoundingClientRect();
                                    return [r.left, r.top, r.width, r.height]; };
            return {canvas: place('#photograph'), overlay: place('#overlay'), boxes:
                [...document.querySelectorAll('#overlay rect:not(.shade)')].map((e) =>
                    ['x', 'y', 'width', 'height'].map((k) => e[k].baseVal.value))};
        """)
        assert shown["canvas"] == pytest.approx(shown["overlay"], abs=0.1)
        left, _, w, h = shown["canvas"]
        assert 0 <= left < left + w <= width and w / h == pytest.approx(120 / 40, rel=0.02)
        for box, b in zip(reversed(shown["boxes"]), want["boxes"]):  # the best lies on top
            share = [b["x"] / 120 * w, b["y"] / 40 * h, b["w"] / 120 * w, b["h"] / 40 * h]
            assert box == pytest.approx(share, abs=0.5)
    rows = page.run("return [...document.querySelectorAll('#objects tbody tr')].map((r) => "
                    "[...r.cells].map((c) => c.innerText))")
    assert len(rows) == len(want["boxes"])
    for (name, *numbers), b in zip(rows, want["boxes"]):
        assert name == b["class_name"]
        assert [float(n) for n in numbers] == pytest.approx(
            [b[k] for k in ("score", *"xywh")], abs=0.051)


def test_speed_and_timeline(page: Browser, address: str, folder: Path) -> None:
    want = asked(address, folder / "wide.png")
    page.type("#file", f"{folder}/wide.png")
    page.until(IDLE)
    text = page.run("return document.querySelector('#results').innerText")
    assert "frames per second" in text and "simulated, not silicon" in text
    cycles = page.run("return [...document.querySelectorAll('dd')].map((e) => e.innerText)[2]")
    assert int(cycles.replace(",", "")) == pytest.approx(want["cycles"], rel=0.02)
    bars, rows = len(want["timeline"]["bars"]), page.run(
        "return [...document.querySelectorAll('#timeline .engine')].map((e) => e.innerText)")
    assert page.run("return document.querySelectorAll('#timeline rect').length") == pytest.approx(
        bars, rel=0.1)
    assert [r.split()[0] for r in rows] == [*want["timeline"]["engines"], "cycles"]
    title = page.run("return document.querySelector('#timeline rect title').textContent")
    assert title.split(":")[0].split(" (")[0] in [la["name"] for la in want["timeline"]["layers"]]
    used = [la for la in want["timeline"]["layers"] if la["cycles"]]
    assert page.run("return document.querySelectorAll('#layers tbody tr').length") == len(used)
    assert all(page.run(f"return document.querySelector('#time-{step}').innerText").endswith(" ms")
               for step in ("decode", "prepare", "machine", "read"))


def test_dropped(page: Browser, address: str, folder: Path) -> None:
    data = base64.b64encode((folder / "wide.png").read_bytes()).decode()
    page.run("""
        const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
        const carried = new DataTransfer();
        carried.items.add(new File([bytes], 'dropped.png', {type: 'image/png'}));
        document.querySelector('#stage').dispatchEvent(
            new DragEvent('drop', {dataTransfer: carried, bubbles: true, cancelable: true}));
    """, data)
    page.until(IDLE)
    assert page.run("return document.querySelector('#says').innerText").startswith("dropped.png, 1")
    assert page.run(f"return {BOXES}") == len(asked(address, folder / "wide.png")["boxes"])


@pytest.mark.parametrize("name", ["cut.png", "text.jpg"])
def test_broken_pictures(name: str, window: Browser, address: str, folder: Path) -> None:
    """One sentence; the boxes of the former picture go; the next picture is as usual."""
    window.open(address)
    window.until("document.body.dataset.ready")
    window.type("#file", f"{folder}/wide.png")
    window.until(IDLE)
    window.type("#file", f"{folder}/{name}")
    says = window.until("document.querySelector('#error').innerText")
    assert says.startswith(f"{name}: not a picture that can be read") and says.count("\n") == 0
    window.until("document.querySelector('#found').hidden && !document.querySelector("
                 "'#overlay').checkVisibility()")
    window.type("#file", f"{folder}/wide.png")
    window.until(f"{FOUND} && {BOXES} && document.querySelector('#error').hidden")
    assert ["400" in line for line in window.log()] == [True]  # the browser's own note of it


def test_a_sample_and_options(page: Browser) -> None:
    """A slider looks again; a score that nothing has says so; the button brings all back."""
    page.click("#samples button")
    page.until(IDLE)
    first = page.run(f"return {BOXES}")
    assert first > 3
    slide = """
        const input = document.querySelector(arguments[0]);
        input.value = arguments[1];
        for (const kind of ['input', 'change'])
            input.dispatchEvent(new Event(kind, {bubbles: true}));
    """
    page.run(slide, "#maximum", "3")
    page.until(f"{BOXES} === 3")
    page.run(slide, "#score", "1")
    page.until("document.querySelector('#count').innerText === 'Nothing found'")
    assert page.run("return document.querySelector('output').innerText") == "1.00"
    page.click("#defaults")
    page.until(f"{BOXES} === {first}")


def test_camera(page: Browser) -> None:
    """Frames follow each other; when it stops, the last one gets its timeline."""
    page.click("#browser-camera")
    page.until("document.querySelector('#says').innerText.includes('pictures a second')")
    assert page.run("return document.querySelectorAll('#timeline rect').length") == 0
    assert page.run("return document.querySelector('#browser-camera').ariaPressed") == "true"
    before = page.run("return document.querySelector('#photograph').toDataURL()")
    page.until(f"document.querySelector('#photograph').toDataURL() !== {json.dumps(before)}")
    page.click("#browser-camera")
    page.until(IDLE)
    page.until("document.querySelectorAll('#timeline rect').length")
    assert page.run("return document.querySelector('#browser-camera').ariaPressed") == "false"


def test_a_camera_that_stops_while_it_takes_a_picture(page: Browser) -> None:
    """The picture that comes late is not looked at: the last one keeps its timeline."""
    page.run("""
        const own = HTMLCanvasElement.prototype.toBlob;
        window.taken = 0;
        HTMLCanvasElement.prototype.toBlob = function (done, ...form) {
            own.call(this, (blob) => setTimeout(() => { done(blob); window.taken++; }, 500),
                     ...form);
        };
    """)
    page.click("#browser-camera")
    page.until("document.querySelector('#says').innerText.includes('pictures a second')")
    taken = page.run("return window.taken")
    page.click("#browser-camera")
    page.until(f"window.taken > {taken}")
    time.sleep(1)
    assert page.run("return document.querySelectorAll('#timeline rect').length")


@pytest.mark.parametrize("name, size", [("page.tiff", [120, 40]), ("turned.jpg", [40, 120])])
def test_pictures_that_look_otherwise_to_a_browser(
    name: str, size: list[int], page: Browser, address: str, folder: Path,
) -> None:
    """One that it cannot show comes from the server; one with an orientation is turned."""
    assert [asked(address, folder / name)[k] for k in ("width", "height")] == size
    page.type("#file", f"{folder}/{name}")
    page.until(IDLE)
    w, h, *middle = page.run("""
        const canvas = document.querySelector('#photograph'), half = canvas.width / 2;
        return [canvas.width, canvas.height,
                ...canvas.getContext('2d').getImageData(half, canvas.height / 2, 1, 1).data];
    """)
    assert w / h == pytest.approx(size[0] / size[1], rel=0.02)
    assert middle == pytest.approx([20, 40, 200, 255], abs=8)
    assert page.run(f"return {BOXES}") > 0


def test_the_camera_of_the_server(window: Browser, folder: Path, monkeypatch: pytest.MonkeyPatch
                                  ) -> None:
    """As on a board: its frames come with their boxes; a page from afar has no other camera."""
    monkeypatch.setattr("cv2.VideoCapture", Capture)
    program = Program.load(folder / "net.flc")
    machine = Machine(program, by_inputs(GoldenDevice(program), program), "model", "no clock")
    with inside(make_app(machine, {}, Camera(2))) as where:
        window.open(f"http://{where}")
        window.until("document.body.dataset.ready")
        button = window.run("return document.querySelector('#own-camera').innerText")
        assert button == "Camera 2 of the server"
        window.click("#own-camera")
        window.until("document.querySelector('#says').innerText.includes('pictures a second')")
        colour = window.run("return [...document.querySelector('#photograph').getContext('2d')"
                            ".getImageData(9, 9, 1, 1).data]")
        assert colour[:2] == pytest.approx([200, 100], abs=8) and window.run(f"return {BOXES}")
        window.click("#own-camera")
        window.until(IDLE)
    window.click("#own-camera")
    says = window.until("document.querySelector('#error').innerText")
    assert says == "the server does not answer; is it still running?"
    window.log()


@pytest.mark.parametrize("camera", [None, 2])
def test_from_another_computer(camera: int | None, window: Browser, folder: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    """By a board's name: no camera of the browser, and why; refused if it is for this computer."""
    monkeypatch.setattr("cv2.VideoCapture", Capture)
    program = Program.load(folder / "net.flc")
    machine = Machine(program, by_inputs(GoldenDevice(program), program), "model", "no clock")
    own = None if camera is None else Camera(camera)
    with inside(make_app(machine, {}, own, local=False)) as where:
        window.open(f"http://{where.replace('127.0.0.1', 'pynq')}")
        window.until("document.body.dataset.ready")
        assert window.run("return document.querySelector('#browser-camera').disabled")
        note = window.run("return document.querySelector('#camera-note').innerText")
        assert note.startswith("A browser lends its camera to https pages and to this computer's")
        assert ("started with --camera 0" in note) is (camera is None)
        window.type("#file", f"{folder}/wide.png")
        window.until(IDLE)
    with inside(make_app(machine, {}, own)) as where:
        window.open(f"http://{where.replace('127.0.0.1', 'pynq')}")
        assert "this page is for this computer only" in window.run("return document.body.innerText")
    window.log()


def test_keyboard_widths_and_darkness(page: Browser, folder: Path) -> None:
    page.type("#file", f"{folder}/wide.png")
    page.until(IDLE)
    page.run("document.activeElement.blur()")
    reached = [page.tab() for _ in range(10)]
    assert reached[0] == "file" and "browser-camera" in reached and "score" in reached
    for width in (360, 400, 859, 1200):
        page.size(width, 800)
        assert page.run("return document.documentElement.scrollWidth") <= width
    colour = "return getComputedStyle(document.body).backgroundColor"
    light = page.run(colour)
    page.dark()
    assert sum(map(int, page.run(colour)[4:-1].split(","))) < 150 < 600 < sum(
        map(int, light[4:-1].split(",")))
    page.dark(False)


def test_classes_on_the_golden_model(window: Browser, folder: Path) -> None:
    arguments = ["demo", "--model", f"{folder}/kinds.flc", "--port", "0"]
    with server(arguments, "falconet_app.cli") as (where, _):
        window.open(f"http://{where}")
        window.until("document.body.dataset.ready")
        assert window.run("return document.querySelector('#options').hidden")
        window.type("#file", f"{folder}/dark.png")
        window.until(IDLE)
        assert window.run("return document.querySelectorAll('#objects tbody tr').length") == 5
        text = window.run("return document.querySelector('#results').innerText")
        assert "The golden model has no clock" in text and "frames per second" not in text
        assert window.run("return document.querySelector('#where').hidden")
