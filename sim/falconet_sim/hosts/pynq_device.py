"""The simulated board as a PYNQ device, so that a notebook of the board runs on any computer.

Importing this module is enough: PYNQ asks every known kind of device whether there is one. It is
imported by ``falconet.runtime`` if the environment says ``FALCONET_SIMULATED=1``. For PYNQ 3.0,
3.1 and 4.0; what a device has to offer is in ``pynq.pl_server.device``.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pynq.ps
from numpy.typing import DTypeLike
from pynq.buffer import PynqBuffer
from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser
from pynq.pl_server.device import Device
from pynqmetadata.frontends import Metadata

from falconet.isa import Board, Control, FalconetError, Status, register
from falconet.isa.errors import shown
from falconet_sim.hosts import system_of
from falconet_sim.hosts.handoff import board_of

if TYPE_CHECKING:  # falconet_sim imports falconet.runtime, which imports this
    from falconet_sim.rtl.board import SimBoard, SimBuffer

__all__ = ["SimulatedDevice"]

_SYSTEM = 0xE000_0000
"""From here on addresses belong to the processing system."""


class _Allocated:
    """A buffer and what the processor sees of it.

    The cache is the worst there can be: nothing gets through without flush() and invalidate().
    """

    def __init__(self, memory: SimBuffer, cacheable: bool) -> None:
        self.memory = memory
        self.seen = memory.array.copy() if cacheable else memory.array


class _Buffer(PynqBuffer):  # type: ignore[misc]
    device: Any = None  # PynqBuffer sets it, but NumPy 2 has a property of that name


class SimulatedDevice(Device):  # type: ignore[misc]
    """A board with Falconet on it, simulated: its design in Verilator, its memory, its clocks.

    Which board it is, the handoff file beside the bitstream says; the design is built when the
    bitstream is loaded (a minute or two, once). Registers are those of the machine. Buffers lie
    in the simulated memory, at physical addresses that the machine can reach. A machine that is
    busy goes on when a register is read: a few cycles for each read, ``SimBoard.PAUSE`` for STATUS.
    Clocks are only remembered: the memory's timing is that of the board's own clock.
    """

    _probe_priority_ = 10  # before a board that may be there as well

    run_timeout = 600.0
    """Seconds that a run may take, for :func:`falconet.runtime.boards.open_board`."""

    @classmethod
    def _probe_(cls) -> list[SimulatedDevice]:
        return [cls()] if os.environ.get("FALCONET_SIMULATED", "0") not in ("", "0") else []

    def __init__(self) -> None:
        super().__init__("falconet-simulated")
        self.name = "falconet-simulated"
        self.capabilities = {"REGISTER_RW": True, "MEMORY_MAPPED": False}
        self.board: Board | None = None
        self.machine: SimBoard | None = None
        self._system: dict[int, int] = {}

    @property
    def arch(self) -> str:
        """The processor, as ``platform.machine()`` calls it on the board."""
        return system_of(self._known()).processor

    @property
    def default_memory(self) -> SimulatedDevice:
        return self

    def _known(self) -> Board:
        if self.board is None:
            raise FalconetError("the simulated board has no bitstream; load one with pynq.Overlay")
        return self.board

    def _running(self) -> SimBoard:
        if self.machine is None:
            raise FalconetError("the simulated board has no bitstream; load one with pynq.Overlay")
        return self.machine

    def get_bitfile_metadata(self, bitfile_name: str, partial: bool = False) -> Any:
        """Read the handoff file beside the bitstream, and become the board that it is for."""
        path = Path(bitfile_name).with_suffix(".hwh")
        if partial or not path.is_file():
            raise FalconetError(
                f"{path}: it does not exist; copy it from where the bitstream was made, or write "
                "both with: python -m falconet_sim.hosts.bitfile FOLDER"
            )
        board = board_of(path)
        try:
            parser = RuntimeMetadataParser(Metadata(input=str(path)))
        except Exception as e:  # what it is not made for raises anything
            raise FalconetError(f"{path}: PYNQ's parser does not take it ({shown(e)}); copy it "
                                "again from where the bitstream was made") from None
        if board != self.board:
            self.board, self.machine = board, None
            self._system = dict(system_of(board).registers)
            pynq.ps.CPU_ARCH = self.arch  # where PYNQ 3.0 looks instead of asking the device
        return parser

    def download(self, bitstream: Any, parser: Any = None) -> None:
        """Put the machine in its first state; ``bitstream`` itself is not read."""
        from falconet_sim.hosts.zynq import sim_board

        parser = parser or self.get_bitfile_metadata(bitstream.bitfile_name)
        if self.machine is None:
            self.machine = sim_board(self._known())
        else:
            self.machine.write_register(register("CONTROL").offset, Control.RESET)
        self.post_download(bitstream, parser, self.name)

    def read_registers(self, address: int, length: int) -> bytes:
        return b"".join(
            self._read(a).to_bytes(4, "little") for a in range(address, address + length, 4))

    def write_registers(self, address: int, data: bytes) -> None:
        for i in range(0, len(data), 4):
            value = int.from_bytes(data[i : i + 4], "little")
            if address + i >= _SYSTEM:
                self._system[address + i] = value
            else:
                self._running().write_register(self._offset(address + i), value)

    def _read(self, address: int) -> int:
        if address >= _SYSTEM:
            return self._system.get(address, 0)
        offset, machine = self._offset(address), self._running()
        value = machine.read_register(offset)
        if offset == register("STATUS").offset and value & Status.BUSY:
            machine.pause()
            value = machine.read_register(offset)
        return value

    def _offset(self, address: int) -> int:
        board = self._known()
        if not board.registers <= address < board.registers + board.span:
            raise FalconetError(
                f"nothing of the simulated board is at address 0x{address:08x}; Falconet's "
                f"registers are at 0x{board.registers:08x}"
            )
        return address - board.registers

    def allocate(self, shape: int | tuple[int, ...], dtype: DTypeLike = "u4",
                 cacheable: int = 0, **_: Any) -> Any:
        """Memory of the simulated board, zero at first, as ``pynq.allocate`` gives it."""
        nbytes = math.prod(np.atleast_1d(shape).tolist()) * np.dtype(dtype).itemsize
        bo = _Allocated(self._running().allocate(nbytes), bool(cacheable))
        buffer = _Buffer(shape=shape, dtype=dtype, buffer=bo.seen, device=self, bo=bo,
                         device_address=bo.memory.physical_address)
        # How a PynqBuffer gives back what is not the kernel's memory.
        buffer.memory, buffer.return_to, buffer.pointer, buffer.freed = self, self, bo, True
        return buffer

    def return_pointer(self, pointer: _Allocated) -> None:
        pointer.memory.free()

    def flush(self, bo: _Allocated, offset: int, vaddr: int, nbytes: int) -> None:
        bo.memory.array[offset : offset + nbytes] = bo.seen[offset : offset + nbytes]

    def invalidate(self, bo: _Allocated, offset: int, vaddr: int, nbytes: int) -> None:
        bo.seen[offset : offset + nbytes] = bo.memory.array[offset : offset + nbytes]
