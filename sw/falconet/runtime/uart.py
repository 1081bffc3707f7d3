"""A board at the other end of a serial line, such as a ULX3S: nothing but pyserial is needed."""

from __future__ import annotations

import importlib.util
import threading
import time
import zlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from falconet.isa import SEGMENT_PAGE, Board, FalconetError, board
from falconet.isa.machine.uart import (
    BAUD,
    BEGIN_READ,
    BEGIN_REPLY,
    BEGIN_WRITE,
    CRC_BYTES,
    FRAME_WORDS,
    REPLY_HEAD,
    REPLY_TAIL,
    REQUEST,
)
from falconet.runtime.bus import Wake, first_fit
from falconet.runtime.driver import Driver

__all__ = ["SerialPort", "Transport", "UartBoard", "UartBuffer", "UartLink", "open_uart"]

WORD = 4  # bytes
WORTH = 8  # words of the same value that cost less than a frame of their own
SILENCE = 0.2  # seconds: GAP_BITS and what an adapter and an operating system may add
RESPONSES = {2: "SLVERR", 3: "DECERR"}

Words = NDArray[np.uint32]


class Transport(Protocol):
    """A line that carries bytes both ways: a serial port, or a simulated one."""

    def write(self, data: bytes) -> None: ...

    def read(self, count: int) -> bytes:
        """So many bytes; fewer if the line has been silent for longer than GAP_BITS."""
        ...


class SerialPort:
    """A serial port of this computer (a :class:`Transport`).

    Parameters
    ----------
    port:
        ``/dev/ttyUSB0``, ``COM3`` or a URL of pyserial's.
    baud:
        Bits a second.
    silence:
        Seconds without a byte after which :meth:`read` gives up.
    """

    def __init__(self, port: str, *, baud: int = BAUD, silence: float = SILENCE) -> None:
        if importlib.util.find_spec("serial") is None:
            raise FalconetError("pyserial is not installed; run: pip install 'falconet[uart]'")
        import serial

        self._name, self._error = port, serial.SerialException
        try:
            self._port = serial.serial_for_url(port, baudrate=baud, timeout=silence)
        except (serial.SerialException, OSError, ValueError) as e:
            raise FalconetError(
                f"serial port {port} cannot be opened ({e}); plug the board in, and see that you "
                "may use the port"
            ) from None
        try:
            # Else an FTDI adapter keeps a short reply for 16 ms.
            self._port.set_low_latency_mode(True)
        except (AttributeError, NotImplementedError, OSError, ValueError):
            pass

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except self._error as e:
            raise self._lost(e) from None

    def read(self, count: int) -> bytes:
        data = b""
        try:
            while len(data) < count:
                more = self._port.read(max(1, min(count - len(data), self._port.in_waiting)))
                if not more:
                    break
                data += more
        except (self._error, OSError) as e:
            raise self._lost(e) from None
        return data

    def _lost(self, error: Exception) -> FalconetError:
        return FalconetError(f"serial port {self._name} is lost ({error}); plug the board in again")

    def close(self) -> None:
        self._port.close()


class UartLink:
    """Reads and writes words through the frames of ``falconet.isa.machine.uart``.

    A request without a good reply is sent again, ``attempts`` times in all. The first request of
    a link must be a read.

    Attributes
    ----------
    repeats:
        Requests that had to be sent again: a measure of the line.
    """

    def __init__(self, line: Transport, *, attempts: int = 4) -> None:
        self._line, self._attempts = line, attempts
        self._tag = 0
        self._lock = threading.Lock()  # of a request and its reply
        self.repeats = 0

    def read(self, address: int, count: int) -> Words:
        """Words from ``address`` on: uint32 [count]."""
        parts = []
        for at in range(0, count, FRAME_WORDS):
            n = min(FRAME_WORDS, count - at)
            parts.append(self._exchange(BEGIN_READ, address + WORD * at, n, b""))
        return np.frombuffer(b"".join(parts), "<u4").astype(np.uint32)

    def write(self, address: int, words: Words) -> None:
        """Words [N] to ``address`` and on."""
        for at in range(0, len(words), FRAME_WORDS):
            part = words[at : at + FRAME_WORDS].astype("<u4")
            self._exchange(BEGIN_WRITE, address + WORD * at, len(part), part.tobytes())

    def _exchange(self, begin: int, address: int, count: int, words: bytes) -> bytes:
        """One request and its reply; the words that the reply carries."""
        with self._lock:
            return self._exchanged(begin, address, count, words)

    def _exchanged(self, begin: int, address: int, count: int, words: bytes) -> bytes:
        self._tag = (self._tag + 1) & 0xFF
        request = REQUEST.pack(begin, self._tag, count - 1, address) + words
        request += zlib.crc32(request).to_bytes(CRC_BYTES, "little")
        length = REPLY_HEAD + REPLY_TAIL + (WORD * count if begin == BEGIN_READ else 0)
        fault = ""
        for attempt in range(self._attempts):
            if attempt:
                self.repeats += 1
                while self._line.read(1 << 16):  # what is still to come; then the line is silent
                    pass
            self._line.write(request)
            reply = self._line.read(length)
            fault = self._fault(reply, length)
            if not fault:
                break
        else:
            raise FalconetError(
                f"the board does not answer ({fault}, {self._attempts} times); see that it has "
                "the Falconet bitstream and that no other program uses the port"
            )
        if response := reply[-REPLY_TAIL]:
            what = "read" if begin == BEGIN_READ else "write"
            raise FalconetError(
                f"the board answers {RESPONSES.get(response, response)} to a {what} of {count} "
                f"words at 0x{address:08x}; this program takes it for another board"
            )
        return reply[REPLY_HEAD:-REPLY_TAIL]

    def _fault(self, reply: bytes, length: int) -> str:
        if len(reply) < length:
            return f"{len(reply)} bytes of {length} came"
        if zlib.crc32(reply[:-CRC_BYTES]).to_bytes(CRC_BYTES, "little") != reply[-CRC_BYTES:]:
            return "a checksum is wrong"
        if reply[:REPLY_HEAD] != bytes((BEGIN_REPLY, self._tag)):
            return "a reply belongs to another request"
        return ""


