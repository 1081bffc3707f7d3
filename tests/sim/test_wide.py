"""A machine whose MAC array has fewer rows than columns: programs, networks, cycles."""

from __future__ import annotations

import pytest
from devices import run_all
from networks import zoo_of_operators
from programs import overlapping_program, random_inputs
from wide import WIDE

from falconet.compiler import compile_graph
from falconet.isa import Mac, Program
from falconet.isa.machine.cycles import reads, steps
from falconet_sim.compare.lockstep import compare_rtl
from falconet_sim.rtl.board import RtlDevice
from falconet_sim.timing.banks import read_banks
from falconet_sim.timing.estimate import estimate

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def device() -> RtlDevice:
    return RtlDevice(WIDE, memory_bytes=4 << 20, stall_cycles=20_000, log_writes=True)


@pytest.mark.parametrize("seed", range(8))
def test_random_programs_in_lock_step(device: RtlDevice, seed: int) -> None:
    program, inputs = overlapping_program(WIDE, seed)
    assert compare_rtl(program, inputs, device) is None


@pytest.mark.parametrize("seed", range(2))
def test_a_network(device: RtlDevice, seed: int) -> None:
    """Golden model, simulator and RTL agree, and so does the estimate of cycles."""
    program = Program.from_bytes(compile_graph(zoo_of_operators(seed), WIDE).to_bytes())
    assert program.arch == WIDE
    inputs = random_inputs(program)
    assert compare_rtl(program, inputs, device) is None
    found = run_all(program, inputs)
    assert estimate(program).cycles == pytest.approx(found.cycles, rel=0.02)


def test_a_word_takes_two_steps_and_one_read() -> None:
    view = {"in_h": 64, "in_w": 64}
    mac = Mac(n_ob=3, n_y=2, n_x=5, n_ky=1, n_kx=1, n_ib=7, **view)
    assert steps(mac, WIDE) == 3 * (2 + 2 * 2 * 5 * 7)
    assert reads(mac, WIDE) == 0.5
    banks = read_banks(mac, WIDE, 0, 20).reshape(10, 2)
    assert (banks[0] == -1).all() and (banks[1:, 1] == -1).all() and (banks[1:, 0] >= 0).all()
