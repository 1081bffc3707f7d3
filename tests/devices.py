"""Golden model, instruction-set simulator and RTL on the same program and inputs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from same import same_detections

from falconet.isa import Arch, Program
from falconet.runtime.detections import Options
from falconet.runtime.device import RunResult
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.simulator import IssDevice
from falconet_sim.rtl.board import RtlDevice


@cache
def board(arch: Arch) -> RtlDevice:
    """One simulated board for all tests of a process."""
    return RtlDevice(arch, timeout=300)


def kept(program: Program, inputs: dict[str, np.ndarray], folder: Path = Path("build/failures")
         ) -> str:
    """Save a case on which devices part; the command that shows where."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / program.header.get("model", "program")
    program.save(f"{stem}.flc")
    np.savez(f"{stem}.npz", **inputs)
    return (f"see where: falconet compare {stem}.flc --image {stem}.npz --waveform {stem}.vcd")


def same_as_simulator(device: RtlDevice, program: Program, inputs: dict[str, np.ndarray]) -> None:
    """Run on ``device`` and demand the instruction-set simulator's bytes and boxes."""
    expected = IssDevice(program).run(inputs)
    device.load(program)
    found = device.run(inputs)
    try:
        for name, value in expected.outputs.items():
            np.testing.assert_array_equal(found.outputs[name], value, name)
        same_detections(device.name, found.detections, expected.detections)
    except AssertionError as e:
        raise AssertionError(f"{e}; {kept(program, inputs)}") from None


def run_all(
    program: Program, inputs: dict[str, np.ndarray], options: Options | None = None,
) -> RunResult:
    """Run everywhere, demand equal bytes; the RTL's result."""
    golden, iss, rtl = GoldenDevice(program), IssDevice(program), board(program.arch)
    rtl.load(program)
    expected, found = golden.run(inputs, options), {
        "iss": iss.run(inputs, options), "rtl": rtl.run(inputs, options),
    }
    for name, result in found.items():
        assert result.outputs.keys() == expected.outputs.keys()
        for output, value in expected.outputs.items():
            different = np.argwhere(result.outputs[output] != value)
            assert not len(different), (
                f"{name}: {output} differs first at {different[0]}; {kept(program, inputs)}")
        same_detections(name, result.detections, expected.detections)
    return found["rtl"]
