"""Many photographs: while the machine works on one, others are read, prepared and handed out.

    source -> reader -> preparer -> machine -> who iterates
              decode    stage()     start(), wait(), seen()

Each arrow but the first is a :class:`~falconet.runtime.channel.Channel` between two threads. Of the
work of a frame nearly all is done without Python's lock (decoding, numpy, the wait for the
interrupt), so that two cores are enough.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.runtime.channel import Channel, Stopped
from falconet.runtime.detections import Options
from falconet.runtime.driver import Driver, Seen, Slot
from falconet.runtime.photographs import photographs
from falconet.runtime.preprocess import Frame

__all__ = ["Shown", "stream"]

Photograph = NDArray[np.uint8]

SLOTS = 3
"""In memory at most: one is staged, the machine works on one, one is read."""

PATIENCE = 10.0
"""Seconds that the end of a stream waits for a source that is about to give a photograph."""

FRAME_COUNT = 7
"""``cv2.CAP_PROP_FRAME_COUNT``."""


@dataclass
class Shown:
    """One photograph of a stream, and what the machine saw in it.

    ``seconds`` has, on the processor's clock, ``prepare`` (photograph to memory), ``machine``
    (START until the end was noticed) and ``read`` (memory to objects). In a stream they overlap.
    """

    name: str
    photograph: Photograph
    seen: Seen
    seconds: dict[str, float]


@dataclass
class _Under:
    """A photograph on its way through the machine."""

    name: str
    photograph: Photograph
    slot: Slot
    frame: Frame
    prepare: float


def stream(
    machine: Driver, source: Iterable[Any] | str | Path | int, options: Options | None = None,
) -> Iterator[Shown]:
    """What the machine sees in each photograph of ``source`` (:func:`photographs`), in order.

    Each result comes as soon as it is there; the source, in a thread of its own, is at most five
    photographs ahead of who iterates. Nothing is lost but of a live camera (a number, or a
    ``cv2.VideoCapture`` that knows no number of frames): there a photograph that finds the one
    before it still waiting takes its place, and so does a result. What is seen is then as new as
    can be, and the gaps between the names tell what was left out.

    An error, of the source or of a photograph, is raised after the results of all that came before
    it. When the iterator is closed, or an exception leaves it, the machine finishes its frame, the
    threads end, and a camera that was opened here is released. Meanwhile and afterwards the machine
    may be used as ever: a ``see()`` has its turn between two frames.

    ``Shown.photograph`` stays as it was, whatever the source does with its arrays: they are copied,
    but for those of a list, a tuple or an array.
    """
    stages = _Stages(machine, source, options)
    try:
        stages.begin()
        yield from stages.results
    finally:
        stages.close()


def _is_live(source: Any) -> bool:
    if isinstance(source, int):
        return True
    get = getattr(source, "get", None) if hasattr(source, "grab") else None
    return get is not None and not get(FRAME_COUNT) > 0


def _kept(source: Any) -> Any:
    """The source, its arrays copied if the next might be written over the last."""
    if isinstance(source, (str, Path, int, list, tuple, np.ndarray)) or hasattr(source, "grab"):
        return source
    return (item if isinstance(item, (str, Path)) else np.array(item) for item in source)


def _of(name: str, error: FalconetError) -> FalconetError:
    return FalconetError(f"photograph '{name}': {error}")


class _Stages:
    """The threads of a stream, and what lies between them."""

    def __init__(self, machine: Driver, source: Any, options: Options | None) -> None:
        self._machine, self._source, self._options = machine, source, options
        self._live = _is_live(source)
        self._read = Channel[tuple[str, Photograph]](0, newest=self._live)
        self._free, self._staged = Channel[Slot](SLOTS), Channel[_Under](SLOTS)
        self.results = Channel[Shown](1, newest=self._live)
        self._channels: list[Channel[Any]] = [self._read, self._free, self._staged, self.results]
        self._slots: list[Slot] = []
        self._threads: list[threading.Thread] = []
        self._stopping = False

    def begin(self) -> None:
        atexit.register(self.close)  # the machine rests when the interpreter ends
        self._slots.append(self._machine.lend())
        # One frame staged ahead is enough, and less old, where only the newest counts.
        for _ in range(1, 2 if self._live else SLOTS):
            try:
                self._slots.append(self._machine.lend())
            except FalconetError:  # memory is used up: less overlaps
                break
        for slot in self._slots:
            self._free.put(slot)
        for name, body, out in (("reader", self._reader, self._read),
                                ("preparer", self._preparer, self._staged),
                                ("machine", self._worker, self.results)):
            thread = threading.Thread(target=self._thread, args=(body, out), daemon=True,
                                      name=f"falconet stream {name}")
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stop, wait for the machine and the threads, and give back what was lent."""
        self._stopping = True
        for channel in self._channels:
            channel.stop()
        atexit.unregister(self.close)
        if threading.current_thread() in self._threads:
            return  # the iterator was forgotten, and found there by the garbage collector
        for thread in reversed(self._threads):
            thread.join(PATIENCE if thread is self._threads[0] else None)
            if thread.is_alive():
                warnings.warn(
                    f"{self._machine.name}: the stream is over, but its source has not given the "
                    f"photograph asked for in {PATIENCE:g} s; it is dropped when it comes",
                    RuntimeWarning, stacklevel=3)
        for slot in self._slots:
            self._machine.give_back(slot)

    def _thread(self, body: Callable[[], None], out: Channel[Any]) -> None:
        try:
            body()
        except Stopped:
            out.end()
        except BaseException as error:  # raised where the results are taken
            out.end(error)
        else:
            out.end()

    def _reader(self) -> None:
        with contextlib.closing(photographs(_kept(self._source))) as found:  # type: ignore[type-var]
            for item in found:
                self._read.put(item)

    def _preparer(self) -> None:
        for slot, (name, photograph) in zip(self._free, self._read):
            began = time.perf_counter()
            try:
                frame = self._machine.stage_photograph(slot, photograph, self._options)
            except FalconetError as e:
                raise _of(name, e) from e
            seconds = time.perf_counter() - began
            self._staged.put(_Under(name, photograph, slot, frame, seconds))

    def _worker(self) -> None:
        """Start the next frame before the last is read, if it is there and its result has room."""
        last: list[_Under] = []
        for item in self._staged:
            self._work(item, last)
            last = [item]
            if self._staged.is_empty or not self.results.has_room:
                self._hand_out(last)

    def _work(self, item: _Under, last: list[_Under]) -> None:
        turn = self._machine.turn
        while not turn.acquire(timeout=0.1):  # its holder may be the one who closes the stream
            if self._stopping:
                raise Stopped
        try:
            self._machine.work(item.slot, lambda: self._hand_out(last))
        except FalconetError as e:
            raise _of(item.name, e) from e
        finally:
            turn.release()

    def _hand_out(self, last: list[_Under]) -> None:
        """Read what the machine saw in the last frame, if it has not been read yet."""
        if not last:
            return
        done, began = last.pop(), time.perf_counter()
        try:
            seen = self._machine.seen(done.slot, done.frame)
        except FalconetError as e:
            self.results.end(_of(done.name, e))
            raise Stopped from None
        seconds = {"prepare": done.prepare, "machine": done.slot.seconds,
                   "read": time.perf_counter() - began}
        self.results.put(Shown(done.name, done.photograph, seen, seconds))
        self._free.put(done.slot)
