"""The simulated board's bus and DDR timing, on a traffic generator in place of the machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from falconet.isa import FalconetError, Segment, register
from falconet.runtime.bus import Wake
from falconet_sim.rtl.board import BASE, SimBoard
from falconet_sim.rtl.ddr import DdrModel
from falconet_sim.rtl.faults import FOREVER, PORTS, BusFault
from falconet_sim.rtl.library import build_library

DDR = DdrModel(clock_mhz=125.0)
CONTROL, ADDRESS, READ0, READ1, WRITE, LENGTH, FAULTS, SUM, RESPONSES = range(0, 36, 4)


@pytest.fixture(scope="module")
def library() -> Path:
    source = Path(__file__).with_name("traffic.v")
    return build_library(source, "traffic", lanes=8, trace=False)


class Traffic:
    def __init__(self, library: Path, ddr: DdrModel = DDR, **options: int) -> None:
        options = {"memory_bytes": 1 << 20, "windows": False, **options}
        self.board = SimBoard(library, ddr, lanes=8, **options)

    def run(self, read0: int = 0, read1: int = 0, write: int = 0, *, beats: int = 16,
            base: int = BASE, faults: int = 0) -> int:
        """Cycles of a run of so many bursts."""
        for offset, value in ((READ0, read0), (READ1, read1), (WRITE, write),
                              (LENGTH, beats - 1), (ADDRESS, base), (FAULTS, faults),
                              (CONTROL, 1)):
            self.board.write_register(offset, value)
        start = self.board.cycle
        while self.board.interrupt_cycle < start:
            assert self.board.wait(1.0) is not Wake.STALLED
        return self.board.interrupt_cycle - start


@pytest.mark.parametrize("latency", [10, 40, 60])
def test_first_beat_latency(library: Path, latency: int) -> None:
    quiet = DdrModel(first_beat_latency=latency, refresh_us=0)
    one = Traffic(library, quiet).run(read0=1, beats=1)
    ten = Traffic(library, quiet).run(read0=1, beats=10)
    assert latency <= one <= latency + 5
    # Beats come at 8 bytes a cycle: what the budget has saved is more than ten beats.
    assert ten == one + 9


@pytest.mark.parametrize("bursts, bytes_per_cycle", [
    ({"read0": 512}, 8.0), ({"write": 512}, 8.0), ({"read0": 512, "read1": 512}, 12.6),
    ({"read0": 512, "read1": 512, "write": 512}, 12.6), ({"read1": 512, "write": 512}, 12.6),
])
def test_bandwidth_is_shared(library: Path, bursts: dict[str, int], bytes_per_cycle: float
                             ) -> None:
    cycles = Traffic(library).run(**bursts)
    moved = 128 * sum(bursts.values())
    refresh = 1 - 0.16 / 7.8
    assert moved / cycles == pytest.approx(bytes_per_cycle * refresh, rel=0.02)


def test_few_outstanding_bursts_cost_bandwidth(library: Path) -> None:
    model = DdrModel(outstanding=1, refresh_us=0)
    cycles = Traffic(library, model).run(read0=100)
    assert cycles == pytest.approx(100 * (40 + 16), rel=0.06)


def test_data_goes_where_it_should(library: Path) -> None:
    traffic = Traffic(library)
    buffer = traffic.board.allocate(16 * 128)
    traffic.run(write=16, base=buffer.physical_address)
    address = buffer.physical_address + 8 * np.arange(256, dtype=np.uint32)
    np.testing.assert_array_equal(buffer.array.view(np.uint32).reshape(-1, 2),
                                  np.stack([address, address], 1))
    buffer.array[:] = np.random.default_rng(0).integers(0, 256, buffer.array.size)
    for ports in ({"read0": 16}, {"read1": 16}):
        traffic.run(**ports, base=buffer.physical_address)
        want = np.bitwise_xor.reduce(buffer.array.view(np.uint32))
        assert traffic.board.read_register(SUM) == want
    assert traffic.board.read_register(RESPONSES) == 0
    assert traffic.board.beats() == {"m0_read": 256, "m1_read": 256, "m0_write": 256}


@pytest.mark.parametrize("ports", ["read0", "read1", "write"])
@pytest.mark.parametrize("base", [BASE - 128, BASE + (1 << 20), BASE + (1 << 20) - 128, 0])
def test_outside_is_a_decode_error(library: Path, ports: str, base: int) -> None:
    traffic = Traffic(library)
    traffic.run(**{ports: 1}, base=base)
    inside = base == BASE + (1 << 20) - 128
    assert traffic.board.read_register(RESPONSES) == (0 if inside else 3)


@pytest.mark.parametrize("options, message", [
    ({"read0": 1, "base": BASE + 4096 - 64}, "m0 read: the burst of 16 from 0x10000fc0 crosses 4"),
    ({"read1": 1, "base": BASE + 4}, "m1 read: address 0x10000004 is not a multiple of 8"),
    ({"write": 1, "faults": 1}, "m0 write: size 2"),
    ({"write": 1, "faults": 2}, "WLAST is 0 at beat 16 of 16"),
    ({"write": 1, "faults": 16}, "WID is 1, AWID was 0"),
    ({"read0": 20, "faults": 4}, "m0 read: the address 0x.* was taken back"),
])
def test_broken_rules_are_reported(library: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(FalconetError, match=message):
        Traffic(library).run(**options)


def test_silent_registers_are_reported(library: Path) -> None:
    traffic = Traffic(library)
    traffic.board.write_register(FAULTS, 8)
    with pytest.raises(FalconetError, match="no answer to a read of register 0x1c"):
        traffic.board.read_register(SUM)


def test_waiting_ends_when_nothing_moves(library: Path) -> None:
    traffic = Traffic(library, stall_cycles=5000)
    traffic.board.write_register(FAULTS, 32)
    traffic.board.write_register(CONTROL, 1)
    waited = 0
    while traffic.board.wait(1.0) is not Wake.STALLED:
        waited += 1
        assert waited < 3


PORT = dict(zip(PORTS, ("read0", "read1", "write")))


def window(traffic: Traffic, segment: Segment, base: int, size: int) -> None:
    for part, value in (("BASE", base), ("SIZE", size)):
        traffic.board.write_register(register(f"{segment.name}_{part}").offset, value)


@pytest.mark.parametrize("segment", Segment)
@pytest.mark.parametrize("port", PORTS)
def test_windows_are_watched(library: Path, port: str, segment: Segment) -> None:
    """Each burst of 128 bytes from 0x10001000 on: inside one window, and of one that may be
    written if it writes."""
    traffic = Traffic(library, windows=True)
    at = BASE + 4096
    window(traffic, segment, at, 256)
    writable = segment in (Segment.OUTPUT, Segment.WORK)
    if port != "m0_write" or writable:
        traffic.run(**{PORT[port]: 2}, base=at)
    else:
        with pytest.raises(FalconetError, match=r"m0 write: the burst of 16 from 0x10001000"):
            traffic.run(**{PORT[port]: 2}, base=at)
        return
    for base, count, beats in ((at, 3, 16), (at - 8, 1, 1), (at + 248, 2, 1), (BASE, 1, 16)):
        beyond = Traffic(library, windows=True)
        window(beyond, segment, at, 256)
        with pytest.raises(FalconetError, match=r"from 0x1000[01]\w* is not inside a window"):
            beyond.run(**{PORT[port]: count}, base=base, beats=beats)


def test_two_windows_are_not_one(library: Path) -> None:
    """A burst must lie inside one of them, though both together would hold it."""
    traffic = Traffic(library, windows=True)
    window(traffic, Segment.OUTPUT, BASE, 4096)
    window(traffic, Segment.WORK, BASE + 4096, 4096)
    traffic.run(write=64, base=BASE)
    window(traffic, Segment.OUTPUT, 0xFFFF_F000, 8192)  # an end beyond 2**32 begins no new round
    with pytest.raises(FalconetError, match="0x00000000 is not inside a window"):
        traffic.run(write=1, base=0)


def test_a_window_that_goes_away_under_a_burst(library: Path) -> None:
    traffic = Traffic(library, windows=True)
    window(traffic, Segment.WORK, BASE, 4096)
    traffic.board.plan(BusFault("m0_write", 0, "hold", beat=3, cycles=5000))
    traffic.board.write_register(WRITE, 1)
    traffic.board.write_register(LENGTH, 15)
    traffic.board.write_register(ADDRESS, BASE)
    traffic.board.write_register(CONTROL, 1)
    traffic.board.pause()
    window(traffic, Segment.WORK, BASE, 0)
    with pytest.raises(FalconetError, match="beat at 0x10000018 is no longer inside a window"):
        for _ in range(10):
            traffic.board.pause()


@pytest.mark.parametrize("what, code", [("slverr", 2), ("decerr", 3)])
@pytest.mark.parametrize("port", PORTS)
def test_planned_errors(library: Path, port: str, what: str, code: int) -> None:
    """One burst is answered with it, at the beat that was planned, and no other."""
    traffic = Traffic(library)
    buffer = traffic.board.allocate(8 * 128)
    buffer.array[:] = 0x55
    traffic.run(**{PORT[port]: 2}, base=buffer.physical_address)
    assert traffic.board.suffered() == (0, 0, 0, 0)
    buffer.array[:] = 0x55
    traffic.board.plan(BusFault(port, 3, what, beat=2))
    traffic.run(**{PORT[port]: 5}, base=buffer.physical_address)
    suffered = traffic.board.suffered()
    assert suffered[:2] == (1, 0) and suffered.cycle < traffic.board.interrupt_cycle
    assert suffered.address == buffer.physical_address + 3 * 128
    assert traffic.board.read_register(RESPONSES) == code
    if port == "m0_write":
        lost = (buffer.array.reshape(8, 128) == 0x55).all(1)
        assert lost.tolist() == [False] * 3 + [True, False] + [True] * 3
    else:
        assert traffic.board.read_register(SUM) == 0x8888_8888  # one beat of 80 is spoilt
    assert traffic.board.bursts()[port] == 7


@pytest.mark.parametrize("port, channel", [
    *((p, c) for p in PORTS for c in ("address", "data")), ("m0_write", "answer")])
def test_planned_holds(library: Path, port: str, channel: str) -> None:
    quiet = Traffic(library)
    plain = quiet.run(**{PORT[port]: 30})
    held = Traffic(library)
    for beat in (0, 255):
        held.board.plan(BusFault(port, 4 + beat % 7, "hold", beat, channel, 3000))
    cycles = held.run(**{PORT[port]: 30})
    assert 2600 < cycles - plain < 6200  # the two may overlap
    assert held.board.suffered()[:2] == (0, 2) and held.board.beats() == quiet.board.beats()


@pytest.mark.parametrize("port, channel", [("m0_read", "data"), ("m1_read", "address"),
                                           ("m0_write", "data"), ("m0_write", "answer")])
def test_a_hold_without_end_is_let_go(library: Path, port: str, channel: str) -> None:
    traffic = Traffic(library, stall_cycles=5000)
    traffic.board.plan(BusFault(port, 2, "hold", 5, channel, FOREVER))
    if channel != "answer":
        traffic.board.plan(BusFault(port, 9, "slverr"))
    number = {"m0_read": READ0, "m1_read": READ1, "m0_write": WRITE}[port]
    for offset, value in ((number, 20), (LENGTH, 15), (ADDRESS, BASE)):
        traffic.board.write_register(offset, value)
    traffic.board.write_register(CONTROL, 1)
    while traffic.board.wait(1.0) is not Wake.STALLED:
        assert traffic.board.cycle < 100_000
    traffic.board.relent()
    assert traffic.board.wait(1.0) is Wake.INTERRUPT
    assert not traffic.board.suffered().errors and traffic.board.bursts()[port] == 20


@pytest.mark.parametrize("fault", [
    BusFault("m2_read", 0, "slverr"), BusFault("m0_read", 0, "lost"),
    BusFault("m1_read", 0, "hold", channel="answer"),
    BusFault("m0_write", 0, "hold", channel="response"),
])
def test_impossible_faults(library: Path, fault: BusFault) -> None:
    with pytest.raises(FalconetError, match=r"see falconet_sim\.rtl\.faults"):
        Traffic(library).board.plan(fault)


def test_memory_is_allocated_first_fit(library: Path) -> None:
    board = Traffic(library).board
    a, b, c = (board.allocate(n) for n in (5000, 100, 8192))
    assert [x.physical_address - BASE for x in (a, b, c)] == [0, 8192, 12288]
    a.array[:] = 1
    a.free()
    assert board.allocate(8193).physical_address - BASE == 12288 + 8192
    d = board.allocate(4096)
    assert d.physical_address == BASE and not d.array.any()
    with pytest.raises(FalconetError, match="do not fit in the simulated memory"):
        board.allocate(1 << 20)


def test_model_in_cycles() -> None:
    config = DdrModel(clock_mhz=100.0).config()
    assert config.bytes_per_cycle == pytest.approx(15.75)
    assert (config.refresh_interval, config.refresh_cycles) == (780, 16)
    assert "1.575 GB/s" in str(DDR)
    with pytest.raises(FalconetError, match=r"DdrModel.outstanding=0"):
        DdrModel(outstanding=0)


def test_a_failing_build_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALCONET_BUILD", str(tmp_path))
    bad = tmp_path / "bad.v"
    bad.write_text("module bad(input x) endmodule")
    with pytest.raises(FalconetError, match=r"Verilator failed; see .*build\.log") as e:
        build_library(bad, "bad", lanes=8, trace=False)
    assert "syntax error" in Path(str(e.value).split("see ")[1]).read_text()
