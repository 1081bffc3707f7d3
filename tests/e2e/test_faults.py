"""What goes wrong on a board: one sentence for each, and the machine works afterwards."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from devices import board
from programs import random_inputs, random_program

from falconet.isa import ErrorCode, FalconetError, Program, Segment, Status, preset, register
from falconet.runtime.bus import Wake
from falconet.runtime.driver import Driver
from falconet_sim.iss.simulator import IssDevice
from falconet_sim.rtl.board import SimBoard

TINY = preset("tiny")


class Tampered:
    """The simulated board with something wrong between it and the driver."""

    def __init__(self, inner: SimBoard) -> None:
        self.inner = inner
        self.has_interrupt, self.deaf, self.hang = True, False, False
        self.registers: dict[str, int] = {}
        self.short = 0
        self.away = False

    def read_register(self, offset: int) -> int:
        for name, value in self.registers.items():
            if register(name).offset == offset:
                return value
        value = self.inner.read_register(offset)
        if self.hang and offset == register("STATUS").offset:
            return value & ~(Status.DONE | Status.ERROR) | Status.BUSY
        return value

    def write_register(self, offset: int, value: int) -> None:
        self.inner.write_register(offset, value)

    def wait(self, seconds: float) -> Wake:
        wake = self.inner.wait(seconds)
        return Wake.TIMEOUT if self.deaf or self.hang else wake

    def pause(self) -> Wake:
        wake = self.inner.pause()
        return Wake.TIMEOUT if self.hang else wake

    def allocate(self, nbytes: int, align: int = 4096) -> object:
        buffer = self.inner.allocate(nbytes - self.short, align)
        if self.away:  # where there is no memory
            buffer.physical_address = 0x7000_0000 + buffer.offset
        return buffer


@pytest.fixture
def tampered() -> Tampered:
    return Tampered(board(TINY).board)


def driver(tampered: Tampered, **options: object) -> Driver:
    return Driver(tampered, tampered, name="board", arch=TINY, **{"timeout": 30, **options})


def works(device: Driver, seed: int = 5) -> None:
    """A good program gives the simulator's bytes; the memory is given back."""
    before = len(board(TINY).board.buffers)
    program = random_program(TINY, seed)
    given = random_inputs(program, seed)
    with device:
        device.load(program)
        found = device.run(given)
    expected = IssDevice(program).run(given).outputs
    assert expected
    for name, value in expected.items():
        assert np.array_equal(found.outputs[name], value)
    assert len(board(TINY).board.buffers) <= before


def one_sentence(error: pytest.ExceptionInfo[FalconetError]) -> str:
    text = str(error.value)
    assert text and "\n" not in text
    return text


def test_another_machine(tampered: Tampered) -> None:
    program = random_program(preset("pynq-z2"), 1)
    device = driver(tampered)
    with pytest.raises(FalconetError, match="compile it for this machine") as error:
        device.load(program)
    one_sentence(error)
    works(device)


@pytest.mark.parametrize(("name", "value", "says"), [
    ("ID", 0, "load the Falconet bitstream first"),
    ("ISA_VERSION", 1, "build the bitstream again"),
    ("ARCH_HASH", 0x1234, "load the bitstream of that preset"),
])
def test_another_bitstream(tampered: Tampered, name: str, value: int, says: str) -> None:
    tampered.registers[name] = value
    with pytest.raises(FalconetError, match=says) as error:
        driver(tampered)
    one_sentence(error)
    tampered.registers.clear()
    works(driver(tampered))


