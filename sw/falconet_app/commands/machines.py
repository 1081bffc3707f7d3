"""Devices by name, and the proof that they agree."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError, Program
from falconet_app.commands.console import working

__all__ = [
    "LABELS", "DeviceName", "Devices", "agreement", "make_device", "require_equal",
    "require_same", "run_on",
]

Int8 = NDArray[np.int8]


class DeviceName(str, enum.Enum):
    """What a program can run on."""

    golden = "golden"
    iss = "iss"
    rtl = "rtl"


LABELS = {
    DeviceName.golden: "golden model", DeviceName.iss: "instruction-set simulator",
    DeviceName.rtl: "RTL in Verilator",
}


def make_device(name: DeviceName, program: Program) -> Any:
    """The device called ``name`` with ``program`` loaded."""
    if name is DeviceName.golden:
        from falconet_sim.golden.device import GoldenDevice

        return GoldenDevice(program)
    if name is DeviceName.iss:
        from falconet_sim.iss.simulator import IssDevice

        return IssDevice(program)
    from falconet_sim.rtl.board import RtlDevice

    with working(f"build the RTL simulator of {program.arch.name}"):
        return RtlDevice.for_program(program)


def run_on(name: DeviceName, device: Any, inputs: Mapping[str, Int8], options: Any = None) -> Any:
    """One frame; the device's ``RunResult``. ``options`` are those of its detection head."""
    with working(f"run on the {LABELS[name]}"):
        return device.run(dict(inputs), options)


def require_equal(reference: Mapping[str, Int8], other: Mapping[str, Int8], what: str) -> None:
    """Every byte of ``other`` equals the golden model's.

    Raises
    ------
    FalconetError
        Names the first output and element in which ``what`` differs from the golden model.
    """
    if set(reference) != set(other):
        raise FalconetError(
            f"{what}: outputs {sorted(other)} are not those of the golden model, "
            f"{sorted(reference)}; compile the network again"
        )
    for name, expected in reference.items():
        actual = np.asarray(other[name])
        if actual.shape != expected.shape:
            raise FalconetError(f"{what}: output '{name}' is {list(actual.shape)}, the golden "
                                f"model's {list(expected.shape)}; compile the network again")
        wrong = np.argwhere(actual != expected)
        if len(wrong):
            at = tuple(int(i) for i in wrong[0])
            raise FalconetError(
                f"{what}: output '{name}' differs from the golden model in {len(wrong)} of "
                f"{expected.size} bytes, first at {list(at)}: {actual[at]} instead of "
                f"{expected[at]}; run 'falconet compare' to find the instruction"
            )


def require_same(reference: Any, other: Any, what: str) -> None:
    """Two results (``RunResult``) are equal in every byte: outputs, records, landmarks, counts.

    Raises
    ------
    FalconetError
        Names the first place in which ``what`` differs from the golden model.
    """
    require_equal(reference.outputs, other.outputs, what)
    expected, actual = reference.detections, other.detections
    if expected is None or expected == actual:
        return
    if actual is None:
        raise FalconetError(f"{what}: there are no boxes; compile the network again")
    wrong = f"{what}: the boxes differ from the golden model's"
    if actual.candidates != expected.candidates:
        raise FalconetError(
            f"{wrong}: {actual.candidates} candidates instead of {expected.candidates}")
    for part in ("records", "landmarks"):
        ours, theirs = getattr(actual, part).tolist(), getattr(expected, part).tolist()
        if len(ours) != len(theirs):
            raise FalconetError(f"{wrong}: {len(ours)} {part} instead of {len(theirs)}")
        at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), None)
        if at is not None:
            raise FalconetError(
                f"{wrong}, first in {part}[{at}]: {ours[at]} instead of {theirs[at]}")
    raise FalconetError(f"{wrong}: other shapes; compile the network again")


def agreement(found: Mapping[DeviceName, Any]) -> str:
    """The sentence that says which devices gave the same bytes."""
    first = next(iter(found.values()))
    shown = " = ".join("golden" if d is DeviceName.golden else d.value.upper() for d in found)
    size, boxes = sum(v.size for v in first.outputs.values()), ""
    if first.detections is not None:
        size += first.detections.records.nbytes + first.detections.landmarks.nbytes + 8
        boxes = " (boxes, landmarks, counts)"
    return f"{shown}: all {size:,} output bytes{boxes} are equal"


class Devices:
    """A device, opened once; with ``verify`` also those that it must agree with in every byte.

    ``quiet`` where a bar is shown already: a run does not show that it is under way.
    """

    def __init__(self, program: Program, device: DeviceName, verify: bool = False, *,
                 quiet: bool = False) -> None:
        wanted = {device, DeviceName.golden, DeviceName.iss} if verify else {device}
        self._devices = {d: make_device(d, program) for d in DeviceName if d in wanted}
        self._device, self._quiet = device, quiet
        self.proof: list[str] = []
        """The sentence that says which devices agreed in the last run, if there are several."""

    def run(self, inputs: Mapping[str, Int8], options: Any = None) -> Any:
        """One frame; the device's ``RunResult``.

        Raises
        ------
        FalconetError
            Names the first byte in which two devices differ.
        """
        found = {
            d: device.run(dict(inputs), options) if self._quiet else
            run_on(d, device, inputs, options) for d, device in self._devices.items()
        }
        if len(found) > 1:
            for d, result in found.items():
                require_same(found[DeviceName.golden], result, LABELS[d])
            self.proof = [agreement(found)]
        return found[self._device]
