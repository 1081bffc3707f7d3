"""The simulated board: the machine's RTL, compiled by Verilator, with DDR around it.

The driver is the one of the real board; only the bus and the memory behind it are simulated.
"""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import SEGMENT_PAGE, Arch, Engine, FalconetError, Program
from falconet.runtime.bus import Wake, first_fit
from falconet.runtime.detections import Options
from falconet.runtime.device import Int8, RunResult, Trace
from falconet.runtime.driver import Driver
from falconet_sim.rtl.ddr import DdrConfig, DdrModel
from falconet_sim.rtl.faults import PORTS, BusFault, FaultRecord, Suffered
from falconet_sim.rtl.library import machine_library

__all__ = ["RtlDevice", "SimBoard", "SimBuffer", "write_dtype"]

BASE = 0x1000_0000
"""Physical address of the simulated memory."""

EVENT = np.dtype([("cycle", "<u8"), ("engine", "u1"), ("kind", "u1")])


def write_dtype(lanes: int) -> np.dtype[Any]:
    """A word accepted by an on-chip memory: ``writer`` is an Engine, ``dst`` a Dst."""
    return np.dtype([("cycle", "<u8"), ("addr", "<u2"), ("writer", "u1"), ("dst", "u1"),
                     ("data", "i1", (lanes,))])


class SimBuffer:
    """A piece of the simulated memory (falconet.runtime.bus.Buffer); it needs no flushing."""

    def __init__(self, board: SimBoard, offset: int, nbytes: int) -> None:
        self._board, self.offset, self.nbytes = board, offset, nbytes
        self.physical_address = BASE + offset
        self.array: NDArray[np.uint8] = board.ddr[offset : offset + nbytes]
        self.array[:] = 0

    def flush(self) -> None: ...

    def invalidate(self) -> None: ...

    def free(self) -> None:
        self._board.buffers.remove(self)


