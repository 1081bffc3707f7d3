"""Why a machine stopped, in a sentence: right for good programs, bounded for hostile ones."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from programs import Assembler

from falconet.isa import (
    Engine,
    ErrorCode,
    Instruction,
    Load,
    LoadImage,
    Mac,
    Program,
    Segment,
    Store,
    preset,
)
from falconet.runtime.diagnosis import explain_error, explain_timeout

TINY = preset("tiny")
BASES = {s: 0x1000_0000 + 0x10_0000 * s for s in Segment}
SIZES = {s: 0x1000 for s in Segment}
NOTHING = dict.fromkeys(Engine, 0)


def program_of(*instructions: Instruction) -> Program:
    asm = Assembler(TINY, serial=False)
    for ins in instructions:
        asm.add(ins)
    return asm.program()


def why(program: Program, code: ErrorCode, info: int, retired: dict[Engine, int] = NOTHING) -> str:
    return explain_error(program, code, info, retired, BASES, SIZES)


@pytest.mark.parametrize("ins, at, named", [
    (Load(segment=1, offset=0x800, run=4), 0x800, True),
    (Load(segment=1, offset=0x800, run=4), 0x818, True),
    (Load(segment=1, offset=0x800, run=4), 0x820, False),
    (Load(segment=1, offset=0x800, run=4), 0x780, False),
    (Load(segment=1, run=2, n1=5, ddr_step1=0x100), 0x408, True),
    (Load(segment=1, run=2, n1=5, ddr_step1=0x100), 0x500, False),
    (Load(segment=1, run=2, n1=5, n2=7, ddr_step1=0x20, ddr_step2=0x200), 0xC88, True),
    (Load(segment=1, run=2, n1=5, n2=7, ddr_step1=0x20, ddr_step2=0x200), 0xD00, False),
    (Load(segment=1, offset=0xFFFF_FFF0, run=4), -0x10, True),
    (Load(segment=1, offset=0xFFFF_FFF0, run=4), 0x8, True),
    (Load(segment=1, run=1, n1=3, ddr_step1=0x8000_0000), -0x8000_0000, True),
    (LoadImage(segment=1, offset=8, n_rows=9, pitch=0x48, row_bytes=9), 0x98, True),
    (LoadImage(segment=1, offset=8, n_rows=9, pitch=0x48, row_bytes=9), 0xA8, False),
    (Store(segment=1, offset=0x40, run=4), 0x58, True),
])
def test_the_transfer_that_touches_an_address_is_named(ins: Instruction, at: int, named: bool
                                                       ) -> None:
    text = why(program_of(Mac(), ins), ErrorCode.WINDOW, BASES[Segment.INPUT] + at & 0xFFFF_FFFF)
    assert ("by instruction 1" in text) == named, text


def test_retired_instructions_are_past() -> None:
    load = Load(segment=1, run=4)
    program = program_of(*[load] * 5)
    text = why(program, ErrorCode.READ, BASES[Segment.INPUT], NOTHING | {Engine.LOAD: 3})
    assert "by instruction 3" in text


def test_a_hostile_box_costs_little() -> None:
    """16.8 million runs an instruction, thousands of instructions."""
    huge = [Load(segment=1, n1=4095, n2=4095, run=1, ddr_step1=0x8000, ddr_step2=0x1008 * k)
            for k in range(1, 4)]
    program = program_of(*huge * 1000)
    began = time.process_time()
    tracemalloc.start()
    why(program, ErrorCode.WINDOW, 0x7777_7770)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20
    assert time.process_time() - began < 10


def test_a_time_out_of_bytes_that_are_no_instruction() -> None:
    program = program_of(Load(segment=1), Mac(wait_load=2), Store(segment=2))
    code = bytearray(program.code)
    code[2 * 64 + 63] = 1  # beyond the last field: the machine does not look at it
    text = explain_timeout(Program(TINY, bytes(code), program.header),
                           NOTHING | {Engine.LOAD: 1})
    assert text.startswith("the run did not end in time: ") and "MAC at instruction 1" in text
    assert "instruction 2" in text and "beyond its last field" in text


def test_a_window_left_by_bytes_that_are_no_instruction() -> None:
    program = program_of(Load(segment=1, run=4), Store(segment=2))
    code = bytearray(program.code)
    code[64:128] = b"\xff" * 64
    text = why(Program(TINY, bytes(code), program.header), ErrorCode.WINDOW,
               BASES[Segment.INPUT] + 8)
    assert "by instruction 0 (LOAD" in text
