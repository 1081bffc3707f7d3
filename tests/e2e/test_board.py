"""Designs of boards, whole, behind simulated processing systems, run by the board's driver.

RetinaFace on the PYNQ-Z2's, with a smaller input where many frames are run; random programs on the
AUP-ZU3's with a small machine in it.
"""

from __future__ import annotations

import asyncio
import dataclasses

import numpy as np
import pytest
from programs import random_inputs, random_program
from same import same_detections

from falconet.compiler import compile_model
from falconet.isa import Program, board
from falconet.runtime.driver import Seen
from falconet.runtime.profile import layer_profiles
from falconet.runtime.stream import stream
from falconet_app.commands.sources import network_input, program_of
from falconet_models.cache import cached_quantised
from falconet_models.data import photograph
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.hosts.zynq import ZynqDevice
from falconet_sim.iss.simulator import IssDevice
from falconet_sim.rtl.board import RtlDevice

# The driver polls, with a warning, where the interrupt does not come.
pytestmark = pytest.mark.filterwarnings("error:.*its interrupt did not come:RuntimeWarning")
NAMES = ("astronaut", "faces_large", "faces_medium")


@pytest.fixture(scope="module")
def program() -> Program:
    return program_of("retinaface", "pynq-z2")


@pytest.fixture(scope="module")
def small() -> Program:
    model = cached_quantised("retinaface", height=160, width=160)
    return compile_model(str(model), board("pynq-z2").arch, "retinaface")


@pytest.fixture(scope="module")
def machine() -> ZynqDevice:
    return ZynqDevice(board("pynq-z2"))


def inputs(program: Program, name: str) -> dict[str, np.ndarray]:
    return dict(network_input(program, photograph(name)).as_dict())


def same_as_golden(program: Program, name: str, seen: Seen) -> None:
    expected = GoldenDevice(program).run(inputs(program, name))
    same_detections("zynq", seen.result.detections, expected.detections)
    for output, value in expected.outputs.items():
        assert np.array_equal(seen.result.outputs[output], value)
    assert len(seen.objects) == len(expected.detections.records) > 0


def test_retinaface_through_the_processing_system(machine: ZynqDevice, program: Program) -> None:
    machine.load(program)
    seen = machine.see(photograph("astronaut"))
    same_as_golden(program, "astronaut", seen)
    face = seen.objects[0]
    assert face.class_name == "face" and face.score > 0.99
    # The astronaut's face in the photograph, by eye.
    assert 160 < face.x < 190 and 50 < face.y < 75 and 70 < face.w < 110 and 90 < face.h < 135


def test_stream_equals_one_by_one(machine: ZynqDevice, small: Program) -> None:
    machine.load(small)
    order = []
    for shown in stream(machine, [photograph(n) for n in NAMES]):
        same_as_golden(small, NAMES[int(shown.name)], shown.seen)
        assert set(shown.seconds) == {"prepare", "machine", "read"}
        order.append(shown.name)
    assert order == ["0", "1", "2"]


def test_coroutines_go_on(machine: ZynqDevice, small: Program) -> None:
    machine.load(small)
    ticks = 0

    async def both() -> Seen:
        nonlocal ticks
        run = asyncio.ensure_future(
            asyncio.to_thread(machine.see, photograph("faces_large")))
        while not run.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return run.result()

    same_as_golden(small, "faces_large", asyncio.run(both()))
    assert ticks > 10


def test_layers_by_polling_agree_with_the_trace(machine: ZynqDevice, program: Program) -> None:
    """Every layer's cycles within 1 % of the run, most within 0.05 %."""
    given = inputs(program, "astronaut")
    machine.load(program)
    polled = machine.profile(given)
    exact = RtlDevice.for_program(program).run(given)
    # Reading registers costs the machine nothing; a refresh of the memory comes when it comes.
    assert abs(polled.cycles - exact.cycles) < 0.001 * exact.cycles
    assert polled.detections == exact.detections
    found, expected = (
        layer_profiles(program, r.trace.start, r.trace.retire, r.cycles) for r in (polled, exact))
    assert [f.name for f in found] == [e.name for e in expected]
    assert sum(f.cycles for f in found) == polled.cycles
    off = [abs(f.cycles - e.cycles) / exact.cycles for f, e in zip(found, expected)]
    assert max(off) < 0.01 and np.median(off) < 0.0005, sorted(off)[-5:]


def test_programs_through_the_ultrascale_s_processing_system() -> None:
    machine = ZynqDevice(dataclasses.replace(board("aup-zu3"), preset="tiny"))
    for seed in range(4):
        small = random_program(machine.arch, seed)
        given = random_inputs(small, seed)
        machine.load(small)
        found, expected = machine.run(given).outputs, IssDevice(small).run(given).outputs
        assert expected and found.keys() == expected.keys()
        for name, value in expected.items():
            assert np.array_equal(found[name], value)
