"""Figures: what bench prints and returns, from a program and a made-up run."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import detectors
import networks
import numpy as np
import pytest

from falconet.compiler import compile_graph
from falconet.isa import Engine, FalconetError, Program, Suppression, preset
from falconet.runtime.detections import Options
from falconet.runtime.device import RunResult, Trace
from falconet.runtime.profile import layer_profiles, spans
from falconet.runtime.vision import Detection
from falconet_app.commands import charts, worst_case
from falconet_app.commands.figures import figures, headline, markdown, rows
from falconet_app.commands.machines import DeviceName, require_equal
from falconet_app.commands.pages import put_section, revision
from falconet_app.commands.pictures import draw_detections
from falconet_app.commands.report import page_of
from falconet_sim.iss.simulator import IssDevice

KEYS = {"model", "preset", "clock_mhz", "ddr", "macs", "mac_per_cycle", "cycles", "utilisation",
        "fps", "layers"}
LAYER_KEYS = {"name", "engine", "cycles", "bytes", "utilisation", "bound"}


@pytest.fixture(scope="module")
def measured() -> tuple[Program, RunResult]:
    """A program and a run in which instructions follow each other, one a hundred cycles."""
    program = compile_graph(networks.zoo_of_operators(size=12), preset("tiny"), "net")
    start = np.arange(program.n_instructions, dtype=np.int64) * 100
    cycles = int(start[-1])
    return program, RunResult({}, cycles=cycles, trace=Trace(start, start + 100))


@pytest.fixture(scope="module")
def found(measured: tuple[Program, RunResult]) -> dict[str, Any]:
    return {**figures(*measured), "equal": True, "images": 1, "compile_s": 1.0, "simulate_s": 2.0}


def test_figures(measured: tuple[Program, RunResult], found: dict[str, Any]) -> None:
    program, run = measured
    assert KEYS <= set(found)
    assert all(LAYER_KEYS <= set(layer) for layer in found["layers"])
    assert found["macs"] == sum(layer["macs"] for layer in program.header["layers"])
    assert found["utilisation"] == pytest.approx(found["macs"] / run.cycles / 64, abs=1e-4)
    assert found["fps"] == pytest.approx(100e6 / run.cycles, abs=0.01)
    assert sum(layer["cycles"] for layer in found["layers"]) == run.cycles


def test_text_says_what_figures_depend_on(found: dict[str, Any]) -> None:
    text = "\n".join(headline(found))
    for part in ("tiny", "100 MHz", "GB/s", "not silicon", "golden = ISS = RTL"):
        assert part in text
    page = markdown(found)
    assert all(f"| {row[0]} |" in page for row in rows(found))


def test_sections_are_replaced_not_repeated(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "performance.md"
    put_section(page, "a", "first\n")
    put_section(page, "b", "second\n")
    put_section(page, "a", "third\n")
    text = page.read_text()
    assert "first" not in text and text.count("begin a") == 1
    assert text.index("third") < text.index("second")
    assert text.startswith("# Performance\n")


def test_a_section_goes_below_the_heading_that_it_stands_under(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# P\n\n## Part\n\n<!-- begin a -->\n<!-- end a -->\n\n### Deep\n\n"
                    "<!-- begin b -->\n<!-- end b -->\n")
    put_section(page, "a", "## A\n")
    put_section(page, "b", "## B\n")
    put_section(page, "a", "## A again\n")
    lines = page.read_text().splitlines()
    assert [n for n in lines if n.startswith("#")] == [
        "# P", "## Part", "### A again", "### Deep", "#### B"]


def test_revision_is_a_word() -> None:
    assert revision() and " " not in revision()


def test_boxes_are_drawn(tmp_path: Path) -> None:
    from PIL import Image

    image = np.zeros((60, 80, 3), np.uint8)
    box = Detection("face", 0.9, 20, 25, 30, 20, landmarks=((30.0, 30.0),))
    draw_detections(image, [box], tmp_path / "new" / "d.png")
    with Image.open(tmp_path / "new" / "d.png") as picture:
        drawn = np.asarray(picture)
    assert drawn.shape == image.shape
    assert drawn[45, 35].any() and not drawn[55, 70].any()


class Page(HTMLParser):
    """Tags that are closed in order, their attributes, and the text."""

    OPEN = ("meta", "img", "br")  # elements without an end

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.OPEN and not (self.get_starttag_text() or "").endswith("/>"):
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_report_is_one_page_of_all_layers(
        measured: tuple[Program, RunResult], found: dict[str, Any]) -> None:
    program, run = measured
    text = page_of({**found, "model": "a <b> & c"}, program, run)
    page = Page()
    page.feed(text)
    page.close()
    assert not page.stack and text.startswith("<!doctype html>")
    assert "<b> &" not in "".join(re.findall(r"<h1>.*?</h1>", text))
    assert not re.search(r"https?:|@import|url\(|<script|<link|src=", text)
    said = " ".join(page.words)
    for layer in found["layers"]:
        assert layer["name"] in said and f"{layer['cycles']:,}" in said
    for part in ("tiny at 100 MHz", "GB/s", "not silicon", f"commit {revision()}",
                 f"{found['cycles']:,}", f"{found['fps']:.1f}", f"{found['utilisation']:.1%}"):
        assert part in said, part
    for points in (a["points"] for tag, a in page.found if tag == "polyline"):
        assert points is not None and "nan" not in points


def blocks_of(svg: str, name: str) -> list[tuple[float, float]]:
    """Where the bars of a layer begin in a timeline, and how wide they are."""
    bars = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"[^>]*><title>([^<]*)<', svg)
    return [(float(x), float(w)) for x, w, title in bars if title.startswith(f"{name} on ")]


def test_bars_stand_where_the_instructions_ran(measured: tuple[Program, RunResult]) -> None:
    """An instruction a hundred cycles: a bar is as wide as its layer's neighbours are many."""
    program, run = measured
    assert run.trace is not None and run.cycles is not None
    names = [str(layer["name"]) for layer in program.header["layers"]]
    every = spans(program, run.trace.start, run.trace.retire)
    for draw, left in ((charts.timeline_of_engines, 64), (charts.timeline_of_layers, 190)):
        svg = draw(every, names, run.cycles, 100.0)
        scale = (1110 - left) / run.cycles
        for layer, name in enumerate(names):
            own = [s for s in every if s.layer == layer]
            bars = blocks_of(svg, name)
            assert sum(w for _, w in bars) == pytest.approx(100 * scale * len(own), abs=0.1)
            assert {round((x - left) / scale / 100) for x, _ in bars} <= {s.index for s in own}


