"""The simulated board under PYNQ: what its users do with an overlay, on several releases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from environments import run_inside
from networks import Builder

from falconet.compiler import compile_graph
from falconet.isa import BOARDS, MAGIC, FalconetError, Host, Status
from falconet.runtime import simulated
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.hosts.bitfile import main, write_bitfile
from falconet_sim.hosts.zynq import board_library
from falconet_sim.rtl.board import BASE

pytestmark = pytest.mark.timeout(900)

BOARD = BOARDS["pynq-z2"]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder with a program, its inputs and the bitstream; and what the outputs should be."""
    folder = tmp_path_factory.mktemp("network")
    b = Builder((3, 12, 10), seed=4)
    x = b.conv(b.conv("x", 24, 3), 24, 3, groups=24)
    b.graph.outputs = [b.conv(x, 40)]
    program = compile_graph(b.graph, BOARD.arch)
    inputs = {"x": np.random.default_rng(5).integers(-128, 128, (3, 12, 10)).astype(np.int8)}
    program.save(folder / "network.flc")
    np.savez(folder / "inputs.npz", **inputs)
    write_bitfile(BOARD, folder)
    board_library(BOARD)  # made here, so that a failure shows
    return folder, GoldenDevice(program).run(inputs).outputs


@pytest.fixture(scope="module")
def told(release: str, network: tuple[Path, Any]) -> dict[str, Any]:
    folder, _ = network
    return json.loads(
        run_inside(release, "overlay.py", "network.flc", "inputs.npz", folder=folder, timeout=600))


def test_the_machine_is_in_the_overlay(told: dict[str, Any]) -> None:
    assert told["loaded"] and told["attributes"] == ["falconet"]
    assert (told["id"], told["status"]) == (MAGIC, 0)


def test_the_clock_is_set_and_can_be_changed(told: dict[str, Any]) -> None:
    assert told["mhz"] == [BOARD.clock_mhz, 100.0]


def test_memory_begins_with_the_bitstream(told: dict[str, Any]) -> None:
    assert "has no bitstream; load one" in told["too early"]


def test_buffers_are_apart_and_where_the_machine_reaches(told: dict[str, Any]) -> None:
    first, second = told["places"]
    assert first >= BASE and second >= BASE and abs(first - second) >= 4096
    assert first % 4096 == second % 4096 == 0


def test_the_cache_lets_nothing_through_by_itself(told: dict[str, Any]) -> None:
    old, new = [7] * 4, [9] * 4
    assert told["before flush"] == [[0] * 16, [7] * 16]
    assert told["a row flushed"] == [0] * 4 + old + [0] * 8
    assert told["flushed"] == [7] * 16
    assert told["before invalidate"] == [old] * 4
    assert told["half invalidated"] == [old, old, new, new]


def test_buffers_are_given_back(told: dict[str, Any]) -> None:
    assert told["in use"] == [2, 0, 0]


def test_an_address_without_a_slave_is_an_error(told: dict[str, Any]) -> None:
    assert "0x40000000" in told["nowhere"] and "0x43c00000" in told["nowhere"]


def test_a_network_gives_what_the_golden_model_gives(
    told: dict[str, Any], network: tuple[Path, dict[str, np.ndarray]],
) -> None:
    folder, expected = network
    with np.load(folder / "outputs.npz") as found:
        assert set(found) == {f"{i}.{n}" for i in range(2) for n in expected}
        for name, value in found.items():
            assert np.array_equal(value, expected[name[2:]]), name
    assert told["told"] == [BOARD.preset, "falconet"]
    assert told["cycles"][0] > 0 and told["done"] == [Status.DONE, 0]


@pytest.mark.parametrize("name", [b.name for b in BOARDS.values() if b.linux])
def test_loading_sets_the_system_up(name: str, release: str, tmp_path: Path) -> None:
    """By PYNQ's own code: clock, and on a 64-bit board the widths of the ports."""
    board = BOARDS[name]
    write_bitfile(board, tmp_path)
    found = json.loads(run_inside(release, "load.py", tmp_path / "falconet.bit"))
    assert (found["mhz"], found["board"]) == (pytest.approx(board.clock_mhz, rel=1e-4), name)
    if board.host is Host.ZYNQMP:
        # UG1087: FPD_SLCR.axi_fs and AFIFM: 0 is 32 bits of a master, 1 is 64 of a slave.
        assert (found["arch"], found["fpd_slcr"], found["hp"]) == ("aarch64", 0, [1] * 4)


@pytest.mark.parametrize("old, new, says", [
    ('"BOARD" VALUE="pynq-z2"', '"BOARD" VALUE="zcu102"', "no known board"),
    ('NAME="ISA_VERSION" VALUE="', 'NAME="ISA_VERSION" VALUE="9', "ISA_VERSION is 9"),
    ('NAME="ARCH_HASH" VALUE="0x', 'NAME="ARCH_HASH" VALUE="0x1', "ARCH_HASH is 0x1"),
])
def test_a_foreign_handoff_file_is_refused(old: str, new: str, says: str, tmp_path: Path) -> None:
    bit = write_bitfile(BOARD, tmp_path)
    text = bit.with_suffix(".hwh").read_text()
    assert old in text
    bit.with_suffix(".hwh").write_text(text.replace(old, new))
    refused = json.loads(run_inside("3.1.2", "load.py", bit))["refused"]
    assert says in refused and "falconet.hwh" in refused


def test_a_missing_handoff_file_is_refused(tmp_path: Path) -> None:
    bit = write_bitfile(BOARD, tmp_path)
    bit.with_suffix(".hwh").unlink()
    assert "does not exist" in json.loads(run_inside("3.1.2", "load.py", bit))["refused"]


def test_there_is_no_simulated_board_unless_asked_for(release: str, tmp_path: Path) -> None:
    bit = write_bitfile(BOARD, tmp_path)
    with pytest.raises(AssertionError, match="No Devices Found"):
        run_inside(release, "load.py", bit, FALCONET_SIMULATED="0")


def test_without_pynq_the_variable_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALCONET_SIMULATED", "1")
    monkeypatch.setattr(simulated.importlib.util, "find_spec", lambda name: None)
    assert not simulated.find_simulated_board()


def test_an_installation_without_the_simulated_board_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FALCONET_SIMULATED", "1")
    monkeypatch.setattr(simulated.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    with pytest.raises(FalconetError, match="there is no simulated board"):
        simulated.find_simulated_board()


def test_the_command_writes_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "there"), "--board", "pynq-z1"]) == 0
    assert "simulated board 'pynq-z1'" in (tmp_path / "there" / "falconet.bit").read_text()
    assert (tmp_path / "there" / "falconet.hwh").is_file()
    assert main([str(tmp_path), "--board", "none"]) == 1
    assert "board 'none' is unknown" in capsys.readouterr().err
