"""A board behind a serial line, without hardware; and a serial port to one that is not there."""

from __future__ import annotations

import os
import pty
import select
import threading
import tty
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from falconet.isa import Board, register
from falconet_sim.rtl.board import SimBoard

__all__ = ["FakeLine", "MachineLine", "pseudo_port"]


class Line(Protocol):
    def write(self, data: bytes) -> None: ...

    def read(self, count: int) -> bytes: ...


class FakeLine:
    """``nbytes`` at ``base`` behind the frames of falconet.isa.machine.uart; answers at once.

    ``faults`` are used up, one a request: "lost" (the request never came), "silent" (it was
    carried out, but the reply is lost), "changed", "short" and "old" (so is the reply).
    """

    def __init__(self, base: int, nbytes: int) -> None:
        self.base, self.memory = base, bytearray(nbytes)
        self.faults: list[str] = []
        self.requests: list[tuple[str, int, int]] = []  # kind, address, words
        self._out, self._last = b"", -1

    def write(self, data: bytes) -> None:
        fault = self.faults.pop(0) if self.faults else ""
        assert zlib.crc32(data[:-4]).to_bytes(4, "little") == data[-4:]
        begin, tag, count = data[0], data[1], data[2] + 1
        address, words = int.from_bytes(data[3:7], "little"), data[7:-4]
        assert begin in (0xA5, 0xC3) and len(words) == (4 * count if begin == 0xC3 else 0)
        if fault == "lost":
            return
        response = 0
        if not self.has(address, 4 * count):
            words, response = bytes(4 * count if begin == 0xA5 else 0), 3
        elif begin == 0xA5:
            words = self.fetch(address, 4 * count)
            self.requests.append(("read", address, count))
        else:
            if tag != self._last:
                self.put(address, words)
                self.requests.append(("write", address, count))
            words = b""
        self._last = tag
        if fault == "old":
            tag ^= 1
        reply = bytes([0x5A, tag]) + words + bytes([response])
        reply += zlib.crc32(reply).to_bytes(4, "little")
        if fault == "changed":
            reply = reply[:2] + bytes([reply[2] ^ 0x10]) + reply[3:]
        self._out += {"silent": b"", "short": reply[:-1]}.get(fault, reply)

    def read(self, count: int) -> bytes:
        data, self._out = self._out[:count], self._out[count:]
        return data

    def has(self, address: int, nbytes: int) -> bool:
        return self.base <= address <= self.base + len(self.memory) - nbytes

    def fetch(self, address: int, nbytes: int) -> bytes:
        at = address - self.base
        return bytes(self.memory[at : at + nbytes])

    def put(self, address: int, words: bytes) -> None:
        at = address - self.base
        self.memory[at : at + len(words)] = words


class MachineLine(FakeLine):
    """The machine itself behind such a line: registers and memory of a simulated board.

    The line takes no time. The machine goes on when a register is read, most at STATUS.
    """

    def __init__(self, there: Board, machine: SimBoard) -> None:
        super().__init__(there.memory, 0)
        self.there, self.machine = there, machine

    def has(self, address: int, nbytes: int) -> bool:
        return True  # the driver keeps within; what does not shows in the machine

    def fetch(self, address: int, nbytes: int) -> bytes:
        at = address - self.base
        if 0 <= at < len(self.machine.ddr):
            return self.machine.ddr[at : at + nbytes].tobytes()
        assert nbytes == 4
        offset = address - self.there.registers
        if offset == register("STATUS").offset:
            self.machine.pause()
        return self.machine.read_register(offset).to_bytes(4, "little")

    def put(self, address: int, words: bytes) -> None:
        at = address - self.base
        if 0 <= at < len(self.machine.ddr):
            self.machine.ddr[at : at + len(words)] = np.frombuffer(words, np.uint8)
        else:
            assert len(words) == 4
            self.machine.write_register(
                address - self.there.registers, int.from_bytes(words, "little"))


@contextmanager
def pseudo_port(line: Line, *, head: int = 7, tail: int = 7) -> Iterator[str]:
    """The path of a serial port of the operating system, with ``line`` at its other end.

    Bytes are passed on in whole requests, replies in the pieces that ``line`` gives.
    """
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    stopped = threading.Event()

    def serve() -> None:
        pending = b""
        while not stopped.is_set():
            if not select.select([ours], [], [], 0.02)[0]:
                continue
            pending += os.read(ours, 4096)
            while len(pending) >= head:
                writes = pending[0] == 0xC3
                words = 4 * (pending[2] + 1)
                length = head + 4 + (words if writes else 0)
                if len(pending) < length:
                    break
                line.write(pending[:length])
                pending = pending[length:]
                os.write(ours, line.read(tail + (0 if writes else words)))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield os.ttyname(theirs)
    finally:
        stopped.set()
        thread.join()
        os.close(theirs)
        os.close(ours)
