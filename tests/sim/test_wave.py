"""VCD files as values by cycle, and their picture."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib.wiring import Component, In, Out
from amaranth.sim import Simulator
from PIL import Image

from falconet.isa import FalconetError
from falconet_app.cli import main
from falconet_sim.wave.picture import draw
from falconet_sim.wave.vcd import Recording, handshakes, matching, names, record

BY_HAND = """$date today $end
$comment what # says $end
$timescale 1ps $end
$scope module top $end
 $var wire 1 ! clk $end
 $var wire 1 # s__valid $end
 $scope module inner $end
  $var wire 8 $ word [7:0] $end
  $var wire 1 # i__valid $end
  $var real 64 r speed $end
 $upscope $end
$upscope $end
$enddefinitions $end
#40
$dumpvars
0! x# bxxxx0000 $ r0.5 r
$end
#50
b11 $
1!
1#
#60
0!
#70
b100 $
1!
#80
0!
#90
1!
0#
#100
"""


@pytest.fixture
def by_hand(tmp_path: Path) -> Path:
    file = tmp_path / "hand.vcd"
    file.write_text(BY_HAND)
    return file


def test_values_are_those_before_the_edge(by_hand: Path) -> None:
    known = names(by_hand)
    assert [n.path for n in known] == ["top.clk", "top.s__valid", "top.inner.word",
                                       "top.inner.i__valid", "top.inner.speed"]
    found = record(by_hand, known, matching(known, ["word", "top.*valid"]))
    assert (found.begin, found.cycles) == (2, 3)  # edges at 50, 70, 90; every 20
    assert [w.values for w in found.waves] == [(None, 3, 4), (None, 1, 1)]
    assert record(by_hand, known, handshakes(known), begin=3, cycles=1).waves[0].values == (1,)
    assert [n.path for n in handshakes(known)] == ["top.s__valid"]


class Mixer(Component):
    """A register and a sum of inputs."""

    def __init__(self) -> None:
        super().__init__({"a": In(8), "b": In(8), "total": Out(9), "last": Out(8)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        odd = Signal()
        m.d.comb += [self.total.eq(self.a + self.b), odd.eq(self.total[0])]
        m.d.sync += self.last.eq(self.a ^ odd)
        return m


def simulated(folder: Path, cycles: int = 30) -> tuple[Recording, list[dict[str, int]]]:
    """A recording of a bench, and what the bench saw."""
    dut, rng, seen = Mixer(), random.Random(3), list[dict[str, int]]()
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)

    async def bench(ctx: Any) -> None:
        for _ in range(cycles):
            for port in (dut.a, dut.b):
                if rng.random() < 0.6:
                    ctx.set(port, rng.randrange(256))
            seen.append({n: ctx.get(getattr(dut, n)) for n in ("a", "b", "total", "last")})
            await ctx.tick()

    simulator.add_testbench(bench)
    with simulator.write_vcd(str(folder / "mixer.vcd")):
        simulator.run()
    known = names(folder / "mixer.vcd")
    return record(folder / "mixer.vcd", known,
                  matching(known, ["top.a", "top.b", "total", "last", "odd"]), cycles=cycles), seen


def test_a_recording_is_what_the_bench_saw(tmp_path: Path) -> None:
    found, seen = simulated(tmp_path)
    assert (found.begin, found.cycles) == (0, len(seen))
    for wave in found.waves[:4]:
        assert list(wave.values) == [s[wave.name.signal] for s in seen], wave.name.path


def test_the_picture_shows_the_values(tmp_path: Path) -> None:
    found, seen = simulated(tmp_path)
    file = tmp_path / "mixer.svg"
    draw(found, file)
    svg = ET.fromstring(file.read_text())
    texts = [t.text or "" for t in svg.iter("{http://www.w3.org/2000/svg}text")]
    for wave in found.waves[:4]:
        runs = [v for i, v in enumerate(wave.values) if i == 0 or wave.values[i - 1] != v]
        digits = -(-wave.name.width // 4)
        written = [f"{v:0{digits}x}" for v in runs]
        assert any(texts[i : i + len(runs)] == written for i in range(len(texts))), wave.name.path
    levels = [p for p in svg.iter("{http://www.w3.org/2000/svg}polyline")
              if p.get("stroke-width") != "1"]
    points = [tuple(map(float, p.split(","))) for p in str(levels[0].get("points")).split()]
    high = min(y for _, y in points)
    assert [int(y == high) for _, y in points[::2]] == [s["total"] & 1 for s in seen]
    assert {"cycle", "0", "5", "25", "top", "odd"} <= set(texts)


def test_a_png_is_the_same_picture(tmp_path: Path) -> None:
    found, _ = simulated(tmp_path)
    for name in ("mixer.svg", "mixer.png"):
        draw(found, tmp_path / name)
    svg = ET.fromstring((tmp_path / "mixer.svg").read_text())
    with Image.open(tmp_path / "mixer.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[:2] == tuple(int(float(str(svg.get(k)))) for k in ("height", "width"))
    line = next(p for p in svg.iter("{http://www.w3.org/2000/svg}polyline")
                if p.get("stroke-width") != "1")
    points = [tuple(map(float, p.split(","))) for p in str(line.get("points")).split()]
    for (x0, y), (x1, _) in zip(points[::2], points[1::2]):
        at = pixels[round(y) - 2 : round(y) + 2, round((x0 + x1) / 2)]
        assert (at[:, 2] - at[:, 0]).max() > 60  # the blue of a level, there


@pytest.mark.parametrize(("text", "why"), [
    ("FALCONET", "'FALCONET' among its declarations"),
    ("$scope module a $end", "it ends before"),
    ("$enddefinitions $end", "no signal is in it"),
    ("$var wire one ! clk $end", r"\$var wire one"),
    (BY_HAND.replace("#70", "#soon"), "time '#soon'"),
    (BY_HAND.replace("b11 $", "what"), "'what' is no change"),
    (BY_HAND.replace("#70\nb100 $\n1!", "").replace("1!\n0#", ""), "'clk' rises 1 times"),
])
def test_what_is_no_vcd(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.vcd"
    file.write_text(text)
    with pytest.raises(FalconetError, match=rf"^{re.escape(str(file))}: .*{why}"):
        record(file, names(file), names(file)[:1])


@pytest.mark.parametrize(("options", "why"), [
    ("", "name the picture with --png"),
    ("--png x.gif", "x.gif: name the picture with --png FILE"),
    ("--png x.png -s nothing", "no signal is called 'nothing'"),
    ("--png x.png --clock tick", "hand.vcd: no signal is called 'tick'"),
    ("--png x.png --begin 9", "hand.vcd: it ends before cycle 9"),
    ("--png hand.vcd.png -s s*", ""),
])
def test_the_command(by_hand: Path, options: str, why: str, monkeypatch: pytest.MonkeyPatch,
                     capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(by_hand.parent)
    assert main(["wave", "hand.vcd", *options.split()]) == (1 if why else 0)
    said = capsys.readouterr()
    assert f"falconet: {why}" in said.err or why in said.err
    if not why:
        assert "hand.vcd.png: 2 signals, cycles 2 to 4" in said.out
        with Image.open("hand.vcd.png") as picture:
            assert picture.size[0] > 100


def test_the_place_is_looked_at_before_the_cycles_are_read(
        by_hand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(by_hand.parent)
    assert main(["wave", "hand.vcd", "--png", "hand.vcd/x.png", "--begin", "9"]) == 1
    assert "hand.vcd/x.png" in capsys.readouterr().err
