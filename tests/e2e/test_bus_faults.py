"""A memory bus that answers late, with errors, or not at all; drivers that die in the middle."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from programs import random_inputs, random_program

from falconet.isa import Control, FalconetError, Program, Segment, Status, preset, register
from falconet.runtime.driver import Driver
from falconet_sim.iss.simulator import IssDevice
from falconet_sim.rtl.board import SimBoard
from falconet_sim.rtl.ddr import DdrModel
from falconet_sim.rtl.faults import FOREVER, PORTS, BusFault
from falconet_sim.rtl.library import machine_library

pytestmark = pytest.mark.timeout(900)
TINY = preset("tiny")


@pytest.fixture(scope="module")
def shared() -> SimBoard:
    return SimBoard(machine_library(TINY), DdrModel(clock_mhz=TINY.clock_mhz), lanes=TINY.lanes,
                    memory_bytes=2 << 20, stall_cycles=5000)


@pytest.fixture
def board(shared: SimBoard) -> Iterator[SimBoard]:
    """The board; whatever a test did to it, a new driver must be able to use it afterwards."""
    yield shared
    shared.relent()
    shared.buffers.clear()
    works(shared)


def driver(board: SimBoard, **options: object) -> Driver:
    return Driver(board, board, name="board", arch=TINY, **{"timeout": 20, **options})


def case(seed: int) -> tuple[Program, dict[str, np.ndarray], dict[str, np.ndarray]]:
    program = random_program(TINY, seed)
    inputs = random_inputs(program, seed)
    return program, inputs, IssDevice(program).run(inputs).outputs


def check(device: Driver, seed: int = 5) -> int:
    """A good program gives the simulator's bytes; its cycles."""
    program, inputs, expected = case(seed)
    device.load(program)
    found = device.run(inputs)
    assert expected and found.outputs.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found.outputs[name], value)
    assert found.cycles
    return found.cycles


def works(board: SimBoard, seed: int = 5) -> int:
    with driver(board) as device:
        return check(device, seed)


@pytest.mark.parametrize("channel", ["address", "data", "answer"])
@pytest.mark.parametrize("port", PORTS)
def test_a_slow_bus_only_costs_time(board: SimBoard, port: str, channel: str) -> None:
    if channel == "answer" and port != "m0_write":
        return
    plain = works(board, 6)
    with driver(board) as device:
        program, inputs, expected = case(6)
        device.load(program)
        for burst in (0, 2, 3):
            board.plan(BusFault(port, burst, "hold", 7, channel, 4000))
        before = board.suffered()
        found = device.run(inputs)
        for name, value in expected.items():
            np.testing.assert_array_equal(found.outputs[name], value)
        now = board.suffered()
        assert now.errors == before.errors and now.holds == before.holds + 3
        assert found.cycles and plain + 3000 < found.cycles


