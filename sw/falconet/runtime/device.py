"""The one interface of everything that runs a program: simulators and boards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, FalconetError, Program, near
from falconet.runtime.detections import Detections, Options

__all__ = ["Device", "Int8", "RunResult", "Trace", "check_inputs"]

Int8 = NDArray[np.int8]


@dataclass
class Trace:
    """When each instruction ran, in cycles since the first fetch.

    ``start[i]`` and ``retire[i]`` belong to instruction ``i`` of the program, END included (for it
    both are the cycle of DONE).
    """

    start: NDArray[np.int64]
    retire: NDArray[np.int64]


@dataclass
class RunResult:
    """What one run gave.

    Parameters
    ----------
    outputs:
        Output tensors by name, int8 [C, H, W].
    cycles:
        Clock cycles from the first fetch to DONE; None where there is no clock.
    busy:
        For each engine the cycles in which it had work under way; empty where there is no clock.
    seconds:
        Wall-clock time of the run, data transfer included.
    trace:
        Start and retirement of every instruction, where the device can watch them.
    detections:
        The boxes, if the program has a detection head (``Program.detect``).
    """

    outputs: dict[str, Int8]
    cycles: int | None = None
    busy: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    trace: Trace | None = None
    detections: Detections | None = None


class Device(Protocol):
    """A machine, or a model of one: ``load`` a program once, ``run`` it as often as you like.

    Both raise :class:`~falconet.isa.FalconetError`: ``load`` if the program is made for another
    machine, ``run`` for inputs that do not fit the program or if the machine stops.
    """

    @property
    def name(self) -> str: ...

    @property
    def arch(self) -> Arch: ...

    def load(self, program: Program) -> None: ...

    def run(self, inputs: dict[str, Int8], options: Options | None = None) -> RunResult:
        """Run the network once on int8 inputs [C, H, W], named as in the program.

        ``options`` are those of its detection head; without one they do nothing.
        """
        ...


def check_inputs(tensors: list[dict[str, Any]], inputs: dict[str, Int8]) -> None:
    """Refuse inputs that are not exactly those of ``program.header["inputs"]``."""
    known = {str(t["name"]): tuple(t["shape"]) for t in tensors}
    for name in inputs:
        if name not in known:
            raise FalconetError(
                f"input '{name}' is unknown to the program; {near(name, known)}it takes: "
                f"{', '.join(sorted(known))}"
            )
    for name, shape in known.items():
        value = inputs.get(name)
        if value is None or value.shape != shape or value.dtype != np.int8:
            got = "nothing" if value is None else f"{value.dtype} {list(value.shape)}"
            raise FalconetError(
                f"input '{name}': got {got}; give an int8 array of shape {list(shape)}"
            )
