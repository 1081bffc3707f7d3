"""Reports of the toolchains: texts in their formats, and the table made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconet.isa import FalconetError
from falconet_app.commands import bitstreams
from falconet_hw.build.bitstream.report import (
    Report,
    nextpnr_figures,
    vivado_timing,
    vivado_utilisation,
)

NEXTPNR = """\
Info: Device utilisation:
Info: \t         SLICE_LUTX: 31851/106400    29%
Info: \t          SLICE_FFX: 36157/106400    33%
Info: \t  RAMB36E1_RAMB36E1:   130/   140    92%
Info: \t           RAMB18E1:    16/   280     5%
Info: \t    DSP48E1_DSP48E1:   200/   220    90%
Info: \t                PS7:     1/     1   100%

Info: Max frequency for clock 'machine': 140.00 MHz (PASS at 125.00 MHz)
Info: Critical path report for clock 'machine' (posedge -> posedge):
Info: curr total
Info:  0.5  0.5  Source machine.a_reg.Q
Info:  2.9  3.4    Net machine.a (1,2) -> (30,40)
Info:                Sink machine.b_reg.A
Info:  0.4  3.8  Source machine.b_reg.O
Info:  3.2  7.0    Net machine.c (1,2) -> (30,40)
Info:                Sink machine.d_reg.D
Info:  0.1  7.1  Setup machine.d_reg.D
Info: 1.0 ns logic, 6.1 ns routing

Info: Critical path report for cross-domain path '<async>' -> 'posedge machine':
Info: curr total
Info:  0.0  0.0  Source ps7.X
Info: 0.0 ns logic, 0.0 ns routing

Info: Max frequency for clock 'machine': 131.25 MHz (PASS at 125.00 MHz)
"""
# Where routing does not keep what placement promised; the first line is of the placer.
MISSED = """\
Info: Max frequency for clock 'machine': 140.00 MHz (PASS at 125.00 MHz)
{level}: Max frequency for clock 'machine': 99.50 MHz (FAIL at 125.00 MHz)
"""

UTILISATION = """\
+----------------------------+-------+-------+------------+-----------+-------+
|          Site Type         |  Used | Fixed | Prohibited | Available | Util% |
+----------------------------+-------+-------+------------+-----------+-------+
| {unit} LUTs*               | 30123 |     0 |          0 |     53200 | 56.62 |
|   LUT as Logic             | 26000 |     0 |          0 |     53200 | 48.87 |
| {unit} Registers           | 35001 |     0 |          0 |    106400 | 32.90 |
| Block RAM Tile    |  138.5 |     0 |          0 |       140 | 98.93 |
|   RAMB36/FIFO*    |  137 |     0 |          0 |       140 | 97.86 |
| DSPs           |  200 |     0 |          0 |       220 | 90.91 |
|   DSP48E1 only |  200 |       |            |           |       |
"""

TIMING = """\
Max Delay Paths
--------------------------------------------------------------------------------------
Slack ({word}) :             {slack}ns  (required time - arrival time)
  Source:                 machine/mac/x_reg[3]/C
                            (rising edge-triggered cell FDRE clocked by machine)
  Destination:            machine/mac/y_reg[7]/D
                            (rising edge-triggered cell FDRE clocked by machine)
  Path Group:             machine
  Requirement:            8.000ns  (machine rise@8.000ns - machine rise@0.000ns)
  Data Path Delay:        7.654ns  (logic 1.5ns (20.0%)  route 6.1ns (80.0%))

Slack (MET) :             3.000ns  (required time - arrival time)
  Source:                 other/C
"""


def test_nextpnr() -> None:
    assert nextpnr_figures(NEXTPNR) == {
        "lut": 31851, "ff": 36157, "bram": 138, "dsp": 200, "fmax_mhz": 131.25, "path_ns": 7.1,
        "path": "machine.a_reg.Q to machine.d_reg.D",
    }


@pytest.mark.parametrize("level", ["Info", "Warning", "ERROR"])
def test_nextpnr_below_its_clock(level: str) -> None:
    assert nextpnr_figures(MISSED.format(level=level)) == {"fmax_mhz": 99.5}


@pytest.mark.parametrize("unit", ["Slice", "CLB"])
def test_vivado_utilisation(unit: str) -> None:
    text = UTILISATION.replace("{unit}", unit)
    assert vivado_utilisation(text) == {"lut": 30123, "ff": 35001, "bram": 138.5, "dsp": 200}


@pytest.mark.parametrize(("word", "slack", "fmax"), [
    ("MET", "0.250", 1000 / 7.75), ("VIOLATED", "-1.500", 1000 / 9.5),
])
def test_vivado_timing(word: str, slack: str, fmax: float) -> None:
    found = vivado_timing(TIMING.format(word=word, slack=slack), 125)
    assert found["fmax_mhz"] == pytest.approx(fmax)
    assert found["path"] == "machine/mac/x_reg[3]/C to machine/mac/y_reg[7]/D"
    assert found["path_ns"] == 7.654


def test_what_a_tool_does_not_say_is_a_dash(tmp_path: Path) -> None:
    empty = Report("pynq-z2", "vivado", 125, **vivado_utilisation(""), **vivado_timing("", 125))
    assert not empty.met
    assert ("LUT", "-") in empty.rows() and "125 MHz (NOT met)" in empty.table()
    path = tmp_path / "report.json"
    with pytest.raises(FalconetError, match="run 'make bitstream' first"):
        Report.load(path)
    full = Report("pynq-z2", "openxc7", 125, **nextpnr_figures(NEXTPNR))
    full.save(path)
    assert Report.load(path) == full and full.met
    assert "125 MHz (met; block RAM and PS7 are not timed)" in full.table()
    assert "131.25 MHz" in full.table() and "7.1 ns machine.a_reg.Q" in full.table()
    path.write_text("{}")
    with pytest.raises(FalconetError, match="run 'make bitstream' again"):
        Report.load(path)


def test_the_command_puts_the_report_into_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bitstreams, "BUILD", tmp_path)
    with pytest.raises(FalconetError, match=r"pynq-z2/report\.json: .*run 'make bitstream' first"):
        bitstreams.bitstream("pynq-z2")
    path = tmp_path / "bitstream/pynq-z2/report.json"
    path.parent.mkdir(parents=True)
    page = tmp_path / "page.md"
    page.write_text("# Performance\n\nBefore.\n")
    for fmax in (131.25, 126.5):
        Report("pynq-z2", "openxc7", 125, lut=31851, fmax_mhz=fmax).save(path)
        bitstreams.bitstream("pynq-z2", page=page)
    text = page.read_text()
    assert "Before." in text and "make bitstream BOARD=pynq-z2 TOOLCHAIN=openxc7" in text
    assert "| LUT | 31,851 halves |" in text
    assert "| Fmax | 126.5 MHz |" in text and "131.25" not in text
    assert text.count("<!-- begin bitstream pynq-z2 -->") == 1
