"""A board under any Linux, without PYNQ: UIO or /dev/mem for registers, u-dma-buf for memory.

All paths are below ``root``, which is ``/`` on a board. Sources: the kernel's "Userspace I/O
Howto" (an interrupt is enabled by writing a 32-bit 1, and waited for by reading 32 bits), and the
manual of u-dma-buf (attributes of /sys/class/u-dma-buf/NAME).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import struct
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from falconet.isa import SEGMENT_PAGE, Board, FalconetError
from falconet.runtime.bus import Wake, first_fit

__all__ = ["DmaBuffer", "DmaMemory", "LinuxBus", "UioInterrupt", "UioWaiting", "find_uio",
           "map_physical"]

ROOT = Path("/")
PAGE = mmap.PAGESIZE


def _open(path: Path, flags: int, help_: str) -> int:
    try:
        return os.open(path, flags)
    except OSError as e:
        raise FalconetError(f"{path}: {e.strerror}; {help_}") from None


def _map(path: Path, nbytes: int, offset: int, flags: int, help_: str) -> mmap.mmap:
    descriptor = _open(path, os.O_RDWR | flags, help_)
    try:
        return mmap.mmap(descriptor, nbytes, offset=offset)
    except (OSError, ValueError) as e:
        raise FalconetError(f"{path}: {nbytes} bytes at 0x{offset:x} cannot be mapped ({e}); "
                            f"{help_}") from None
    finally:
        os.close(descriptor)


def map_physical(address: int, nbytes: int, root: Path = ROOT) -> NDArray[np.uint32]:
    """Words at a physical address, through /dev/mem."""
    at = address % PAGE
    mapped = _map(root / "dev/mem", at + nbytes, address - at, os.O_SYNC,
                  "run as root, on a kernel that lets /dev/mem reach devices")
    return np.frombuffer(mapped, np.uint32, nbytes // 4, at)


def find_uio(name: str, root: Path = ROOT) -> Path | None:
    """The folder of the UIO device with that name, /sys/class/uio/uioN."""
    for folder in sorted((root / "sys/class/uio").glob("uio*")):
        with contextlib.suppress(OSError):
            if (folder / "name").read_text().strip() == name:
                return folder
    return None


class UioInterrupt:
    """The interrupt of a UIO device (``folder`` of :func:`find_uio`)."""

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        path = root / "dev" / folder.name
        self._descriptor = _open(path, os.O_RDWR, "run as root")

    def wait(self, seconds: float) -> Wake:
        """Enable it and wait for it, at most so long."""
        os.write(self._descriptor, struct.pack("=I", 1))
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        if not ready:
            return Wake.TIMEOUT
        os.read(self._descriptor, 4)
        return Wake.INTERRUPT

    def close(self) -> None:
        os.close(self._descriptor)


class UioWaiting:
    """The waits of a bus (falconet.runtime.bus.Bus) whose interrupt, if any, is a UIO device's.

    Without one (``folder`` is None) a moment passes.
    """

    POLL_SECONDS = 0.0002

    def __init__(self, folder: Path | None, root: Path = ROOT) -> None:
        self._interrupt = None if folder is None else UioInterrupt(folder, root)

    @property
    def has_interrupt(self) -> bool:
        return self._interrupt is not None

    def wait(self, seconds: float) -> Wake:
        return self.pause() if self._interrupt is None else self._interrupt.wait(seconds)

    def pause(self) -> Wake:
        time.sleep(self.POLL_SECONDS)
        return Wake.TIMEOUT


class LinuxBus(UioWaiting):
    """Registers of a board (falconet.runtime.bus.Bus).

    A UIO device called ``falconet`` is preferred, else /dev/mem at the board's address. The
    interrupt is that of the UIO device, or of one called ``fabric``, which the PYNQ images have for
    IRQF2P[0].
    """

    def __init__(self, board: Board, root: Path = ROOT) -> None:
        own = find_uio("falconet", root)
        if own is not None:
            try:
                size = int((own / "maps/map0/size").read_text(), 0)
            except (OSError, ValueError) as e:
                raise FalconetError(f"{own}/maps/map0/size: {e}; its device-tree node needs a reg "
                                    "(docs/board.md)") from None
            mapped = _map(root / "dev" / own.name, size, 0, os.O_SYNC, "run as root")
            self._words: NDArray[np.uint32] = np.frombuffer(mapped, np.uint32, size // 4)
        else:
            self._words = map_physical(board.registers, board.span, root)
        super().__init__(own or find_uio("fabric", root), root)

    def read_register(self, offset: int) -> int:
        return int(self._words[offset // 4])

    def write_register(self, offset: int, value: int) -> None:
        self._words[offset // 4] = value


class DmaBuffer:
    """A piece of a u-dma-buf (falconet.runtime.bus.Buffer)."""

    def __init__(self, memory: DmaMemory, offset: int, nbytes: int) -> None:
        self._memory, self.offset = memory, offset
        self.physical_address = memory.physical_address + offset
        self.array: NDArray[np.uint8] = memory.bytes[offset : offset + nbytes]
        self.array[:] = 0

    def flush(self) -> None:
        self._memory.sync("sync_for_device", self.offset, len(self.array))

    def invalidate(self) -> None:
        self._memory.sync("sync_for_cpu", self.offset, len(self.array))

    def free(self) -> None:
        self._memory.buffers.remove(self)


class DmaMemory:
    """Memory of one u-dma-buf (falconet.runtime.bus.Memory), shared out first fit.

    The processor's cache is used, and kept in step by flush() and invalidate().
    """

    def __init__(self, name: str = "udmabuf0", root: Path = ROOT) -> None:
        self.name = name
        folders = [root / "sys/class" / kind / name for kind in ("u-dma-buf", "udmabuf")]
        self._folder = next((f for f in folders if f.is_dir()), folders[0])
        help_ = f"load the module: modprobe u-dma-buf {name}=33554432"
        try:
            self.physical_address = int((self._folder / "phys_addr").read_text(), 0)
            size = int((self._folder / "size").read_text(), 0)
        except (OSError, ValueError) as e:
            why = e.strerror if isinstance(e, OSError) else e
            raise FalconetError(f"{self._folder}: {why}; {help_}") from None
        mapped = _map(root / "dev" / name, size, 0, 0, "run as root")
        self.bytes: NDArray[np.uint8] = np.frombuffer(mapped, np.uint8)
        self.buffers: list[DmaBuffer] = []

    def allocate(self, nbytes: int, align: int = SEGMENT_PAGE) -> DmaBuffer:
        taken = ((b.offset, len(b.array)) for b in self.buffers)
        at = first_fit(taken, nbytes, end=len(self.bytes), align=align)
        if at is None:
            used = sum(len(b.array) for b in self.buffers)
            raise FalconetError(
                f"{self.name}: {nbytes} bytes do not fit beside the {used} in use of "
                f"{len(self.bytes)}; load u-dma-buf with {self.name}={2 * (used + nbytes)} or more"
            )
        buffer = DmaBuffer(self, at, nbytes)
        self.buffers.append(buffer)
        return buffer

    def sync(self, attribute: str, offset: int, nbytes: int) -> None:
        """Give a part to the device or to the processor: offset, size (of 16) and 1 in 64 bits."""
        value = offset << 32 | (nbytes + 15) & ~15 | 1
        try:
            (self._folder / attribute).write_text(f"0x{value:016X}")
        except OSError as e:
            raise FalconetError(f"{self._folder / attribute}: {e.strerror}; run as root") from None
