"""Many photographs: while the machine works on one, the next is prepared and the former is read."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.runtime.detections import Options
from falconet.runtime.driver import Driver, Seen, Slot
from falconet.runtime.photographs import photographs
from falconet.runtime.preprocess import Frame

__all__ = ["Shown", "stream"]

Photograph = NDArray[np.uint8]


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

    Two slots take turns: while the machine works on one photograph, the next is read, scaled and
    written to memory, and the objects of the former are read. Closing the generator early waits
    for the machine, which can then be used as before; so does an error of the source.
    """
    running: _Under | None = None
    turn = 0
    try:
        for name, photograph in photographs(source):
            slot, began = machine.slot(turn), time.perf_counter()
            frame = machine.stage_photograph(slot, photograph, options)
            next_ = _Under(name, photograph, slot, frame, time.perf_counter() - began)
            done, running = running, None
            if done is not None:
                machine.wait()
            machine.start(slot)
            running, turn = next_, 1 - turn
            if done is not None:
                yield _shown(machine, done)
        if running is not None:
            done, running = running, None
            machine.wait()
            yield _shown(machine, done)
    finally:
        if running is not None:
            machine.wait()


def _shown(machine: Driver, done: _Under) -> Shown:
    began = time.perf_counter()
    seen = machine.seen(done.slot, done.frame)
    seconds = {"prepare": done.prepare, "machine": done.slot.seconds,
               "read": time.perf_counter() - began}
    return Shown(done.name, done.photograph, seen, seconds)