def test_points_of_the_roofline_are_named_and_in_place(
        measured: tuple[Program, RunResult]) -> None:
    program, run = measured
    assert run.trace is not None and run.cycles is not None
    profiles = layer_profiles(program, run.trace.start, run.trace.retire, run.cycles)
    svg = charts.roofline(profiles, program.arch, 12.6)
    circles = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"[^>]*><title>\d+ (\S+) ', svg)
    at = {name: (float(x), float(y)) for x, y, name in circles}
    drawn = [p for p in profiles if p.macs and p.busy]
    assert set(at) == {p.name for p in drawn} and len(drawn) > 5
    for key, sign in ((lambda p: p.macs / p.bytes, 0), (lambda p: -p.macs / p.busy, 1)):
        order = sorted(drawn, key=key)  # to the right, and upwards
        places = [at[p.name][sign] for p in order]
        assert places == sorted(places)
    for i, p in enumerate(profiles):
        if p in drawn:
            assert re.search(rf">{i + 1}( {re.escape(p.name)})?</text>", svg), p.name
    assert charts.roofline([], program.arch, 12.6) == "<p>No layer multiplies.</p>"


def test_difference_names_output_and_element() -> None:
    a = {"y": np.zeros((2, 3, 4), np.int8)}
    b = {"y": a["y"].copy()}
    require_equal(a, b, "RTL")
    b["y"][1, 2, 3] = 5
    with pytest.raises(FalconetError, match=r"RTL: output 'y' differs .* in 1 of 24 bytes, first "
                                            r"at \[1, 2, 3\]: 5 instead of 0"):
        require_equal(a, b, "RTL")
    with pytest.raises(FalconetError, match="outputs"):
        require_equal(a, {}, "RTL")
    with pytest.raises(FalconetError, match=r"\[2, 3\]"):
        require_equal(a, {"y": np.zeros((2, 3), np.int8)}, "RTL")


