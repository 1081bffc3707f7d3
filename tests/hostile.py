"""Programs of somebody who means harm: well sealed files, whatever is inside.

They pass every check of a program file (falconet.isa.program.container), because nobody checks the
instructions there: that is the machine's part.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from programs import mixed_program, random_inputs, random_program

from falconet.isa import Arch, Engine, Instruction, Program, instruction_classes

SIZE = Arch.INSTRUCTION_BYTES
Arrays = dict[str, np.ndarray]


@cache
def legal(arch: Arch, seed: int) -> tuple[Program, Arrays]:
    if seed % 4 == 3:
        return mixed_program(arch, seed)
    program = random_program(arch, seed, 4)
    return program, random_inputs(program, seed)


def words(program: Program) -> list[bytearray]:
    return [bytearray(program.code[i * SIZE : (i + 1) * SIZE])
            for i in range(program.n_instructions)]


def joined(program: Program, code: list[bytearray]) -> bytes:
    return b"".join(code) + program.code[len(code) * SIZE :]


def noise(rng: np.random.Generator, program: Program) -> bytes:
    """Random bytes, instructions and weights."""
    return rng.bytes(len(program.code))


def opcodes(rng: np.random.Generator, program: Program) -> bytes:
    """Random bytes behind opcodes that exist and waits that are soon met."""
    code = [bytearray(rng.bytes(SIZE)) for _ in range(program.n_instructions)]
    for word in code:
        word[0] = int(rng.choice([c.opcode for c in instruction_classes()]))
        word[1:11] = bytes(10)
    return joined(program, code)


def wild_value(rng: np.random.Generator, lo: int, hi: int) -> int:
    kind = rng.integers(5)
    if kind == 0:
        return (lo, hi, min(hi, max(lo, 1)), min(hi, max(lo, 0)))[int(rng.integers(4))]
    if kind == 1:
        return int(rng.integers(lo, hi, endpoint=True))
    return int(rng.integers(max(lo, -8), min(hi, 40), endpoint=True))


def wild(rng: np.random.Generator, cls: type[Instruction]) -> Instruction:
    """Every field in its range, and no more to be said for it."""
    fields = {f.name: wild_value(rng, f.lo, f.hi) for f in cls.layout if f.name != "opcode"}
    if rng.random() < 0.9:
        fields |= {f"wait_{e.name.lower()}": 0 for e in Engine}
    if "offset" in fields and rng.random() < 0.8:
        fields["offset"] &= 0xFFF
        fields |= {k: fields[k] & 0x3FF for k in ("ddr_step1", "ddr_step2") if k in fields}
    return cls(**fields)


def fields(rng: np.random.Generator, program: Program) -> bytes:
    """Legal values in every field; engines that read what is not there and write anywhere."""
    classes = instruction_classes()
    code = [bytearray(wild(rng, classes[int(rng.integers(len(classes)))]).encode())
            for _ in range(program.n_instructions)]
    return joined(program, code)


def flipped(rng: np.random.Generator, program: Program) -> bytes:
    """A legal program with a few bits of its instructions flipped."""
    code = words(program)
    for _ in range(int(rng.integers(1, 9))):
        word = code[int(rng.integers(len(code)))]
        bit = int(rng.integers(8 * SIZE))
        word[bit // 8] ^= 1 << bit % 8
    return joined(program, code)


def extreme(rng: np.random.Generator, program: Program) -> bytes:
    """A legal program with a few fields at other legal values."""
    code, instructions = words(program), program.instructions()
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(code)))
        f = instructions[at].layout[int(rng.integers(1, len(instructions[at].layout)))]
        instructions[at] = instructions[at].replace(**{f.name: wild_value(rng, f.lo, f.hi)})
        code[at] = bytearray(instructions[at].encode())
    return joined(program, code)


def unordered(rng: np.random.Generator, program: Program) -> bytes:
    """The instructions of a legal program in another order, and none waits."""
    code = words(program)
    for word in code:
        word[1:11] = bytes(10)
    order = rng.permutation(len(code) - 1).tolist()
    return joined(program, [*(code[i] for i in order), code[-1]])


def weights(rng: np.random.Generator, program: Program) -> bytes:
    """Random weights, parameters and tables: sums overflow, scores fall, anchors are anywhere."""
    code = words(program)
    at = len(code) * SIZE
    return joined(program, code)[:at] + rng.bytes(len(program.code) - at)


KINDS: dict[str, Callable[[np.random.Generator, Program], bytes]] = {
    f.__name__: f for f in (noise, opcodes, fields, flipped, extreme, unordered, weights)
}


def hostile(arch: Arch, kind: str, seed: int) -> tuple[Program, Arrays]:
    """The program of a file that is accepted, and inputs for it."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    program, inputs = legal(arch, int(rng.integers(16)))
    made = Program(arch, KINDS[kind](rng, program), program.header)
    return Program.from_bytes(made.to_bytes()), inputs
