"""The simulated board: the driver that a real board has, on the Verilated machine."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, Engine, FalconetError, Program, preset
from falconet.runtime.device import Int8, RunResult, Trace
from falconet.runtime.driver import Driver
from falconet_sim.build import build_board
from falconet_sim.ddr import DdrModel

__all__ = ["EVENT", "WRITE", "RtlDevice", "SimulatedBoard"]

MEMORY_BASE = 0x1000_0000
MEMORY_BYTES = 256 << 20

WRITE = np.dtype([("cycle", "<u8"), ("addr", "<u2"), ("writer", "u1"), ("dst", "u1"),
                  ("zero", "<u4"), ("data", "i1", 16)])
"""One word written on chip; ``writer`` is the engine, ``dst`` a falconet.isa.Dst."""
EVENT = np.dtype([("cycle", "<u8"), ("start", "<u4"), ("retire", "<u4")])
"""Engines (a bit each) that started or retired an instruction in a cycle."""
_WRITERS = (Engine.LOAD, Engine.MAC, Engine.VEC)


class _DdrParameters(ctypes.Structure):
    _fields_ = (
        ("bytes_per_cycle", ctypes.c_double),
        *((name, ctypes.c_uint32) for name in (
            "latency", "refresh_interval", "refresh_cycles", "read_queue", "write_queue")),
    )


def _library(path: str) -> ctypes.CDLL:
    lib = ctypes.CDLL(path)
    board, u32, u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    for name, result, arguments in (
        ("new", board, [u32, u32, u32, ctypes.POINTER(_DdrParameters)]),
        ("free", None, [board]),
        ("memory", ctypes.POINTER(ctypes.c_uint8), [board]),
        ("cycle", u64, [board]), ("bytes_read", u64, [board]), ("bytes_written", u64, [board]),
        ("write_register", ctypes.c_int, [board, u32, u32]),
        ("read_register", ctypes.c_int, [board, u32, ctypes.POINTER(u32)]),
        ("run", u64, [board, u64]), ("irq", ctypes.c_int, [board]),
        ("log", None, [board, ctypes.c_int]),
        ("writes", board, [board, ctypes.POINTER(u64)]),
        ("events", board, [board, ctypes.POINTER(u64)]),
    ):
        function = getattr(lib, f"board_{name}")
        function.restype, function.argtypes = result, arguments
    return lib


class _Buffer:
    """Bytes of the simulated DDR."""

    def __init__(self, physical_address: int, array: NDArray[np.uint8]) -> None:
        self.physical_address, self.array = physical_address, array
        array[:] = 0

    def flush(self) -> None:
        """Nothing to do: the simulated processor has no cache."""

    def invalidate(self) -> None:
        """Nothing to do: the simulated processor has no cache."""

    def free(self) -> None:
        """Nothing to do: see SimulatedBoard.reset_memory."""


class SimulatedBoard:
    """Registers (:class:`~falconet.runtime.driver.Bus`) and DDR (``Memory``) of the machine.

    Parameters
    ----------
    arch, ddr:
        The machine and the timing of its memory.
    max_cycles:
        A run that takes longer than this is given up (the driver explains where it stands).
    progress:
        Called with a word on each step of the simulator's build.
    on_run:
        Called with the cycles of a run so far, a few times a second.
    """

    SLICE = 200_000  # cycles between calls of on_run

    def __init__(self, arch: Arch, ddr: DdrModel | None = None, *,
                 max_cycles: int = 200_000_000, progress: Callable[[str], None] | None = None,
                 on_run: Callable[[int], None] | None = None) -> None:
        self.arch = arch
        self.ddr = ddr or DdrModel(clock_mhz=arch.clock_mhz)
        self._lib = _library(str(build_board(arch, progress)))
        d = self.ddr
        parameters = _DdrParameters(d.bytes_per_cycle, d.first_beat_latency,
                                    d.refresh_interval_cycles, d.refresh_cycles, d.read_queue,
                                    d.write_queue)
        self._board = self._lib.board_new(MEMORY_BASE, MEMORY_BYTES, arch.lanes,
                                          ctypes.byref(parameters))
        self._memory = np.ctypeslib.as_array(self._lib.board_memory(self._board), (MEMORY_BYTES,))
        self._next, self._max_cycles, self._on_run = 0, max_cycles, on_run
        self._waited = 0

    def __del__(self) -> None:
        if getattr(self, "_board", None):
            self._lib.board_free(self._board)

    def read_register(self, offset: int) -> int:
        value = ctypes.c_uint32()
        if self._lib.board_read_register(self._board, offset, ctypes.byref(value)):
            raise FalconetError(f"simulated board: register 0x{offset:x} does not answer a read")
        return value.value

    def write_register(self, offset: int, value: int) -> None:
        if self._lib.board_write_register(self._board, offset, value):
            raise FalconetError(f"simulated board: register 0x{offset:x} does not answer a write")

    def wait(self, seconds: float) -> bool:
        """Run until the interrupt; False once ``max_cycles`` have passed without one."""
        run = self._lib.board_run(self._board, self.SLICE)
        self._waited += run
        if self._on_run is not None:
            self._on_run(self._waited)
        return bool(run < self.SLICE) or self._waited < self._max_cycles

    def allocate(self, nbytes: int, align: int = 4096) -> _Buffer:
        at = -(-self._next // align) * align
        if at + nbytes > MEMORY_BYTES:
            raise FalconetError(
                f"simulated board: {nbytes} bytes do not fit its memory of {MEMORY_BYTES >> 20} "
                "MiB; use a smaller network"
            )
        self._next = at + nbytes
        return _Buffer(MEMORY_BASE + at, self._memory[at : at + nbytes])

    def reset_memory(self) -> None:
        """Give all buffers back."""
        self._next = 0

    def log(self, writes: bool) -> None:
        """Forget the events so far; record on-chip writes from now on, or not."""
        self._waited = 0
        self._lib.board_log(self._board, int(writes))

    def _records(self, function: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
        n = ctypes.c_uint64()
        address = function(self._board, ctypes.byref(n))
        if not n.value:
            return np.zeros(0, dtype)
        raw = ctypes.string_at(address, n.value * dtype.itemsize)
        return np.frombuffer(raw, dtype)

    @property
    def writes(self) -> NDArray[Any]:
        """On-chip writes since :meth:`log`, dtype WRITE."""
        return self._records(self._lib.board_writes, WRITE)

    @property
    def events(self) -> NDArray[Any]:
        """Starts and retirements since :meth:`log`, dtype EVENT."""
        return self._records(self._lib.board_events, EVENT)

    @property
    def cycle(self) -> int:
        return int(self._lib.board_cycle(self._board))

    @property
    def bytes_moved(self) -> int:
        """Bytes read and written in DDR since the board was made."""
        return int(self._lib.board_bytes_read(self._board)
                   + self._lib.board_bytes_written(self._board))


class RtlDevice:
    """The RTL as a :class:`~falconet.runtime.device.Device`; ``RunResult.trace`` is set.

    ``arch``: the machine; if a program is given, its machine.
    """

    def __init__(self, arch: Arch | None = None, program: Program | None = None,
                 ddr: DdrModel | None = None, **options: Any) -> None:
        if program is not None:
            arch = program.arch
        self.board = SimulatedBoard(arch or preset("pynq-z2"), ddr, **options)
        self._driver = Driver(self.board, self.board, name="RTL", arch=self.board.arch,
                              timeout=float("inf"))
        self._log_writes = False
        self._program: Program | None = None
        if program is not None:
            self.load(program)

    @property
    def name(self) -> str:
        return "rtl"

    @property
    def arch(self) -> Arch:
        return self.board.arch

    @property
    def ddr(self) -> DdrModel:
        return self.board.ddr

    def record_writes(self, on: bool) -> None:
        """Whether runs record every word written on chip (``board.writes``)."""
        self._log_writes = on

    def load(self, program: Program) -> None:
        self.board.reset_memory()
        self._driver.load(program)
        self._program = program

    def run(self, inputs: dict[str, Int8]) -> RunResult:
        self.board.log(self._log_writes)
        result = self._driver.run(inputs)
        assert self._program is not None and result.cycles is not None
        result.trace = _trace(self._program, self.board.events, result.cycles)
        return result


def _trace(program: Program, events: NDArray[Any], cycles: int) -> Trace:
    """Engines run in order: the k-th start of an engine belongs to its k-th instruction."""
    instructions = program.instructions()
    start = np.full(len(instructions), cycles, np.int64)
    retire = start.copy()
    first = int(events["cycle"][0]) if len(events) else 0
    for engine in Engine:
        mine = [i for i, ins in enumerate(instructions) if ins.engine is engine]
        for name, into in (("start", start), ("retire", retire)):
            when = events["cycle"][(events[name] >> engine & 1) == 1].astype(np.int64) - first
            n = min(len(mine), len(when))
            into[mine[:n]] = when[:n]
    return Trace(start, retire)