def test_the_detect_engine_has_its_line() -> None:
    """Each instruction takes a hundred cycles, none beside another: nothing is hidden."""
    graph = detectors.detector(points=2, levels=3)
    program = compile_graph(graph, preset("tiny"), "net")
    start = np.arange(program.n_instructions, dtype=np.int64) * 100
    run = IssDevice(program).run(detectors.random_input(graph))
    run.cycles, run.trace = int(start[-1]), Trace(start, start + 100)
    own = [i for i in program.instructions() if i.engine is Engine.DETECT]
    run.busy = {"DETECT": 100 * len(own)}
    detect = figures(program, run)["detect"]
    assert (detect["SCAN"], detect["SUPPRESS"], detect["MARK"]) == (300, 100, 300)
    assert detect["busy"] == 700 <= detect["alone"]  # the loads that serve it alone too
    assert run.detections is not None
    assert detect["candidates"] == run.detections.candidates
    assert detect["boxes"] == len(run.detections.records)
    found = {**figures(program, run), "equal": True, "images": 1, "compile_s": 1, "simulate_s": 2}
    assert "detect engine: 700 cycles (SCAN 300 + SUPPRESS 100 + MARK 300)" in markdown(found)


def overlaps(records: Any) -> int:
    """Pairs of boxes with a common area."""
    x1, y1, x2, y2 = (records[k].astype(int) for k in ("x1", "y1", "x2", "y2"))
    width = np.minimum(x2[:, None], x2) - np.maximum(x1[:, None], x1)
    height = np.minimum(y2[:, None], y2) - np.maximum(y1[:, None], y1)
    return int(np.triu((width > 0) & (height > 0), 1).sum())


@pytest.mark.parametrize("case", worst_case.CASES, ids=lambda c: f"{c.mode.name}-{c.boxes}")
@pytest.mark.parametrize("machine", ["tiny", "pynq-z2"])
def test_worst_case_is_one(case: worst_case.Case, machine: str) -> None:
    """All candidates stay, and as many pairs overlap as are counted."""
    arch = preset(machine)
    program, heads = worst_case.worst_program(arch, case)
    found = IssDevice(program).run(heads, Options(0, 0)).detections
    assert found is not None
    assert len(found.records) == found.candidates == arch.candidates
    assert set(found.records["label"]) == {0}
    assert overlaps(found.records) == case.pairs(arch.candidates)


def test_cycles_beyond_the_bound_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every case is measured on a made-up RTL; one that takes a cycle too many is an error."""
    arch, extra = preset("tiny"), 0

    class Made(IssDevice):
        def run(self, *given: Any) -> RunResult:
            result = super().run(*given)
            mode = Suppression[self.program.header["detect"]["mode"].upper()]
            lie = "stacked" if mode.name.startswith("SOFT") else "crossing"
            pairs = overlaps(result.detections.records)  # type: ignore[union-attr]
            case = worst_case.Case(mode, lie if pairs else "apart")
            start = np.zeros(self.program.n_instructions, np.int64)
            bound = worst_case.cycle_bound(case, arch.candidates)
            result.trace = Trace(start, start + bound + extra)
            return result

    def make(name: DeviceName, program: Program) -> IssDevice:
        return (Made if name is DeviceName.rtl else IssDevice)(program)

    monkeypatch.setattr(worst_case, "make_device", make)
    found = worst_case.measure(arch)
    assert [f["cycles"] for f in found] == [f["bound"] for f in found]
    assert found[0]["bound"] == 16 + 64 * 13 + 64 * 65 // 2
    extra = 1
    with pytest.raises(FalconetError, match="worst case greedy, apart: 64 boxes stay"):
        worst_case.measure(arch)