class SimBoard:
    """Bus and memory of a Verilated machine.

    Every burst that it raises must be inside a window that the registers have set, every byte that
    it writes inside one that may be written; the first that is not is a FalconetError.

    Parameters
    ----------
    library:
        What falconet_sim.rtl.library made.
    ddr:
        Timing of the memory.
    memory_bytes:
        Its size; a burst outside is answered with DECERR.
    stall_cycles:
        :meth:`wait` gives up when for so long no beat has moved and no instruction retired.
    windows:
        Whether there are windows, as :data:`~falconet.isa.REGISTERS` has them.
    """

    CHUNK = 200_000  # cycles between two looks at the keyboard
    PAUSE = 1_000  # cycles between two looks at STATUS

    def __init__(
        self, library: Path, ddr: DdrModel, *, lanes: int, memory_bytes: int = 256 << 20,
        stall_cycles: int = 20_000_000, windows: bool = True,
    ) -> None:
        self._lib = _bind(library)
        self._lanes, self._stall = lanes, stall_cycles
        self.ddr = np.zeros(memory_bytes, np.uint8)
        self.buffers: list[SimBuffer] = []
        self.interrupt_cycle = 0
        self._process = os.getpid()
        self.lock = threading.RLock()  # a register, too, makes time pass
        self._sim = self._lib.falconet_new(
            ctypes.byref(ddr.config()), self.ddr.ctypes.data_as(ctypes.c_void_p), BASE,
            memory_bytes, windows,
        )

    def __del__(self) -> None:
        # A forked process has no threads of the simulation, and would wait for them.
        if getattr(self, "_sim", None) and self._process == os.getpid():
            self._lib.falconet_delete(self._sim)
            self._sim = None

    def _check(self, ok: bool) -> None:
        error = self._lib.falconet_error(self._sim).decode()
        if error or not ok:
            raise FalconetError(f"the simulated machine broke a rule of its bus: {error}")

    def allocate(self, nbytes: int, align: int = SEGMENT_PAGE) -> SimBuffer:
        taken = ((b.offset, b.nbytes) for b in self.buffers)
        at = first_fit(taken, nbytes, end=len(self.ddr), align=align)
        if at is None:
            raise FalconetError(
                f"{nbytes} bytes do not fit in the simulated memory of {len(self.ddr)}; "
                "give RtlDevice more memory_bytes"
            )
        buffer = SimBuffer(self, at, nbytes)
        self.buffers.append(buffer)
        return buffer

    def read_register(self, offset: int) -> int:
        value = ctypes.c_uint32()
        with self.lock:
            self._check(self._lib.falconet_read(self._sim, offset, ctypes.byref(value)))
        return value.value

    def write_register(self, offset: int, value: int) -> None:
        with self.lock:
            self._check(self._lib.falconet_write(self._sim, offset, int(value)))

    @property
    def has_interrupt(self) -> bool:
        return True

    def wait(self, seconds: float) -> Wake:
        """Run until the interrupt, at most CHUNK cycles."""
        return self._run(min(self.CHUNK, self._stall))

    def pause(self) -> Wake:
        """Run for PAUSE cycles."""
        return self._run(self.PAUSE)

    def _run(self, cycles: int) -> Wake:
        with self.lock:
            done = self._lib.falconet_run(self._sim, cycles)
            self._check(done >= 0)
            if done:
                self.interrupt_cycle = self.cycle
                return Wake.INTERRUPT
            still = self.cycle - self._lib.falconet_active(self._sim) >= self._stall
            return Wake.STALLED if still else Wake.TIMEOUT

    @property
    def cycle(self) -> int:
        return int(self._lib.falconet_cycle(self._sim))

    def beats(self) -> dict[str, int]:
        """Beats of 8 bytes moved since power-up by each of falconet_sim.rtl.faults.PORTS."""
        return self._by_port(self._lib.falconet_beats)

    def bursts(self) -> dict[str, int]:
        """Bursts accepted since power-up, likewise."""
        return self._by_port(self._lib.falconet_bursts)

    def _by_port(self, get: Any) -> dict[str, int]:
        out = (ctypes.c_uint64 * len(PORTS))()
        get(self._sim, out)
        return dict(zip(PORTS, out))

    def plan(self, fault: BusFault) -> None:
        """Let a fault happen."""
        record = fault.record(self.bursts().get(fault.port, 0))
        self._lib.falconet_plan(self._sim, ctypes.byref(record))

    def relent(self) -> None:
        """Forget the faults that have not happened yet, and let go what is held."""
        self._lib.falconet_relent(self._sim)

    def suffered(self) -> Suffered:
        """What of the faults has come to the machine."""
        out = (ctypes.c_uint64 * 4)()
        self._lib.falconet_suffered(self._sim, out)
        return Suffered(*out)

    def log(self, *, writes: bool, events: bool) -> None:
        """Choose what is logged from now on, and forget what was."""
        self._lib.falconet_log(self._sim, writes, events)

    def writes(self) -> NDArray[Any]:
        """Words accepted by on-chip memories, in order (dtype :func:`write_dtype`)."""
        return self._records(self._lib.falconet_writes, write_dtype(self._lanes))

    def events(self) -> NDArray[Any]:
        """Starts (kind 0) and retirements (kind 1) of instructions, in order (dtype EVENT)."""
        return self._records(self._lib.falconet_events, EVENT)

    def save_coverage(self, file: Path) -> None:
        """Write what was counted since power-up (falconet_sim.rtl.coverage reads it).

        The library must be of the kind "coverage".
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lib.falconet_coverage(self._sim, str(file).encode())

    def draw(self, file: Path, begin: int, end: int) -> None:
        """Write the waveforms of cycles [begin, end), counted from power-up, to a VCD file.

        Two time steps a cycle. The library must be of the kind "waveform".
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lib.falconet_draw(self._sim, str(file).encode(), begin, end)

    def _records(self, get: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
        pointer = ctypes.c_void_p()
        count = get(self._sim, ctypes.byref(pointer))
        data = ctypes.string_at(pointer.value or 0, count * dtype.itemsize) if count else b""
        return np.frombuffer(data, dtype)


def _bind(library: Path) -> ctypes.CDLL:
    lib = ctypes.CDLL(str(library.resolve()))
    sim, u32, u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    out = ctypes.POINTER(ctypes.c_void_p)
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "new": (sim, [ctypes.POINTER(DdrConfig), ctypes.c_void_p, u64, u64, ctypes.c_int]),
        "delete": (None, [sim]),
        "write": (ctypes.c_int, [sim, u32, u32]),
        "read": (ctypes.c_int, [sim, u32, ctypes.POINTER(u32)]),
        "run": (ctypes.c_int, [sim, u64]),
        "error": (ctypes.c_char_p, [sim]),
        "cycle": (u64, [sim]),
        "active": (u64, [sim]),
        "beats": (None, [sim, ctypes.POINTER(u64)]),
        "bursts": (None, [sim, ctypes.POINTER(u64)]),
        "plan": (None, [sim, ctypes.POINTER(FaultRecord)]),
        "relent": (None, [sim]),
        "suffered": (None, [sim, ctypes.POINTER(u64)]),
        "log": (None, [sim, ctypes.c_int, ctypes.c_int]),
        "writes": (u64, [sim, out]),
        "events": (u64, [sim, out]),
    }
    for name, more in (("coverage", []), ("draw", [u64, u64])):
        if hasattr(lib, f"falconet_{name}"):  # a matter of the library's kind
            signatures[name] = (None, [sim, ctypes.c_char_p, *more])
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, f"falconet_{name}")
        function.restype, function.argtypes = result, arguments
    return lib


