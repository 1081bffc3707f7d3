"""The ECP5 flow: pins against the makers' table, and the real tools on a small design."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest
from amaranth import ClockDomain, ClockSignal, Module, Signal
from amaranth.lib.wiring import Component
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from falconet.isa import FalconetError, board
from falconet_hw.board import TOP
from falconet_hw.board.ecp5 import PINS, PORTS
from falconet_hw.board.uart import UartReceiver, UartTransmitter
from falconet_hw.build.bitstream import ecp5
from falconet_hw.build.bitstream.tools import find_tool
from falconet_hw.build.verilog import to_verilog

BOARD = board("ecp5")


class Echo(Component):
    """The pins of the board; what comes goes out again."""

    def __init__(self) -> None:
        super().__init__(PORTS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        m.submodules.receiver = receiver = UartReceiver(divisor=25)
        m.submodules.transmitter = transmitter = UartTransmitter(divisor=25)
        count = Signal(24)
        m.d.sync += count.eq(count + ~self.button)
        m.d.comb += [
            ClockSignal().eq(self.clk25), receiver.line.eq(self.rx), self.tx.eq(transmitter.line),
            transmitter.i.payload.eq(receiver.data), transmitter.i.valid.eq(receiver.valid),
            self.led.eq(count[16:]), self.wifi_gpio0.eq(1),
        ]
        return m


def test_pins_are_those_of_the_board() -> None:
    """amaranth-boards names resources as the makers do; the board is the other end of the UART."""
    resources = {(r.name, r.number): r for r in ULX3S_85F_Platform.resources}

    def pins(name: str, number: int = 0, part: str | None = None) -> list[str]:
        resource = resources[name, number]
        ios = resource.ios if part is None else next(
            s.ios for s in resource.ios if s.name == part)
        return ios[0].names

    expected = {
        "clk25": pins("clk25"), "rx": pins("uart", 0, "rx"), "tx": pins("uart", 0, "tx"),
        "button": pins("button_fire"), "wifi_gpio0": pins("esp32", 0, "gpio0"),
        **{f"led[{i}]": pins("led", i) for i in range(8)},
    }
    assert {name: [site] for name, site in PINS.items()} == expected
    clock = resources["clk25", 0].clock
    assert clock.frequency == BOARD.clock_mhz * 1e6


def test_every_pin_has_a_site() -> None:
    bits = []
    for name, member in PORTS.items():
        bits += [name] if member.shape == 1 else [f"{name}[{i}]" for i in range(member.shape)]
    located = re.findall(r'LOCATE COMP "(\S+)" SITE "(\w+)";', ecp5.constraints(BOARD))
    assert sorted(bits) == sorted(PINS) and dict(located) == PINS


@pytest.mark.timeout(600)
def test_the_tools_make_a_bitstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """yosys, nextpnr and ecppack on a small design; what is packed is what was routed."""
    monkeypatch.setattr(
        ecp5, "write_board_verilog", lambda board, path: path.write_text(to_verilog(Echo(), TOP)))
    report = ecp5.build(BOARD, tmp_path, None)
    assert report is not None and report.met and report.fmax_mhz > 50
    assert 40 < report.ff < 200 and report.dsp == 0 and report.bram == 0 and report.path
    subprocess.run(
        [find_tool("yowasp-ecpunpack", "ECPUNPACK", ""), "--input", "falconet.bit", "--textcfg",
         "unpacked.config"], cwd=tmp_path, check=True, capture_output=True)

    def luts(name: str) -> set[str]:
        text = (tmp_path / name).read_text()
        assert ".device LFE5U-85F" in text
        return {f"{tile.split()[0]} {word}" for tile in text.split(".tile ")[1:]
                for word in re.findall(r"^word: (SLICE\w\.K\d\.INIT (?!1{16}$)\d+)$", tile, re.M)}

    assert len(luts("falconet.config")) > 40
    assert luts("falconet.config") <= luts("unpacked.config")

    fast = dataclasses.replace(BOARD, clock_mhz=900.0)
    (tmp_path / "falconet.bit").unlink()
    with pytest.raises(FalconetError, match=r"timing is not met at 900 MHz: nextpnr reached \d"):
        ecp5.build(fast, tmp_path, None)
    assert not (tmp_path / "falconet.bit").exists()
