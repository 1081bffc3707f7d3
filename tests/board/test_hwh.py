"""The handoff file, read by the parsers of several releases of PYNQ."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from environments import run_inside

from falconet.isa import (
    BOARDS,
    ISA_VERSION,
    MAGIC,
    REGISTERS,
    Board,
    Control,
    FalconetError,
    Host,
    Status,
)
from falconet_hw.board.hwh import IP, hwh, write_hwh

pytestmark = pytest.mark.timeout(600)

ZYNQ = [b for b in BOARDS.values() if b.linux]
ELDER = {Host.ZYNQ7: "_HWHZynq", Host.ZYNQMP: "_HWHUltrascale"}
PLL = {Host.ZYNQ7: 1000.0, Host.ZYNQMP: 1500.0}  # MHz: UG585 and the boards' first boot stages


def boards_of(host: Host) -> list[Board]:
    return [b for b in ZYNQ if b.host is host]


@pytest.fixture(scope="module", params=list(ELDER), ids=lambda h: h.name)
def parsed(
    request: pytest.FixtureRequest, release: str, tmp_path_factory: pytest.TempPathFactory,
) -> list[tuple[Board, str, dict[str, Any]]]:
    """What both parsers of a release say of every board of a host."""
    folder = tmp_path_factory.mktemp("hwh")
    boards = boards_of(request.param)
    files = [folder / f"{b.name}.hwh" for b in boards]
    for board, file in zip(boards, files):
        write_hwh(board, file)
    found = json.loads(run_inside(release, "parse.py", ELDER[request.param], *files))
    return [(b, kind, of[kind]) for b, of in zip(boards, found) for kind in ("new", "elder")]


def test_there_is_the_machine_and_the_processing_system(parsed: Any) -> None:
    for board, _, found in parsed:
        assert set(found["ip"]) == {IP, found["ps"]}
        machine = found["ip"][IP]
        assert machine["type"] == "falconet:accelerator:falconet:1.0"
        assert machine["phys_addr"] == board.registers
        assert machine["addr_range"] == board.span >= 4 * len(REGISTERS)
        assert found["family"] == {
            Host.ZYNQ7: "processing_system7", Host.ZYNQMP: "zynq_ultra_ps_e"}[board.host]
        assert not found["memories"] and not found["interrupts"]


def test_the_machine_is_identified(parsed: Any) -> None:
    for board, _, found in parsed:
        says = found["ip"][IP]["parameters"]
        assert int(says["PRODUCT"], 0) == MAGIC
        assert int(says["ISA_VERSION"], 0) == ISA_VERSION
        assert int(says["ARCH_HASH"], 0) == board.arch.hash
        assert (says["BOARD"], says["PRESET"]) == (board.name, board.preset)


def test_registers_and_their_bits(parsed: Any) -> None:
    for _, _, found in parsed:
        registers = found["ip"][IP]["registers"]
        assert list(registers) == [r.name for r in REGISTERS]
        for r in REGISTERS:
            of = registers[r.name]
            assert (of["address_offset"], of["size"], of["description"]) == (r.offset, 32, r.doc)
            assert of["access"] == {"ro": "read-only", "rw": "read-write"}[r.access]
        for name, flags in (("CONTROL", Control), ("STATUS", Status)):
            bits = registers[name]["fields"]
            assert {n: (1 << f["bit_width"]) - 1 << f["bit_offset"] for n, f in bits.items()} \
                == {flag.name: flag.value for flag in flags}


def test_the_clock_is_the_board_s_and_the_others_are_off(parsed: Any) -> None:
    for board, kind, found in parsed:
        first, *others = found["clocks"].values()
        assert first["enable"] == 1
        assert PLL[board.host] / (first["divisor0"] * first["divisor1"]) == board.clock_mhz
        if kind == "new" and "frequency" in first:
            assert first["frequency"] == board.clock_mhz
        assert len(others) == 3 and not any(c["enable"] for c in others)


def test_widths_of_the_ports(parsed: Any) -> None:
    """PYNQ writes those of the 64-bit boards to the system's registers (ZU_AXIFM_REG)."""
    for board, _, found in parsed:
        says = found["ip"][found["ps"]]["parameters"]
        names = {
            Host.ZYNQ7: {"PCW_S_AXI_HP0_DATA_WIDTH": "64", "PCW_S_AXI_HP1_DATA_WIDTH": "64"},
            Host.ZYNQMP: {"C_MAXIGP0_DATA_WIDTH": "32", "C_SAXIGP2_DATA_WIDTH": "64",
                          "C_SAXIGP3_DATA_WIDTH": "64"},
        }[board.host]
        assert {n: says[n] for n in names} == names


@pytest.mark.parametrize("mhz", [33.0, 100.0, 125.0, 142.0, 187.5])
def test_the_clock_is_never_faster_than_asked(mhz: float) -> None:
    """And as near as two divisors of 1 to 63 come."""
    for board in ZYNQ:
        text = hwh(dataclasses.replace(board, clock_mhz=mhz))
        at = text.index("PL0_REF_CTRL__ACT_FREQMHZ")
        found = float(text[at:].split('VALUE="', 1)[1].split('"', 1)[0])
        possible = {PLL[board.host] / (a * b) for a in range(1, 64) for b in range(1, 64)}
        assert found == pytest.approx(max(f for f in possible if f <= mhz), abs=1e-6)


def test_the_same_board_gives_the_same_file(tmp_path: Path) -> None:
    for board in ZYNQ:
        write_hwh(board, tmp_path / "deep" / "falconet.hwh")
        assert (tmp_path / "deep" / "falconet.hwh").read_text() == hwh(board)


def test_a_board_without_a_processing_system_is_refused() -> None:
    with pytest.raises(FalconetError, match="no processing system"):
        hwh(dataclasses.replace(ZYNQ[0], host=Host.UART))