@pytest.mark.parametrize("channel", ["address", "data", "answer"])
@pytest.mark.parametrize("port", PORTS)
def test_a_dead_bus_ends_in_a_time_out(
    board: SimBoard, port: str, channel: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sentence; memory is kept while the machine may still write to it; then all is well."""
    if channel == "answer" and port != "m0_write":
        return
    monkeypatch.setattr(Driver, "PATIENCE", 0.1)
    device = driver(board)
    program, inputs, _ = case(7)
    device.load(program)
    board.plan(BusFault(port, 1, "hold", 3, channel, FOREVER))
    with pytest.raises(FalconetError, match="the run did not end in time"):
        device.run(inputs)
    held = list(board.buffers)
    assert held
    for attempt in (device.close, lambda: device.load(program), lambda: device.run(inputs),
                    lambda: driver(board).load(program)):
        with pytest.raises(FalconetError, match="does not come to rest after RESET") as error:
            attempt()
        assert "\n" not in str(error.value)
    assert board.buffers == held
    board.relent()
    check(device, 8)
    device.close()
    assert not board.buffers


@pytest.mark.parametrize("port", PORTS)
def test_a_late_burst_finds_no_other_program(board: SimBoard, port: str) -> None:
    """The run is given up while bursts are held: the next one gets the same memory, but not
    before the bus is quiet."""
    device = driver(board)
    program, inputs, _ = case(7)
    device.load(program)
    where = board.buffers[0].physical_address
    board.plan(BusFault(port, 1, "hold", 3, cycles=40_000))
    with pytest.raises(FalconetError, match="the run did not end in time"):
        device.run(inputs)
    check(device, 8)
    assert board.buffers[0].physical_address == where
    device.close()


@pytest.mark.parametrize("cycles", [0, 3, 40, 150, 400, 1000, 2500])
def test_a_driver_dies_and_another_comes(board: SimBoard, cycles: int) -> None:
    """The machine still runs the old program when the new driver comes, and owns the same
    memory: nothing of the old run may land there."""
    old = driver(board)
    program, inputs, _ = case(9)
    old.load(program)
    slot = old.slot(0)
    old.stage(slot, inputs)
    for port in PORTS:
        board.plan(BusFault(port, 3, "hold", 2, cycles=2000))
    old.start(slot)
    board._run(cycles)
    if cycles < 2000:
        assert old.read("STATUS") & Status.BUSY
    board.buffers.clear()  # the system takes the memory of the dead
    new = driver(board)
    check(new, 10)
    new.close()


@pytest.mark.parametrize("cycles", [1, 30, 100, 200, 300, 450, 700, 1100, 1700, 2600])
def test_reset_in_the_middle(board: SimBoard, cycles: int) -> None:
    """RESET at any time, bursts held or not; the machine rests as soon as the bus lets it."""
    device = driver(board)
    program, inputs, expected = case(11)
    device.load(program)
    for held in (False, True):
        slot = device.slot(0)
        device.stage(slot, inputs)
        device.start(slot)
        if held:
            for port in PORTS:
                board.plan(BusFault(port, 2, "hold", 9, cycles=1500))
        board._run(cycles)
        device.write("CONTROL", Control.RESET)
        waited = board.cycle
        while device.read("STATUS") & Status.BUSY:
            assert board.cycle - waited < 1000 + 3 * 1500 * held
        assert device.read("STATUS") == 0 and device.read("RETIRED_LOAD") == 0
        memory, beats = board.ddr.copy(), board.beats()
        board._run(2000)
        assert np.array_equal(board.ddr, memory) and board.beats() == beats
        board.relent()
        device._running = None
    found = device.run(inputs)
    for name, value in expected.items():
        np.testing.assert_array_equal(found.outputs[name], value)
    device.close()


def test_start_while_running_and_back_to_back(board: SimBoard) -> None:
    """START is ignored while a program runs; right after its end it begins the next run."""
    device = driver(board)
    program, inputs, expected = case(12)
    device.load(program)
    slot = device.slot(0)
    device.stage(slot, inputs)
    cycles = []
    for run in range(4):
        if run == 0:
            device.start(slot)
        else:
            device.write("CONTROL", Control.START)
            assert device.read("STATUS") == Status.BUSY
        for _ in range(run * 3):
            board._run(50)
            device.write("CONTROL", Control.START)
        while (status := device.read("STATUS")) != Status.DONE:
            assert status == Status.BUSY
        assert device.read("ERROR_CODE") == 0
        cycles.append(device.read("CYCLES"))
        device._running, slot.done = None, True
        for name, value in device.collect(slot).outputs.items():
            np.testing.assert_array_equal(value, expected[name])
        slot.buffers[Segment.OUTPUT].array[:] = 0
    assert max(cycles) - min(cycles) < 200  # refresh
    assert board.read_register(register("STATUS").offset) == Status.DONE
    device.close()


@pytest.mark.parametrize("held", [0, 6000])
def test_a_driver_that_sleeps_is_not_a_dead_bus(
    board: SimBoard, held: int, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system lets the process wait for seconds between any two of its steps: that alone is no
    reason to say that the machine does not come to rest."""
    device = driver(board)
    program, inputs, _ = case(7)
    device.load(program)
    slot = device.slot(0)
    device.stage(slot, inputs)
    board.plan(BusFault("m0_write", 1, "hold", 3, cycles=held))
    device.start(slot)
    board._run(1500)
    now = iter(range(0, 10**6, 5))
    monkeypatch.setattr("falconet.runtime.control.time.monotonic", lambda: next(now))
    device.close()
    assert not board.buffers and device.read("STATUS") == 0
