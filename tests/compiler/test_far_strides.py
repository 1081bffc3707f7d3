"""Strides that no field of the machine holds: windows inside the image, and each of the others."""

from __future__ import annotations

from collections.abc import Callable

import networks
import numpy as np
import pytest

from falconet.compiler import compile_graph
from falconet.isa import preset
from falconet_sim.compare.hazards import check_hazards
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.simulator import IssDevice

Body = Callable[[networks.Builder], list[str]]

BODIES: dict[str, Body] = {
    "patches": lambda b: [b.conv("x", 5, (8, 15), 16, pads=(0, 0, 0, 0))],
    "padding on all sides": lambda b: [
        b.conv("x", 10, (9, 3), (17, 2), pads=(8, 1, 5, 3)),
        b.conv("x", 3, (7, 9), (20, 20), groups=3, pads=(3, 3, 10, 13))],
    "rows that nobody reads, through DDR": lambda b: [
        b.maxpool("x", 20, 20, 7), b.maxpool("x", 5, 1, 2), b.maxpool("x", 3, 2, 1),
        b.maxpool("x", 2, 2), b.maxpool("x", 13, 1, 6)],
    "a dilated one": lambda b: [b.conv("x", 4, 3, (31, 1), (2, 3))],
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("arch", ["tiny", "pynq-z2"])
def test_the_simulator_computes_what_the_golden_model_does(name: str, arch: str) -> None:
    b = networks.Builder((3, 70, 67), 1)
    program = compile_graph(b.done(*BODIES[name](b)), preset(arch))
    inputs = {"x": np.random.default_rng(0).integers(-128, 128, (3, 70, 67)).astype(np.int8)}
    expected, found = (d(program).run(inputs).outputs for d in (GoldenDevice, IssDevice))
    for output, value in expected.items():
        np.testing.assert_array_equal(found[output], value)
    check_hazards(program, inputs)
