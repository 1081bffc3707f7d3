"""Every way to be illegal: the machine stops with the right status, touches nothing outside its
windows, and runs the next program. And streams that are legal, at their boldest.
"""

from __future__ import annotations

import re

import illegal
import numpy as np
import pytest
from bad_runs import Ended, new_board, run_bad, works
from illegal import HOW, WAYS, Bad, narrowed
from programs import mixed_program, random_inputs, random_program

from falconet.isa import (
    Arch,
    Engine,
    ErrorCode,
    FalconetError,
    Instruction,
    Load,
    LoadImage,
    Program,
    Status,
    Store,
    instruction_classes,
    preset,
)
from falconet_sim.compare import compare_rtl
from falconet_sim.hazards import check_hazards, required_waits
from falconet_sim.iss import IssDevice
from falconet_sim.rtl import RtlDevice, SimBoard

pytestmark = pytest.mark.timeout(900)
TINY = preset("tiny")


@pytest.fixture(scope="module")
def board() -> SimBoard:
    return new_board(TINY)


def check(board: SimBoard, bad: Bad, seed: int = 0) -> Ended:
    """Status, code and information as they must be, and what the simulator says."""
    inputs = random_inputs(bad.program, seed)
    ended = run_bad(board, bad.program, inputs, registers=bad.registers)
    if bad.code is None:
        assert ended.status == Status.BUSY and sum(ended.retired.values()) == bad.info
    else:
        info = bad.info + (ended.bases[bad.segment] if bad.segment is not None else 0)
        assert (ended.status, ErrorCode(ended.code)) == (Status.ERROR, bad.code)
        assert ended.info == info & 0xFFFF_FFFF, f"{ended.info:#x}, not {info:#x}"
    if bad.iss:
        with pytest.raises(FalconetError) as error:
            IssDevice(bad.program).run(inputs)
        assert re.search(bad.iss, str(error.value))
    return ended


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("way", WAYS)
def test_each_way(board: SimBoard, way: str, seed: int) -> None:
    rng = np.random.default_rng([seed, len(way)])
    check(board, WAYS[way](rng, random_program(TINY, seed)), seed)
    works(board, TINY, seed)


def test_every_unknown_opcode(board: SimBoard) -> None:
    rng, program = np.random.default_rng(0), random_program(TINY, 1)
    for value in range(256):
        if value not in illegal.OPCODES:
            check(board, illegal.opcode(rng, program, value, at=0))
    works(board, TINY)


FIELDS = sorted({(c.mnemonic, f.name) for c, f, _ in narrowed()})


@pytest.mark.parametrize("mnemonic, name", FIELDS)
def test_every_field_that_the_machine_checks(board: SimBoard, mnemonic: str, name: str) -> None:
    rng, program = np.random.default_rng(1), random_program(TINY, 2)
    for which in narrowed():
        if (which[0].mnemonic, which[1].name) == (mnemonic, name):
            check(board, illegal.out_of_range(rng, program, which))
    works(board, TINY)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", [Load, LoadImage, Store])
def test_every_way_out_of_a_window(board: SimBoard, kind: type[Instruction], how: str) -> None:
    if how == "read-only" and kind is not Store:
        return
    rng = np.random.default_rng(2)
    for seed in range(12):
        check(board, illegal.window(rng, random_program(TINY, seed), kind, how), seed)
    works(board, TINY)


def test_fields_that_are_not_checked() -> None:
    """docs/isa.md: all others may have any value as far as the machine is concerned."""
    refused = {(c.mnemonic, f.name) for c, f, _ in narrowed()}
    assert ("ELTW", "n_src") in refused and ("LOAD", "dst") in refused
    counts = [f"{c.mnemonic}.{f.name}" for c in instruction_classes() for f in c.layout
              if f.name.startswith("n_") and (c.mnemonic, f.name) not in refused]
    assert not counts


# ---------------------------------------------------------------------- legal


@pytest.fixture(scope="module")
def devices() -> dict[Arch, RtlDevice]:
    return {}


def overlapping(arch: Arch, seed: int) -> tuple[Program, dict[str, np.ndarray]]:
    """Every engine runs as far ahead as it may."""
    serial, inputs = mixed_program(arch, seed)
    program, inputs = mixed_program(arch, seed, waits=required_waits(serial, inputs))
    check_hazards(program, inputs)
    return program, inputs


@pytest.mark.parametrize("arch, seed", [
    *(("tiny", seed) for seed in range(24)), *(("pynq-z2", seed) for seed in range(4))])
def test_legal_streams_in_lock_step(devices: dict[Arch, RtlDevice], arch: str, seed: int) -> None:
    """All ten instructions, all five engines at once, no wait more than needed."""
    machine = preset(arch)
    if machine not in devices:
        devices[machine] = RtlDevice(machine, memory_bytes=4 << 20, stall_cycles=20_000,
                                     log_writes=True)
    program, inputs = overlapping(machine, seed)
    assert {i.engine for i in program.instructions()} == {*Engine, None}
    assert compare_rtl(program, inputs, devices[machine]) is None


def test_legal_streams_have_all_instructions() -> None:
    seen = {type(i) for s in range(8) for i in mixed_program(TINY, s)[0].instructions()}
    assert seen == set(instruction_classes())