class RtlDevice(Driver):
    """A :class:`~falconet.runtime.device.Device`: the driver on a simulated board.

    Parameters
    ----------
    arch:
        The machine to build; or use :meth:`for_program`.
    ddr:
        Timing of the memory; by default that of the PYNQ-Z2 at the clock of ``arch``.
    log_writes:
        Keep all on-chip writes of the last run in ``writes`` (for falconet_sim.compare.lockstep).
    library:
        A library built already, instead of building the machine.
    timeout:
        Wall-clock seconds that one run may take.
    """

    def __init__(
        self, arch: Arch, *, ddr: DdrModel | None = None, log_writes: bool = False,
        library: Path | None = None, timeout: float = 3600.0, memory_bytes: int = 256 << 20,
        stall_cycles: int = 20_000_000,
    ) -> None:
        self.ddr_model = ddr or DdrModel(clock_mhz=arch.clock_mhz)
        self.board = SimBoard(
            library or machine_library(arch), self.ddr_model, lanes=arch.lanes,
            memory_bytes=memory_bytes, stall_cycles=stall_cycles,
        )
        self.log_writes = log_writes
        self.writes: NDArray[Any] = np.zeros(0, write_dtype(arch.lanes))
        super().__init__(self.board, self.board, name="rtl", arch=arch, timeout=timeout)

    @classmethod
    def for_program(cls, program: Program, **options: Any) -> RtlDevice:
        """The machine that a program is made for, with the program loaded."""
        device = cls(program.arch, **options)
        device.load(program)
        return device

    def run(self, inputs: dict[str, Int8], options: Options | None = None) -> RunResult:
        """As the driver's, with a trace; after a failure ``writes`` has those up to it."""
        # Time passes in a register's read, too: another thread's would move the interrupt's cycle.
        with self.turn, self.board.lock:
            self.board.log(writes=self.log_writes, events=True)
            try:
                result = super().run(inputs, options)
            finally:
                if self.log_writes:
                    self.writes = self.board.writes()
            assert result.cycles is not None
            result.trace = instruction_trace(
                self.program, self.board.events(), self.board.interrupt_cycle - result.cycles,
                result.cycles,
            )
            self.board.log(writes=False, events=False)
            return result


def instruction_trace(program: Program, events: NDArray[Any], begin: int, cycles: int) -> Trace:
    """Start and retirement of each instruction from the engines' events.

    An engine's instructions start and retire in the order of the program. The run lasts from cycle
    ``begin`` of the events for ``cycles``.
    """
    times = np.full((2, program.n_instructions), cycles, np.int64)
    engines = [ins.engine for ins in program.instructions()]
    for engine in Engine:
        own = [i for i, e in enumerate(engines) if e is engine]
        for kind in (0, 1):
            of = events[(events["engine"] == engine) & (events["kind"] == kind)]["cycle"]
            if len(of) != len(own):
                what = ("started", "retired")[kind]
                raise FalconetError(
                    f"rtl: {engine.name} {what} {len(of)} instructions of {len(own)}; "
                    "this is a fault of the machine, not of the program"
                )
            times[kind, own] = of.astype(np.int64) - begin
    return Trace(times[0], times[1])
