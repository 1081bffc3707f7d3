"""One machine and several threads: every run is right, or refused in a sentence; none hangs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from heads import random_head
from paced import paced, plain, value_of
from programs import detection_program
from uart_peer import FakeLine

from falconet.isa import MAGIC, FalconetError, Program, preset
from falconet.runtime.device import Device
from falconet.runtime.driver import Driver
from falconet.runtime.uart import UartLink
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.simulator import IssDevice
from falconet_sim.rtl.board import RtlDevice

pytestmark = pytest.mark.timeout(240)
TINY = preset("tiny")
Inputs = dict[str, np.ndarray]


def together(*bodies: Callable[[], None], seconds: float = 120) -> None:
    """Run all at once; what one raises is raised here."""
    errors: list[BaseException] = []

    def guarded(body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=guarded, args=(b,), daemon=True) for b in bodies]
    for t in threads:
        t.start()
    for t in threads:
        t.join(seconds)
    assert not any(t.is_alive() for t in threads), "hung"
    if errors:
        raise errors[0]


def case(inputs: int = 4) -> tuple[Program, list[Inputs], list[Any]]:
    """A detection head, inputs, and the boxes that each has; no two are the same."""
    detect, heads = random_head(np.random.default_rng(5), TINY, hits=0.2)
    program, first = detection_program(TINY, detect, heads)
    rng = np.random.default_rng(1)
    given = [first, *({name: rng.permutation(value.reshape(-1)).reshape(value.shape)
                       for name, value in first.items()} for _ in range(inputs - 1))]
    found = [IssDevice(program).run(dict(x)).detections for x in given]
    assert all(a != b for i, a in enumerate(found) for b in found[:i])
    return program, given, found


DEVICES: dict[str, Callable[[Program], Device]] = {
    "golden": GoldenDevice, "iss": IssDevice,
    "rtl": lambda p: RtlDevice.for_program(p, timeout=60, memory_bytes=1 << 20),
}
RUNS = {"golden": 40, "iss": 6, "rtl": 6}


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads change after every few steps of Python."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("kind", DEVICES)
def test_four_threads_on_one_device(kind: str, restless: None) -> None:
    program, given, right = case()
    device = DEVICES[kind](program)

    def body(i: int) -> Callable[[], None]:
        def work() -> None:
            for _ in range(RUNS[kind]):
                assert device.run(dict(given[i])).detections == right[i]
        return work

    together(*(body(i) for i in range(len(given))))


def test_outputs_of_the_golden_model_are_of_the_same_run(restless: None) -> None:
    """The boxes are made between the graph and its outputs, which are its inputs here."""
    program, given, right = case()
    program.header["outputs"] = [{"name": name} for name in program.header["graph"]["outputs"]]
    device = GoldenDevice(program)

    def body(i: int) -> Callable[[], None]:
        def work() -> None:
            for _ in range(20):
                found = device.run(dict(given[i]))
                assert found.detections == right[i] and found.outputs
                for name, value in found.outputs.items():
                    assert (value == given[i][name]).all()
        return work

    together(*(body(i) for i in range(4)))


def test_four_threads_on_one_serial_line(restless: None) -> None:
    """A request and its reply belong together."""
    class SlowLine(FakeLine):
        def write(self, data: bytes) -> None:
            super().write(data)
            time.sleep(0.0005)

    link = UartLink(SlowLine(0, 1 << 12))
    link.read(0, 1)

    def body(i: int) -> Callable[[], None]:
        def work() -> None:
            for n in range(10):
                words = np.full(8, 100 * i + n, np.uint32)
                link.write(256 * i, words)
                assert (link.read(256 * i, 8) == words).all()
        return work

    together(*(body(i) for i in range(4)))
    assert link.repeats == 0


def test_steps_while_the_rtl_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """While wait() is in progress stage(), start() and collect() of that frame are refused."""
    program, (x, y, *_), (right, *_) = case()
    device = RtlDevice.for_program(program, timeout=60, memory_bytes=1 << 20)
    slot, other = device.slot(0), device.slot(1)
    device.stage(slot, x)
    device.stage(other, y)
    device.start(slot)
    wait, refused = device.board.wait, []

    def meanwhile(seconds: float) -> Any:
        if not refused:
            for call in (lambda: device.stage(slot, y), lambda: device.start(other),
                         lambda: device.collect(slot), lambda: device.run(y)):
                with pytest.raises(FalconetError, match=r"call wait\(\) first"):
                    call()
                refused.append(call)
            device.stage(other, y)  # another frame's memory is free
        return wait(seconds)

    monkeypatch.setattr(device.board, "wait", meanwhile)
    device.wait()
    assert len(refused) == 4
    assert device.collect(slot).detections == right


def test_steps_of_two_threads() -> None:
    """The same, called from another thread while this one waits."""
    machine, _ = paced(0.2)
    slot, other = machine.slot(0), machine.slot(1)
    machine.stage_photograph(slot, plain(1))
    machine.start(slot)
    seen: list[str] = []

    def second() -> None:
        time.sleep(0.05)
        machine.stage_photograph(other, plain(2))
        for call in (lambda: machine.stage_photograph(slot, plain(9)),
                     lambda: machine.collect(slot)):
            with pytest.raises(FalconetError, match=r"works on this frame; call wait\(\) first"):
                call()
        seen.append("refused at once")
        machine.start(other)  # has its turn when the first is done
        machine.wait()
        seen.append("then done")

    def first() -> None:
        machine.wait()
        seen.append("first done")

    together(first, second)
    assert seen == ["refused at once", "first done", "then done"]
    assert [value_of(machine.collect(s).outputs) for s in (slot, other)] == [1, 2]
    with pytest.raises(FalconetError, match="nothing was started"):
        machine.wait()


def test_registers_are_read_while_the_rtl_works(restless: None) -> None:
    """A read makes simulated time pass, too: not while another thread's run does."""
    program, given, right = case()
    device = RtlDevice.for_program(program, timeout=60, memory_bytes=1 << 20)
    device.board.CHUNK = 300
    over, looks = threading.Event(), list[int]()

    def look() -> None:
        while not over.is_set():
            assert device.read("ID") == MAGIC
            looks.append(device.read("CYCLES"))

    def run() -> None:
        try:
            for i in range(12):
                found = Driver.run(device, dict(given[i % 4]))  # RtlDevice's lets nobody read
                assert found.detections == right[i % 4]
        finally:
            over.set()

    together(look, run)
    assert len(set(looks)) > 10


