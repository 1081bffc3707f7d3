"""The driver: runs a program on a machine that is reached through registers and memory only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from falconet.isa import (
    ISA_VERSION,
    MAGIC,
    PRESETS,
    Arch,
    Control,
    Engine,
    ErrorCode,
    FalconetError,
    Program,
    Segment,
    Status,
    register,
)
from falconet.runtime.detections import Detections, Options, pack_options, unpack_detections
from falconet.runtime.device import Int8, RunResult, check_inputs
from falconet.runtime.diagnosis import explain_error, explain_timeout
from falconet.runtime.tensors import pack_input, unpack_output

__all__ = ["SIZE_UNIT", "Buffer", "Bus", "Driver", "Memory", "segment_sizes"]

SIZE_UNIT = 128
"""Sizes of segments are multiples of this (register ``*_SIZE``)."""


class Bus(Protocol):
    """The AXI-Lite registers; offsets as in ``falconet.isa.REGISTERS``."""

    def read_register(self, offset: int) -> int: ...

    def write_register(self, offset: int, value: int) -> None: ...

    def wait(self, seconds: float) -> bool:
        """Wait for the interrupt, at most so long; it may return early.

        False says that waiting on is in vain (a simulated machine that stands still).
        """
        ...


class Buffer(Protocol):
    """Contiguous memory that the machine can reach, zero at first."""

    @property
    def physical_address(self) -> int: ...

    @property
    def array(self) -> NDArray[np.uint8]:
        """The bytes; a view, so writing to it is writing to memory."""
        ...

    def flush(self) -> None:
        """Make what the processor wrote visible to the machine."""
        ...

    def invalidate(self) -> None:
        """Make what the machine wrote visible to the processor."""
        ...

    def free(self) -> None: ...


class Memory(Protocol):
    def allocate(self, nbytes: int, align: int = 4096) -> Buffer: ...


def segment_sizes(program: Program) -> dict[Segment, int]:
    """Bytes of each segment's window: what the program asks for, rounded up to SIZE_UNIT."""
    needed = program.header.get("segments", {})
    sizes = {Segment.CODE: len(program.code)}
    for s in (Segment.INPUT, Segment.OUTPUT, Segment.WORK):
        sizes[s] = int(needed.get(s.name.lower(), 0))
    return {s: -(-n // SIZE_UNIT) * SIZE_UNIT for s, n in sizes.items()}


class Driver:
    """A :class:`~falconet.runtime.device.Device` behind a :class:`Bus` and a :class:`Memory`.

    It knows neither board nor simulator. The identity registers are read first: what is not a
    Falconet machine of this instruction set is refused before anything is written.

    Parameters
    ----------
    bus, memory:
        How to reach the machine.
    name:
        How error messages call it.
    arch:
        The machine's description; None looks the register ARCH_HASH up among the presets.
    timeout:
        Seconds that one run may take.
    """

    def __init__(
        self, bus: Bus, memory: Memory, *, name: str = "machine", arch: Arch | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._bus, self._memory = bus, memory
        self._name, self._timeout = name, timeout
        self._arch = self._identify(arch)
        self._program: Program | None = None
        self._buffers: dict[Segment, Buffer] = {}
        self._sizes: dict[Segment, int] = {}

    @property
    def name(self) -> str:
        return self._name

    @property
    def arch(self) -> Arch:
        return self._arch

    @property
    def program(self) -> Program:
        if self._program is None:
            raise FalconetError(f"{self._name}: no program is loaded; call load() first")
        return self._program

    def read(self, name: str) -> int:
        """A register by name."""
        return self._bus.read_register(register(name).offset)

    def write(self, name: str, value: int) -> None:
        self._bus.write_register(register(name).offset, value)

    def _identify(self, arch: Arch | None) -> Arch:
        found = self.read("ID")
        if found != MAGIC:
            raise FalconetError(
                f"{self._name}: register ID reads 0x{found:08x}, not 0x{MAGIC:08x}; load the "
                "Falconet bitstream first"
            )
        version = self.read("ISA_VERSION")
        if version != ISA_VERSION:
            raise FalconetError(
                f"{self._name}: the machine has instruction set {version}, this is Falconet for "
                f"{ISA_VERSION}; build the bitstream again"
            )
        machine = self.read("ARCH_HASH")
        known = [arch] if arch is not None else list(PRESETS.values())
        for a in known:
            if a.hash == machine:
                return a
        names = ", ".join(f"'{a.name}' (0x{a.hash:08x})" for a in known)
        raise FalconetError(
            f"{self._name}: the machine's hash is 0x{machine:08x}, expected {names}; load the "
            "bitstream of that preset"
        )

    def load(self, program: Program) -> None:
        """Copy the program to memory; refuses one that is made for another machine."""
        if program.arch.hash != self._arch.hash:
            raise FalconetError(
                f"{self._name}: the program is for '{program.arch.name}' "
                f"(0x{program.arch.hash:08x}), the machine is '{self._arch.name}' "
                f"(0x{self._arch.hash:08x}); compile it for this machine"
            )
        self.close()
        self._sizes = segment_sizes(program)
        for s, size in self._sizes.items():
            if size:
                self._buffers[s] = self._memory.allocate(size, 4096)
        code = self._buffers[Segment.CODE]
        code.array[: len(program.code)] = np.frombuffer(program.code, np.uint8)
        for buffer in self._buffers.values():
            buffer.flush()
        self._program = program

    def close(self) -> None:
        """Give the memory back; load() is needed before the next run()."""
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers, self._program = {}, None

    def run(self, inputs: dict[str, Int8], options: Options | None = None) -> RunResult:
        """Run once: inputs and options to memory, START, wait, outputs and boxes from memory."""
        program, began = self.program, time.perf_counter()
        detect = program.header.get("detect")
        self._put_inputs(program.header["inputs"], inputs)
        if detect:
            for at, row in pack_options(detect, options):
                self._put("detect: the options", at, np.frombuffer(row, np.uint8))
        if buffer := self._buffers.get(Segment.INPUT):
            buffer.flush()
        self._start(program)
        self._finish(program)
        outputs, detections = self._results(program.header["outputs"], detect)
        return RunResult(
            outputs, self.read("CYCLES"), {e.name: self.read(f"BUSY_{e.name}") for e in Engine},
            time.perf_counter() - began, detections=detections,
        )

    def _put_inputs(self, tensors: Sequence[dict[str, Any]], inputs: dict[str, Int8]) -> None:
        check_inputs(list(tensors), inputs)
        for t in tensors:
            data = pack_input(inputs[t["name"]], t, self._arch.lanes)
            self._put(f"input '{t['name']}'", int(t["offset"]), data)

    def _put(self, what: str, at: int, data: NDArray[np.uint8]) -> None:
        size = self._sizes[Segment.INPUT]
        if at < 0 or at + len(data) > size:
            raise FalconetError(
                f"{what}: {len(data)} bytes at {at} are not in segment INPUT of {size} bytes; "
                "recompile the network"
            )
        self._buffers[Segment.INPUT].array[at : at + len(data)] = data

    def _results(self, tensors: Sequence[dict[str, Any]], detect: dict[str, Any] | None
                 ) -> tuple[dict[str, Int8], Detections | None]:
        """The output tensors, and the boxes if the program has a head (``detect``)."""
        if not tensors and not detect:
            return {}, None
        buffer = self._buffers.get(Segment.OUTPUT)
        if buffer is None:
            raise FalconetError("segment OUTPUT is empty, but there are outputs; recompile")
        buffer.invalidate()
        data = buffer.array[: self._sizes[Segment.OUTPUT]]
        outputs = {t["name"]: unpack_output(data, t, self._arch.lanes) for t in tensors}
        return outputs, unpack_detections(data, detect) if detect else None

    def _start(self, program: Program) -> None:
        self.write("CONTROL", Control.RESET)
        for s, size in self._sizes.items():
            buffer = self._buffers.get(s)
            self.write(f"{s.name}_BASE", buffer.physical_address if buffer else 0)
            self.write(f"{s.name}_SIZE", size)
        self.write("PROGRAM_OFFSET", 0)
        self.write("PROGRAM_LENGTH", program.n_instructions)
        self.write("IRQ_ENABLE", 1)
        self.write("CONTROL", Control.START)

    def _finish(self, program: Program) -> None:
        """Wait for DONE; an error or a time-out is explained, and the machine reset."""
        deadline = time.monotonic() + self._timeout
        while True:
            status = self.read("STATUS")
            if status & (Status.DONE | Status.ERROR):
                break
            left = deadline - time.monotonic()
            if left <= 0 or not self._bus.wait(left):
                if self.read("STATUS") & (Status.DONE | Status.ERROR):
                    continue
                message = explain_timeout(program, self._retired())
                self.write("CONTROL", Control.RESET)
                raise FalconetError(f"{self._name}: {message}")
        if status & Status.ERROR:
            bases = {s: b.physical_address for s, b in self._buffers.items()}
            code, info = ErrorCode(self.read("ERROR_CODE")), self.read("ERROR_INFO")
            message = explain_error(program, code, info, self._retired(), bases, self._sizes)
            self.write("CONTROL", Control.RESET)
            raise FalconetError(f"{self._name}: {message}")

    def _retired(self) -> dict[Engine, int]:
        return {e: self.read(f"RETIRED_{e.name}") for e in Engine}