class UartBuffer:
    """A piece of the board's memory, with a copy here (falconet.runtime.bus.Buffer).

    What is known to be the same at both ends is not sent again. Zeros in new memory are sent with
    the next write to a register, unless something else comes to be there before.
    """

    def __init__(self, owner: UartBoard, address: int, nbytes: int) -> None:
        self._owner, self.physical_address = owner, address
        self.array: NDArray[np.uint8] = np.zeros(nbytes, np.uint8)
        self._there: Words | None = None  # as last seen or written; None: never, or not known
        # A write to a register sends a buffer that another thread may be writing or sending.
        self._lock = threading.Lock()

    @property
    def _words(self) -> Words:
        return self.array.view("<u4")

    def flush(self) -> None:
        """Send what has changed since the last flush or invalidate; all of it the first time."""
        if self._there is not None or self.array.any():
            self.send()

    def send(self) -> None:
        with self._lock:
            # What is written here meanwhile is not sent, so it must not be taken for known; and
            # nothing is known of what was being sent when an exception comes.
            words, there, self._there = self._words.copy(), self._there, None
            changed = np.arange(len(words)) if there is None else np.flatnonzero(words != there)
            if len(changed):
                for run in np.split(changed, np.flatnonzero(np.diff(changed) > WORTH) + 1):
                    part = words[run[0] : run[-1] + 1]
                    self._owner.link.write(self.physical_address + WORD * int(run[0]), part)
            self._there = words

    def invalidate(self) -> None:
        """Fetch all of it."""
        with self._lock:
            words = self._owner.link.read(self.physical_address, len(self._words))
            self._words[:] = words
            self._there = words

    @property
    def is_new(self) -> bool:
        """Whether it is not known what lies there: nothing has been sent or fetched yet."""
        return self._there is None

    def free(self) -> None:
        self._owner.buffers.remove(self)


class UartBoard:
    """Bus and memory of a board behind a serial line.

    Without an interrupt: STATUS is read again and again.
    """

    has_interrupt = False

    def __init__(self, board: Board, line: Transport) -> None:
        self.board, self.link = board, UartLink(line)
        self.buffers: list[UartBuffer] = []

    def read_register(self, offset: int) -> int:
        return int(self.link.read(self.board.registers + offset, 1)[0])

    def write_register(self, offset: int, value: int) -> None:
        for buffer in self.buffers:
            if buffer.is_new:
                buffer.send()
        self.link.write(self.board.registers + offset, np.array([value], np.uint32))

    def wait(self, seconds: float) -> Wake:
        return self.pause()

    def pause(self) -> Wake:
        time.sleep(0.001)
        return Wake.TIMEOUT

    def allocate(self, nbytes: int, align: int = SEGMENT_PAGE) -> UartBuffer:
        """Whole words."""
        begin, size = self.board.memory, -(-nbytes // WORD) * WORD
        taken = ((b.physical_address, len(b.array)) for b in self.buffers)
        at = first_fit(
            taken, size, begin=begin, end=begin + self.board.memory_bytes, align=align)
        if at is None:
            raise FalconetError(
                f"{nbytes} bytes do not fit in the memory of board '{self.board.name}', "
                f"{self.board.memory_bytes} bytes; compile a smaller network"
            )
        buffer = UartBuffer(self, at, size)
        self.buffers.append(buffer)
        return buffer


def open_uart(
    port: str, *, name: str = "ecp5", silence: float = SILENCE, **options: Any,
) -> Driver:
    """The driver of a board behind a serial port.

    Parameters
    ----------
    port, silence:
        As for :class:`SerialPort`.
    name:
        The board, a name of ``BOARDS``.
    options:
        Go to :class:`~falconet.runtime.driver.Driver`.

    Raises
    ------
    FalconetError
        if the port cannot be opened, nothing answers, or what answers is another machine.
    """
    there = UartBoard(board(name), SerialPort(port, silence=silence))
    return Driver(there, there, **{"name": name, "arch": there.board.arch, **options})