@pytest.mark.parametrize("kind", ["run", "see"])
def test_nobody_writes_between_stage_and_start(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage() of the same memory on another thread waits for the end of the whole run."""
    machine, _ = paced(0.002)
    work, late = machine.work, []

    def other() -> None:
        machine.stage_photograph(slot, plain(9))
        late.append(9)

    def slowly(slot: Any) -> None:
        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        thread.join(0.1)
        assert not late
        work(slot)
        late.append(thread)

    slot = machine.slot(0)
    monkeypatch.setattr(machine, "work", slowly)
    if kind == "see":
        found = machine.see(plain(4)).result
    else:
        found = machine.run({"x": np.full((3, 8, 8), 4 - 128, np.int8)})
    assert value_of(found.outputs) == 4
    late[0].join(10)
    assert late[1:] == [9]


def test_close_waits_for_the_run_of_another() -> None:
    machine, board = paced(0.15)
    found: list[int] = []

    def close() -> None:
        time.sleep(0.05)
        machine.close()
        assert found == [5] and not board.buffers

    together(lambda: found.append(value_of(machine.see(plain(5)).result.outputs)), close)
    with pytest.raises(FalconetError, match="no program is loaded"):
        machine.see(plain(5))


def test_memory_that_is_gone_is_not_written_to() -> None:
    machine, _ = paced(0.001)
    program, slot = machine.program, machine.slot(0)
    machine.stage_photograph(slot, plain(1))
    machine.load(program)
    for call in (lambda: machine.stage_photograph(slot, plain(1)), lambda: machine.start(slot),
                 lambda: machine.collect(slot)):
        with pytest.raises(FalconetError, match="memory of this frame was given back"):
            call()
    assert set(slot.buffers[next(iter(slot.buffers))].array.tolist()) == {0x55}


def test_a_run_that_failed_leaves_the_turn_to_the_next() -> None:
    machine, board = paced(0.002, timeout=0.1)
    board.hang = {0, 2}
    kinds: list[type] = []

    def body() -> None:
        for _ in range(3):
            try:
                assert value_of(machine.see(plain(3)).result.outputs) == 3
                kinds.append(int)
            except FalconetError as e:
                assert "did not end in time" in str(e)
                kinds.append(FalconetError)

    together(body, body)
    assert sorted(k.__name__ for k in kinds) == ["FalconetError"] * 2 + ["int"] * 4


def test_what_is_done_meanwhile_may_fail() -> None:
    machine, board = paced(0.05)
    slot = machine.slot(1)
    machine.stage_photograph(slot, plain(3))
    with pytest.raises(ZeroDivisionError):
        machine.work(slot, lambda: 1 // 0)
    assert not board.busy
    machine.work(slot)
    assert value_of(machine.collect(slot).outputs) == 3


def test_a_frame_whose_run_was_given_up_has_no_answer() -> None:
    """Its wait() may then have been for the run of another; so may collect() come too early."""
    machine, board = paced(0.001, timeout=0.1)
    slot, other = machine.slot(0), machine.slot(1)
    for s, value in ((slot, 1), (other, 2)):
        machine.stage_photograph(s, plain(value))
    board.hang = {1}
    machine.work(slot)
    assert value_of(machine.collect(slot).outputs) == 1
    machine.stage_photograph(slot, plain(3))
    with pytest.raises(FalconetError, match=r"not run this frame to its end; call start\(\)"):
        machine.collect(slot)
    machine.start(slot)

    def another() -> None:
        with pytest.raises(FalconetError, match="did not end in time"):
            machine.wait()

    together(another)
    machine.start(other)
    machine.wait()
    with pytest.raises(FalconetError, match="not run this frame to its end"):
        machine.collect(slot)
    assert value_of(machine.collect(other).outputs) == 2
    machine.work(slot)
    assert value_of(machine.collect(slot).outputs) == 3