def truncated(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "net.flc"
    path.write_bytes(program.to_bytes()[:-100])
    Program.load(path)


def damaged(program: Program, tmp_path: Path) -> None:
    data = bytearray(program.to_bytes())
    data[-100] ^= 1
    path = tmp_path / "net.flc"
    path.write_bytes(bytes(data))
    Program.load(path)


@pytest.mark.parametrize(("spoil", "says"), [
    (truncated, r"net\.flc: the file is cut short"), (damaged, r"net\.flc: checksum mismatch"),
])
def test_a_spoilt_program_file(
    tampered: Tampered, tmp_path: Path, spoil: Callable[[Program, Path], None], says: str,
) -> None:
    device = driver(tampered)
    with pytest.raises(FalconetError, match=says) as error:
        spoil(random_program(TINY, 2), tmp_path)
    one_sentence(error)
    works(device)


def test_a_program_without_its_end(tampered: Tampered) -> None:
    device = driver(tampered)
    program = random_program(TINY, 3)
    short = Program(program.arch, program.code, {
        **program.header, "instructions": program.n_instructions - 1})
    device.load(short)
    with pytest.raises(FalconetError, match=ErrorCode.NO_END.name) as error:
        device.run(random_inputs(program, 3))
    one_sentence(error)
    works(device)


def test_memory_that_does_not_answer(tampered: Tampered) -> None:
    device = driver(tampered)
    tampered.away = True
    program = random_program(TINY, 4)
    device.load(program)
    with pytest.raises(FalconetError, match=r"READ: address 0x70\w+ .*could not be read") as error:
        device.run(random_inputs(program, 4))
    one_sentence(error)
    tampered.away = False
    works(device)


def test_an_address_outside_the_window(tampered: Tampered) -> None:
    """The program says less memory than it uses: the machine refuses the access."""
    device = driver(tampered)
    program = random_program(TINY, 4)
    device.load(program)
    device._sizes[Segment.INPUT] = 128
    device._sizes[Segment.OUTPUT] = 128
    with pytest.raises(FalconetError, match="WINDOW: address") as error:
        slot = device.slot(0)
        device.start(slot)
        device.wait()
    one_sentence(error)
    works(device)


@pytest.mark.parametrize("waiting", ["interrupt", "poll"])
def test_time_out(tampered: Tampered, waiting: str) -> None:
    device = driver(tampered, waiting=waiting, timeout=0.3)
    program = random_program(TINY, 6)
    device.load(program)
    tampered.hang = True
    with pytest.raises(FalconetError, match="board: ") as error:
        device.run(random_inputs(program, 6))
    assert "time" in one_sentence(error)
    tampered.hang = False
    works(driver(tampered))


def test_a_small_buffer(tampered: Tampered) -> None:
    device = driver(tampered)
    before = len(tampered.inner.buffers)
    tampered.short = 64
    with pytest.raises(FalconetError, match=r"segment CODE is \d+ bytes, \d+ are needed") as error:
        device.load(random_program(TINY, 7))
    one_sentence(error)
    assert len(tampered.inner.buffers) == before
    tampered.short = 0
    works(device)


def test_memory_is_full(tampered: Tampered) -> None:
    device = driver(tampered)
    program = random_program(TINY, 7)
    large = dataclasses.replace(
        program, header={**program.header, "segments": {**program.header["segments"],
                                                        "work": 1 << 30}})
    before = len(tampered.inner.buffers)
    with pytest.raises(FalconetError, match="do not fit in the simulated memory") as error:
        device.load(large)
    one_sentence(error)
    assert len(tampered.inner.buffers) == before
    works(device)


def test_no_interrupt_when_it_is_asked_for(tampered: Tampered) -> None:
    tampered.has_interrupt = False
    with pytest.raises(FalconetError, match="there is no interrupt to wait for") as error:
        driver(tampered, waiting="interrupt")
    one_sentence(error)
    works(driver(tampered))


def test_an_interrupt_that_does_not_come(tampered: Tampered) -> None:
    device = driver(tampered, waiting="interrupt")
    program = random_program(TINY, 8)
    device.load(program)
    tampered.deaf = True
    with pytest.raises(FalconetError, match="its interrupt did not come") as error:
        device.run(random_inputs(program, 8))
    one_sentence(error)
    tampered.deaf = False
    works(device)


def test_auto_polls_when_the_interrupt_does_not_come(tampered: Tampered) -> None:
    device = driver(tampered)
    tampered.deaf = True
    with pytest.warns(RuntimeWarning, match="polling from now on"):
        works(device)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        works(device)


def test_one_frame_at_a_time(tampered: Tampered) -> None:
    device = driver(tampered)
    program = random_program(TINY, 9)
    device.load(program)
    given = random_inputs(program, 9)
    first, second = device.slot(0), device.slot(1)
    device.stage(first, given)
    device.start(first)
    device.stage(second, given)  # while the machine works
    for wrong in (lambda: device.start(second), lambda: device.stage(first, given),
                  lambda: device.collect(first)):
        with pytest.raises(FalconetError, match=r"call wait\(\) first"):
            wrong()
    device.wait()
    with pytest.raises(FalconetError, match="nothing was started"):
        device.wait()
    a = device.collect(first)
    device.start(second)
    device.wait()
    b = device.collect(second)
    assert all(np.array_equal(a.outputs[k], b.outputs[k]) for k in a.outputs)
    works(device)
