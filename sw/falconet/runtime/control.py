"""The machine's registers: what it is, setting a run up, and how it ended."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping

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
from falconet.runtime.bus import Buffer, Bus, Wake
from falconet.runtime.diagnosis import explain_error, explain_timeout

__all__ = ["Controller"]


class Controller:
    """A machine behind a :class:`Bus`, identified; ``Driver`` adds memory, with its parameters."""

    PATIENCE = 1.0
    """Seconds without an interrupt after which STATUS is looked at; and those that RESET has."""

    MOMENT = 0.01
    """Seconds that an interrupt has to come when STATUS says that the machine is done."""

    LOOKS = 20
    """How often STATUS is looked at, at least, before RESET is said to have no effect."""

    def __init__(
        self, bus: Bus, *, name: str, arch: Arch | None, timeout: float, waiting: str,
    ) -> None:
        if waiting not in ("auto", "interrupt", "poll"):
            raise FalconetError(f"waiting='{waiting}' is unknown; use auto, interrupt or poll")
        if waiting == "interrupt" and not bus.has_interrupt:
            raise FalconetError(
                f"{name}: there is no interrupt to wait for; use waiting='poll', or see "
                "docs/board.md for the device-tree node"
            )
        self._bus = bus
        self._name, self._timeout = name, timeout
        self._waiting = waiting if bus.has_interrupt else "poll"
        self._arch = self._identify(arch)
        self._at_rest = False
        """Whether it is known that the machine touches no memory."""

    @property
    def name(self) -> str:
        return self._name

    @property
    def arch(self) -> Arch:
        return self._arch

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

    def _rest(self) -> None:
        """RESET, and wait for the end of all that is under way on the memory bus.

        Only then may memory that the machine was given serve something else.
        """
        self._at_rest = False
        self.write("CONTROL", Control.RESET)
        deadline, looks = time.monotonic() + self.PATIENCE, 0
        while self.read("STATUS") & Status.BUSY:
            looks += 1
            # Time alone says nothing: the system may have let this process wait meanwhile.
            if looks > self.LOOKS and time.monotonic() > deadline:
                raise FalconetError(
                    f"{self._name}: the machine does not come to rest after RESET, its memory bus "
                    "does not answer; load the bitstream again"
                )
            self._bus.pause()
        self._at_rest = True

    def _prepare(
        self, program: Program, buffers: Mapping[Segment, Buffer], sizes: Mapping[Segment, int],
    ) -> None:
        """All but START: reset, windows (empty where there is no buffer), program, interrupt."""
        if self._at_rest:
            self.write("CONTROL", Control.RESET)
        else:
            self._rest()
        for s, size in sizes.items():
            buffer = buffers.get(s)
            self.write(f"{s.name}_BASE", buffer.physical_address if buffer else 0)
            self.write(f"{s.name}_SIZE", size)
        self.write("PROGRAM_OFFSET", 0)
        self.write("PROGRAM_LENGTH", program.n_instructions)
        self.write("IRQ_ENABLE", int(self._waiting != "poll"))

    def _finish(
        self, program: Program, buffers: Mapping[Segment, Buffer], sizes: Mapping[Segment, int],
    ) -> None:
        """Wait for the end of a run; arguments as of :meth:`_prepare`."""
        deadline = time.monotonic() + self._timeout
        while True:
            left = deadline - time.monotonic()
            wake = (
                Wake.TIMEOUT if left <= 0
                else self._bus.pause() if self._waiting == "poll"
                else self._bus.wait(min(left, self.PATIENCE))
            )
            status = self.read("STATUS")
            if status & (Status.DONE | Status.ERROR):
                break
            if left <= 0 or wake is Wake.STALLED:
                raise FalconetError(f"{self._name}: {explain_timeout(program, self._retired())}")
        self._at_rest = True
        if self._waiting != "poll" and wake is not Wake.INTERRUPT:
            # It may have come between the end of the wait and the look at STATUS.
            if self._bus.wait(self.MOMENT) is not Wake.INTERRUPT:
                self._no_interrupt()
        if status & Status.ERROR:
            bases = {s: b.physical_address for s, b in buffers.items()}
            code, info = ErrorCode(self.read("ERROR_CODE")), self.read("ERROR_INFO")
            message = explain_error(program, code, info, self._retired(), bases, dict(sizes))
            raise FalconetError(f"{self._name}: {message}")

    def _no_interrupt(self) -> None:
        message = (
            f"{self._name}: the machine is done, but its interrupt did not come; check the "
            "device-tree node of interrupt IRQF2P[0] (docs/board.md)"
        )
        if self._waiting == "interrupt":
            raise FalconetError(f"{message}, or use waiting='poll'")
        self._waiting = "poll"
        warnings.warn(f"{message}; polling from now on", RuntimeWarning, stacklevel=5)

    def _retired(self) -> dict[Engine, int]:
        return {e: self.read(f"RETIRED_{e.name}") for e in Engine}
