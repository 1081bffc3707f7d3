"""The driver: runs a program on a machine that is reached through registers and memory only."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from falconet.isa import (
    SEGMENT_GRAIN,
    SEGMENT_PAGE,
    Arch,
    Control,
    Engine,
    FalconetError,
    Program,
    Segment,
)
from falconet.isa.program.forms import Detect
from falconet.runtime.bus import Buffer, Bus, Memory
from falconet.runtime.control import Controller
from falconet.runtime.detections import Detections, Options, pack_options, unpack_detections
from falconet.runtime.device import Int8, RunResult, Trace, check_inputs
from falconet.runtime.preprocess import Frame, Preprocessor
from falconet.runtime.tensors import image_view, pack_input, unpack_output
from falconet.runtime.vision import Detection, detections_of
from falconet.runtime.watch import watch

__all__ = ["Driver", "Seen", "Slot", "segment_sizes"]

def segment_sizes(program: Program) -> dict[Segment, int]:
    """Bytes of each segment's window: what the program asks for, rounded up to SEGMENT_GRAIN."""
    needed = program.header.get("segments", {})
    sizes = {Segment.CODE: len(program.code)}
    for s in (Segment.INPUT, Segment.OUTPUT, Segment.WORK):
        sizes[s] = int(needed.get(s.name.lower(), 0))
    return {s: -(-n // SEGMENT_GRAIN) * SEGMENT_GRAIN for s, n in sizes.items()}


@dataclass(eq=False)
class Slot:
    """One frame in memory: its segments INPUT and OUTPUT, and what its run said.

    ``lock`` is held by who writes or reads it; ``gone`` once its memory was given back.
    ``frame`` and ``options`` are those that stand in INPUT already; None if none do. ``done`` once
    OUTPUT is what the machine makes of INPUT.
    """

    buffers: dict[Segment, Buffer]
    frame: Frame | None = None
    options: Options | None = None
    cycles: int = 0
    busy: dict[str, int] = field(default_factory=dict)
    began: float = 0.0
    seconds: float = 0.0
    lent: bool = False
    done: bool = False
    gone: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)


Method = TypeVar("Method", bound=Callable[..., Any])


def _alone(method: Method) -> Method:
    """A method of a slot that nobody else writes, reads or starts meanwhile."""
    @functools.wraps(method)
    def locked(self: Driver, slot: Slot, *args: Any, **more: Any) -> Any:
        with slot.lock:
            return method(self, slot, *args, **more)

    return cast(Method, locked)


@dataclass
class Seen:
    """What the machine saw in a photograph.

    ``dropped`` candidates, the worst ones, were more than it has room for: objects may be missing,
    and a higher ``Options.score`` makes fewer candidates.
    """

    objects: list[Detection]
    result: RunResult
    frame: Frame
    dropped: int = 0


class Driver(Controller):
    """A :class:`~falconet.runtime.device.Device` behind a :class:`Bus` and a :class:`Memory`.

    It knows neither board nor simulator. The identity registers are read first: what is not a
    Falconet machine of this instruction set is refused before anything is written. It is a context
    manager that gives the memory back.

    A run is four steps, so that those of several frames can overlap: :meth:`stage` writes a slot's
    inputs, :meth:`start` sets the machine to work on it, :meth:`wait` ends when it has done so,
    and :meth:`collect` reads the slot's outputs. The machine works on one slot at a time, while
    others are staged and collected (:mod:`falconet.runtime.stream`).

    Any thread may call. :meth:`run`, :meth:`see`, :meth:`profile`, :meth:`load` and :meth:`close`
    have the machine to themselves; who comes meanwhile waits. Of the single steps, what would
    disturb a run that was started is refused; a slot is for one caller at a time.

    Attributes
    ----------
    turn:
        Held by the thread that has the machine to itself. Hold it to make several calls one, but
        not around a stream, whose threads need it.

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
    waiting:
        "interrupt"; "poll" looks at STATUS again and again; "auto" waits for the interrupt, and
        polls if there is none or it does not come.
    """

    def __init__(
        self, bus: Bus, memory: Memory, *, name: str = "machine", arch: Arch | None = None,
        timeout: float = 10.0, waiting: str = "auto",
    ) -> None:
        super().__init__(bus, name=name, arch=arch, timeout=timeout, waiting=waiting)
        self._memory = memory
        self._program: Program | None = None
        self._preprocessor: Preprocessor | None = None
        self._fixed: dict[Segment, Buffer] = {}  # CODE and WORK
        self._slots: list[Slot] = []
        self._extra: list[Slot] = []  # that lend() has made
        self._sizes: dict[Segment, int] = {}
        self._running: Slot | None = None  # from START until its end was noticed
        # Locks are taken in this order: turn, that of a slot, that of a bus.
        self.turn = threading.RLock()

    @property
    def program(self) -> Program:
        if self._program is None:
            raise FalconetError(f"{self._name}: no program is loaded; call load() first")
        return self._program

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------ programs and memory

    def load(self, program: Program) -> None:
        """Copy the program to memory; refuses one that is made for another machine.

        Whatever the machine was doing ends first: the driver before this one may have died.
        """
        if program.arch.hash != self._arch.hash:
            raise FalconetError(
                f"{self._name}: the program is for '{program.arch.name}' "
                f"(0x{program.arch.hash:08x}), the machine is '{self._arch.name}' "
                f"(0x{self._arch.hash:08x}); compile it for this machine"
            )
        with self.turn:
            self.close()
            if not self._at_rest:
                self._rest()
            self._sizes, self._program = segment_sizes(program), program
            try:
                self._fixed = self._allocate(Segment.CODE, Segment.WORK)
                self.slot(0)
            except BaseException:
                self.close()
                raise
            code = self._fixed[Segment.CODE]
            code.array[: len(program.code)] = np.frombuffer(program.code, np.uint8)
            code.flush()

    def _allocate(self, *segments: Segment) -> dict[Segment, Buffer]:
        """Memory for segments that are not empty; all of it, or none."""
        buffers: dict[Segment, Buffer] = {}
        try:
            for s in segments:
                if size := self._sizes[s]:
                    buffers[s] = self._memory.allocate(size, SEGMENT_PAGE)
                    self._check(s, size, buffers[s])
                    buffers[s].flush()
        except BaseException:
            for buffer in buffers.values():
                buffer.free()
            raise
        return buffers

    def _check(self, segment: Segment, size: int, buffer: Buffer) -> None:
        at, found = buffer.physical_address, len(buffer.array)
        wrong = (
            f"is {found} bytes, {size} are needed" if found < size
            else f"begins at 0x{at:x}, which is no multiple of {SEGMENT_PAGE}"
            if at % SEGMENT_PAGE
            else f"at 0x{at:x} lies above 4 GiB" if at + size > 2**32
            else ""
        )
        if wrong:
            raise FalconetError(
                f"{self._name}: the buffer of segment {segment.name} {wrong}; give contiguous "
                "memory of that size (docs/board.md)")

    def slot(self, index: int) -> Slot:
        """The memory of one frame, allocated when first asked for; run() and see() use slot 0."""
        with self.turn:
            while len(self._slots) <= index:
                self._slots.append(self._new_slot())
            return self._slots[index]

    def lend(self) -> Slot:
        """A slot that nobody else gets until :meth:`give_back`."""
        with self.turn:
            slot = next((s for s in self._extra if not s.lent), None)
            if slot is None:
                slot = self._new_slot()
                self._extra.append(slot)
            slot.lent = True
            return slot

    def give_back(self, slot: Slot) -> None:
        slot.lent = False

    def _new_slot(self) -> Slot:
        program = self.program
        slot = Slot(self._allocate(Segment.INPUT, Segment.OUTPUT))
        for t in program.header["inputs"]:
            if t["format"] == "image":  # what lies between the rows
                size = int(t["shape"][1]) * int(t["pitch"])
                at, zero = int(t["offset"]), np.int8(t["zero_point"])
                slot.buffers[Segment.INPUT].array[at : at + size] = zero.view(np.uint8)
        return slot

    def close(self) -> None:
        """Give the memory back; load() is needed before the next run().

        It is kept, with a FalconetError, if the machine might still write to it.
        """
        with self.turn:
            self._running = None
            slots = [*self._slots, *self._extra]
            if (self._fixed or slots) and not self._at_rest:
                self._rest()
            for slot in slots:
                with slot.lock:
                    slot.gone = True
            for buffers in (self._fixed, *(s.buffers for s in slots)):
                for buffer in buffers.values():
                    buffer.free()
            self._fixed, self._slots, self._extra = {}, [], []
            self._program = self._preprocessor = None

    # ------------------------------------------------------------------ one run

    def run(self, inputs: dict[str, Int8], options: Options | None = None) -> RunResult:
        """Run once: inputs and options to memory, START, wait, outputs and boxes from memory."""
        with self.turn:
            slot = self.slot(0)
            with slot.lock:
                self.stage(slot, inputs, options)
                self.work(slot)
                return self.collect(slot)

    def see(self, photograph: NDArray[np.uint8], options: Options | None = None) -> Seen:
        """What is in a photograph (uint8 [h, w, 3], R, G, B); objects if the network is a detector.

        It is scaled and placed as the program says, straight into the machine's memory.
        """
        with self.turn:
            slot = self.slot(0)
            with slot.lock:
                frame = self.stage_photograph(slot, photograph, options)
                self.work(slot)
                return self.seen(slot, frame)

    @_alone
    def stage(self, slot: Slot, inputs: Mapping[str, Int8], options: Options | None = None) -> None:
        """Write inputs (int8 [C, H, W]) and options to a slot that the machine does not work on."""
        tensors = self.program.header["inputs"]
        check_inputs(list(tensors), dict(inputs))
        self._free(slot)
        slot.frame, slot.done = None, False
        for t in tensors:
            data = pack_input(inputs[t["name"]], t, self._arch.lanes)
            self._put(slot, f"input '{t['name']}'", int(t["offset"]), data)
        self._staged(slot, options)

    @_alone
    def stage_photograph(
        self, slot: Slot, photograph: NDArray[np.uint8], options: Options | None = None,
    ) -> Frame:
        """As :meth:`stage`, from a photograph; where it lies in the input."""
        tensors = self.program.header["inputs"]
        if len(tensors) != 1:
            raise FalconetError(
                f"program '{self.program.header['model']}' has {len(tensors)} inputs; give them "
                "to run() instead of a photograph"
            )
        self._free(slot)
        t = tensors[0]
        if self._preprocessor is None:
            self._preprocessor = Preprocessor(
                self.program.header.get("meta", {}), float(t["scale"]), int(t["zero_point"]))
        before, slot.frame, slot.done = slot.frame, None, False
        if t["format"] == "image":
            data = slot.buffers[Segment.INPUT].array
            frame = slot.frame = self._preprocessor.into(photograph, image_view(data, t), before)
        else:
            stored, frame = self._preprocessor(photograph)
            data = pack_input(stored.transpose(2, 0, 1), t, self._arch.lanes)
            self._put(slot, f"input '{t['name']}'", int(t["offset"]), data)
        self._staged(slot, options)
        return frame

    def _free(self, slot: Slot) -> None:
        if slot.gone:
            raise FalconetError(
                f"{self._name}: the memory of this frame was given back; load a program, and ask "
                "for another slot")
        if slot is self._running:
            raise FalconetError(
                f"{self._name}: the machine works on this frame; call wait() first")

    def _staged(self, slot: Slot, options: Options | None) -> None:
        options = options or Options()
        if options != slot.options and (detect := self.program.detect):
            slot.options = None
            for at, row in pack_options(detect, options):
                self._put(slot, "detect: the options", at, np.frombuffer(row, np.uint8))
            slot.options = options
        if buffer := slot.buffers.get(Segment.INPUT):
            buffer.flush()

    def _put(self, slot: Slot, what: str, at: int, data: NDArray[np.uint8]) -> None:
        size = self._sizes[Segment.INPUT]
        if at < 0 or at + len(data) > size:
            raise FalconetError(
                f"{what}: {len(data)} bytes at {at} are not in segment INPUT of {size} bytes; "
                "recompile the network"
            )
        slot.buffers[Segment.INPUT].array[at : at + len(data)] = data

    def start(self, slot: Slot) -> None:
        """Set the machine to work on a staged slot: windows, program, START."""
        with self.turn, slot.lock:
            self._idle()
            self._free(slot)
            self._prepare(self.program, {**self._fixed, **slot.buffers}, self._sizes)
            slot.done, self._running, self._at_rest = False, slot, False
            slot.began = time.perf_counter()
            self.write("CONTROL", Control.START)

    def _idle(self) -> None:
        if self._running is not None:
            raise FalconetError(
                f"{self._name}: the machine works on another frame; call wait() first")

    def wait(self) -> None:
        """Until the machine is done; an error or a time-out is explained, and the machine reset."""
        with self.turn:
            slot = self._running
            if slot is None:
                raise FalconetError(f"{self._name}: nothing was started; call start() first")
            try:
                self._finish(self.program, {**self._fixed, **slot.buffers}, self._sizes)
                slot.cycles = self.read("CYCLES")
                slot.busy = {e.name: self.read(f"BUSY_{e.name}") for e in Engine}
                slot.seconds = time.perf_counter() - slot.began
                slot.done, self._running = True, None
            except BaseException:  # of the keyboard too
                self._give_up()
                raise

    def _give_up(self) -> None:
        try:
            with contextlib.suppress(FalconetError):  # the next step says it again
                self._rest()
        finally:
            self._running = None

    def work(self, slot: Slot, meanwhile: Callable[[], object] | None = None) -> None:
        """:meth:`start` and :meth:`wait` with nobody between them.

        ``meanwhile`` is called while the machine works. If it fails, the machine is reset.
        """
        with self.turn:
            self._idle()
            try:
                self.start(slot)
                if meanwhile is not None:
                    meanwhile()
                self.wait()
            except BaseException:
                if self._running is not None:
                    self._give_up()
                raise

    @_alone
    def collect(self, slot: Slot) -> RunResult:
        """Outputs and boxes of a slot that the machine is done with."""
        self._free(slot)
        if not slot.done:  # its run may have been given up by another's interrupt, or never begun
            raise FalconetError(
                f"{self._name}: the machine has not run this frame to its end; call start() and "
                "wait() again")
        tensors, detect = self.program.header["outputs"], self.program.detect
        outputs, detections = self._results(slot, tensors, detect)
        return RunResult(outputs, slot.cycles, slot.busy, slot.seconds, detections=detections)

    def seen(self, slot: Slot, frame: Frame) -> Seen:
        """As :meth:`collect`, with the objects in pixels of the photograph."""
        result = self.collect(slot)
        if (found := result.detections) is None:
            return Seen([], result, frame)
        objects = detections_of(self.program.header.get("meta", {}), found, frame)
        return Seen(objects, result, frame, found.dropped(self._arch.candidates))

    def profile(self, inputs: dict[str, Int8], options: Options | None = None) -> RunResult:
        """As :meth:`run`, with a trace that is read off the counters while the machine runs.

        See :mod:`falconet.runtime.watch` for what it is worth.
        """
        looked: list[Callable[[int], Trace]] = []
        with self.turn:
            slot, waiting = self.slot(0), self._waiting
            with slot.lock:
                self.stage(slot, inputs, options)
                self._waiting = "poll"
                try:
                    self.work(slot, lambda: looked.append(watch(self, self._timeout)))
                finally:
                    self._waiting = waiting
                result = self.collect(slot)
        result.trace = looked[0](slot.cycles)
        return result

    def _results(
        self, slot: Slot, tensors: Sequence[dict[str, Any]], detect: Detect | None,
    ) -> tuple[dict[str, Int8], Detections | None]:
        """The output tensors, and the boxes if the program has a head (``detect``)."""
        if not tensors and not detect:
            return {}, None
        buffer = slot.buffers.get(Segment.OUTPUT)
        if buffer is None:
            raise FalconetError("segment OUTPUT is empty, but there are outputs; recompile")
        buffer.invalidate()
        data = buffer.array[: self._sizes[Segment.OUTPUT]]
        outputs = {t["name"]: unpack_output(data, t, self._arch.lanes) for t in tensors}
        return outputs, unpack_detections(data, detect) if detect else None

    @property
    def _buffers(self) -> dict[Segment, Buffer]:
        """All of the first slot's run."""
        return {**self._fixed, **self.slot(0).buffers}
