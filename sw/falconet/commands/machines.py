"""Devices by name, and the proof that they agree."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.commands.console import working
from falconet.isa import FalconetError, Program

__all__ = ["LABELS", "DeviceName", "make_device", "require_equal", "run_on"]

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
        from falconet_sim.golden import GoldenDevice

        return GoldenDevice(program)
    if name is DeviceName.iss:
        from falconet_sim.iss import IssDevice

        return IssDevice(program)
    from falconet_sim.rtl import RtlDevice

    with working(f"build the RTL simulator of {program.arch.name}"):
        return RtlDevice.for_program(program)


def run_on(name: DeviceName, device: Any, inputs: Mapping[str, Int8]) -> Any:
    """One frame; the device's ``RunResult``."""
    with working(f"run on the {LABELS[name]}"):
        return device.run(dict(inputs))


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
