"""The driver's end of a serial line: frames, faults, what is sent and what is not."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from uart_peer import FakeLine, pseudo_port

from falconet.isa import FalconetError, board
from falconet.runtime.uart import SerialPort, UartBoard, UartLink, open_uart

BASE, SIZE = 0x1000_0000, 1 << 16
BOARD = dataclasses.replace(board("ecp5"), memory=BASE, memory_bytes=SIZE, registers=BASE + 0x8000)


def test_words_of_any_number() -> None:
    line, random = FakeLine(BASE, SIZE), np.random.default_rng(1)
    link, expected = UartLink(line), np.zeros(SIZE // 4, np.uint32)
    for count in (1, 2, 255, 256, 257, 1000):
        at = int(random.integers(SIZE // 4 - count))
        words = random.integers(0, 1 << 32, count, np.uint32)
        link.write(BASE + 4 * at, words)
        expected[at : at + count] = words
        assert (link.read(BASE + 4 * at, count) == words).all()
    assert line.memory == expected.tobytes()
    assert max(n for _, _, n in line.requests) == 256 and link.repeats == 0


@pytest.mark.parametrize("fault", ["lost", "silent", "changed", "short", "old"])
def test_a_fault_is_repaired(fault: str) -> None:
    line = FakeLine(BASE, SIZE)
    link = UartLink(line)
    link.read(BASE, 1)
    line.faults = [fault, "", fault, fault]
    link.write(BASE, np.array([1, 2], np.uint32))
    assert (link.read(BASE, 2) == [1, 2]).all()
    assert link.repeats == 3
    assert [kind for kind, _, _ in line.requests].count("write") == 1


def test_a_dead_line() -> None:
    line = FakeLine(BASE, SIZE)
    line.faults = ["lost"] * 9
    with pytest.raises(FalconetError, match=r"does not answer \(0 bytes of 11 came, 4 times\)"):
        UartLink(line).read(BASE, 1)
    line.faults = ["changed"] * 9
    with pytest.raises(FalconetError, match="a checksum is wrong"):
        UartLink(line).read(BASE, 1)


def test_an_address_with_nothing_behind() -> None:
    with pytest.raises(FalconetError, match="DECERR to a read of 2 words at 0x20000000"):
        UartLink(FakeLine(BASE, SIZE)).read(0x2000_0000, 2)


def test_only_changes_are_sent() -> None:
    line = FakeLine(BASE, SIZE)
    line.memory[:] = b"\xee" * SIZE
    there = UartBoard(BOARD, line)
    there.allocate(100)
    buffer = there.allocate(4096)
    assert buffer.physical_address == BASE + 4096
    buffer.array[40:60] = 7
    buffer.flush()
    assert line.memory[4096:8192] == buffer.array.tobytes() and len(line.requests) == 4
    buffer.flush()
    buffer.array[0] = 1
    buffer.array[4 * 8] = 2  # one frame with the former
    buffer.array[4 * 500] = 3
    buffer.flush()
    assert line.requests[4:] == [("write", BASE + 4096, 9), ("write", BASE + 4096 + 2000, 1)]
    line.memory[4096 + 300] = 9  # the machine's
    buffer.array[1] = 5
    buffer.flush()
    assert line.memory[4096 + 300] == 9
    buffer.invalidate()
    assert buffer.array.tobytes() == line.memory[4096:8192]


def test_new_memory_is_zero() -> None:
    """Before the machine can start: a write to a register brings what is still missing."""
    line = FakeLine(BASE, SIZE)
    line.memory[:] = b"\xee" * SIZE
    there = UartBoard(BOARD, line)
    first, second = there.allocate(512), there.allocate(512)
    for buffer in (first, second):
        buffer.flush()
    first.array[:] = 3
    first.flush()
    assert line.memory[4096:4608] == b"\xee" * 512
    there.write_register(0x10, 0x1234)
    assert line.memory[:512] == b"\x03" * 512 and line.memory[4096:4608] == bytes(512)
    assert there.read_register(0x10) == 0x1234
    sent = len(line.requests)
    there.write_register(0x10, 0)
    assert len(line.requests) == sent + 1


class Interrupted(BaseException):
    """As of the keyboard."""


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_is_written_while_a_buffer_is_sent_is_sent_next(known: bool, at: int) -> None:
    """A write to a register sends new memory, in which another thread stages a frame."""
    line = FakeLine(BASE, SIZE)
    there = UartBoard(BOARD, line)
    buffer = there.allocate(3 * 1024)  # in three frames
    if known:
        buffer.array[:] = 1
        buffer.flush()
    buffer.array[:] = 2
    put, frames = line.put, 0

    def slow(address: int, words: bytes) -> None:
        nonlocal frames
        put(address, words)
        frames += 1
        if frames == at:
            buffer.array[:] = 3

    line.put = slow  # type: ignore[method-assign]
    buffer.send()
    buffer.flush()
    assert line.memory[: len(buffer.array)] == b"\x03" * len(buffer.array)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_nothing_is_known_of_what_was_interrupted(at: int) -> None:
    """The values of before come back, and must come to be there."""
    line = FakeLine(BASE, SIZE)
    there = UartBoard(BOARD, line)
    buffer = there.allocate(3 * 1024)
    buffer.array[:] = 1
    buffer.flush()
    put, frames = line.put, 0

    def breaks(address: int, words: bytes) -> None:
        nonlocal frames
        put(address, words)
        frames += 1
        if frames == at:
            raise Interrupted

    line.put = breaks  # type: ignore[method-assign]
    buffer.array[:] = 2
    with pytest.raises(Interrupted):
        buffer.flush()
    buffer.array[:] = 1
    buffer.flush()
    assert line.memory[: len(buffer.array)] == b"\x01" * len(buffer.array)


def test_memory_is_given_out_and_taken_back() -> None:
    there = UartBoard(BOARD, FakeLine(BASE, SIZE))
    a, b, c = (there.allocate(n) for n in (5000, 4096, 1))
    assert [x.physical_address - BASE for x in (a, b, c)] == [0, 8192, 12288]
    b.free()
    assert there.allocate(4096).physical_address == b.physical_address
    with pytest.raises(FalconetError, match=r"'ecp5', 65536 bytes; compile a smaller network"):
        there.allocate(SIZE - 3 * 4096)


def test_a_real_serial_port() -> None:
    line = FakeLine(BASE, SIZE)
    with pseudo_port(line) as port:
        serial = SerialPort(port, silence=0.05)
        link = UartLink(serial)
        words = np.random.default_rng(2).integers(0, 1 << 32, 700, np.uint32)
        link.read(BASE, 1)
        line.faults = ["", "silent", "", "short"]
        link.write(BASE + 8, words)
        assert (link.read(BASE + 8, 700) == words).all()
        assert link.repeats == 2
        serial.close()


def test_no_port_and_no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FalconetError, match=r"/dev/none cannot be opened .*; plug the board in"):
        open_uart("/dev/none")
    registers = board("ecp5").registers
    with (
        pseudo_port(FakeLine(registers, 256)) as port,
        pytest.raises(FalconetError, match="register ID reads 0x00000000"),
    ):
        open_uart(port)
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(FalconetError, match=r"pip install 'falconet\[uart\]'"):
        open_uart("/dev/none")


def test_a_port_that_goes_away() -> None:
    with pseudo_port(FakeLine(BASE, SIZE)) as port:
        serial = SerialPort(port, silence=0.05)
        link = UartLink(serial)
        assert link.read(BASE, 1)[0] == 0
    with pytest.raises(FalconetError, match=r"is lost .*; plug the board in again"):
        link.read(BASE, 1)
