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
    INSTRUCTION_BITS,
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
from falconet.runtime.driver import Driver
from falconet_sim.compare.hazards import check_hazards, required_waits
from falconet_sim.compare.lockstep import compare_rtl
from falconet_sim.iss.simulator import IssDevice
from falconet_sim.rtl.board import RtlDevice, SimBoard

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


@pytest.mark.parametrize("way", illegal.FILES)
def test_files_that_never_reach_the_machine(board: SimBoard, way: str) -> None:
    before = board.cycle
    for seed in range(30):
        data = illegal.file(np.random.default_rng(seed), random_program(TINY, seed % 3), way)
        with pytest.raises(FalconetError) as error:
            Program.from_bytes(data, "net.flc")
        assert str(error.value).startswith("net.flc: ") and str(error.value).isprintable()
    assert board.cycle == before
    works(board, TINY)


def test_what_the_machine_does_not_look_at(board: SimBoard) -> None:
    """Bits beyond an instruction's last field, and the low bits of a byte offset: the decoder
    refuses them, the machine passes over them."""
    program = random_program(TINY, 3)
    inputs = random_inputs(program, 3)
    expected = IssDevice(program).run(inputs).outputs
    code = bytearray(program.code)
    for i, ins in enumerate(program.instructions()):
        last = max(f.offset + f.width for f in ins.layout)
        word = int.from_bytes(code[i * 64 : i * 64 + 64], "little")
        word |= (1 << INSTRUCTION_BITS) - (1 << last)
        if (at := next((f.offset for f in ins.layout if f.name == "offset"), 0)):
            word |= 7 << at
        code[i * 64 : i * 64 + 64] = word.to_bytes(64, "little")
    odd = Program(TINY, bytes(code), program.header)
    with pytest.raises(FalconetError, match="bits set beyond its last field"):
        IssDevice(odd).run(inputs)
    with Driver(board, board, name="board", arch=TINY, timeout=60) as device:
        device.load(odd)
        found = device.run(inputs)
    for name, value in expected.items():
        np.testing.assert_array_equal(found.outputs[name], value)


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


SEEDS = {"tiny": range(24), "pynq-z2": range(6)}


@pytest.mark.parametrize("arch, seed", [(a, seed) for a, seeds in SEEDS.items() for seed in seeds])
def test_legal_streams_in_lock_step(devices: dict[Arch, RtlDevice], arch: str, seed: int) -> None:
    """Instructions of all engines at once, no wait more than needed."""
    machine = preset(arch)
    if machine not in devices:
        devices[machine] = RtlDevice(machine, memory_bytes=4 << 20, stall_cycles=20_000,
                                     log_writes=True)
    program, inputs = overlapping(machine, seed)
    assert compare_rtl(program, inputs, devices[machine]) is None


@pytest.mark.parametrize("arch", SEEDS)
def test_legal_streams_have_all_instructions(arch: str) -> None:
    """Over the seeds above; and most of them keep all five engines busy."""
    programs = [mixed_program(preset(arch), seed)[0].instructions() for seed in SEEDS[arch]]
    assert {type(i) for p in programs for i in p} == set(instruction_classes())
    busy = [{i.engine for i in p} >= set(Engine) for p in programs]
    assert sum(busy) > len(busy) // 2
