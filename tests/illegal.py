"""Programs that break the contract, one generator for each way to do so.

Each puts one bad instruction into a legal program, in place of another.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from falconet.isa import (
    INSTRUCTION_BITS,
    ISA_VERSION,
    Arch,
    Dst,
    End,
    Engine,
    ErrorCode,
    FalconetError,
    Field,
    Instruction,
    Load,
    LoadImage,
    Program,
    Segment,
    Store,
    instruction_classes,
)
from falconet.isa.program.container import FORMAT_VERSION
from falconet.runtime.driver import segment_sizes

SIZE = Arch.INSTRUCTION_BYTES
LINE = 128  # bytes that no burst of these machines crosses
OPCODES = {c.opcode for c in instruction_classes()}
READ_ONLY = (Segment.CODE, Segment.INPUT)


@dataclass
class Bad:
    """A program that must be stopped.

    ``code`` is None where it can only wait; ``info`` is ERROR_INFO, an address relative to the
    base of ``segment`` if there is one; ``registers`` are set after the driver has. ``iss`` is what
    the instruction-set simulator says, empty where it does not know of the fault.
    """

    program: Program
    code: ErrorCode | None
    info: int = 0
    segment: Segment | None = None
    iss: str = ""
    registers: dict[str, int] = field(default_factory=dict)


def with_instruction(program: Program, index: int, word: bytes) -> Program:
    code = bytearray(program.code)
    code[index * SIZE : (index + 1) * SIZE] = word
    return Program(program.arch, bytes(code), dict(program.header))


def somewhere(rng: np.random.Generator, program: Program) -> int:
    """An instruction before END."""
    return int(rng.integers(program.n_instructions - 1))


def waits_of(ins: Instruction) -> dict[str, int]:
    return {f"wait_{e.name.lower()}": getattr(ins, f"wait_{e.name.lower()}") for e in Engine}


# ---------------------------------------------------------------------- what is refused unread


def opcode(rng: np.random.Generator, program: Program, value: int | None = None,
           at: int | None = None) -> Bad:
    at = somewhere(rng, program) if at is None else at
    if value is None:
        value = int(rng.choice([v for v in range(256) if v not in OPCODES]))
    word = bytearray(rng.bytes(SIZE))
    word[0] = value
    return Bad(with_instruction(program, at, bytes(word)), ErrorCode.OPCODE, at,
               iss=f"instruction {at}: opcode {value} is unknown")


def narrowed() -> Iterator[tuple[type[Instruction], Field, int]]:
    """Every field whose range is smaller than its bits, with every value outside of it."""
    for cls in instruction_classes():
        for f in cls.layout:
            if f.minimum is not None or f.maximum is not None:
                assert not f.signed
                for value in range(1 << f.width):
                    if not f.lo <= value <= f.hi:
                        yield cls, f, value


def out_of_range(rng: np.random.Generator, program: Program,
                 which: tuple[type[Instruction], Field, int] | None = None) -> Bad:
    every = list(narrowed())
    cls, f, value = which or every[int(rng.integers(len(every)))]
    at = somewhere(rng, program)
    legal = cls(**waits_of(program.instructions()[at]))
    mask = (1 << f.width) - 1
    word = int.from_bytes(legal.encode(), "little") & ~(mask << f.offset) | value << f.offset
    assert word >> INSTRUCTION_BITS == 0
    return Bad(with_instruction(program, at, word.to_bytes(SIZE, "little")), ErrorCode.FIELD, at,
               iss=rf"instruction {at}: {cls.mnemonic}\.{f.name}={value} not in")


# ---------------------------------------------------------------------- files


def sealed(text: bytes, code: bytes) -> bytes:
    """A program file of this header, its checksum right."""
    body = struct.pack("<8sIIQ", b"FALCONET", FORMAT_VERSION, len(text), len(code)) + text + code
    return body + hashlib.sha256(body).digest()


def file(rng: np.random.Generator, program: Program, way: str) -> bytes:
    """The bytes of a program file that must be refused before the machine hears of it."""
    data = program.to_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    header, code = json.loads(data[24 : 24 + length]), data[24 + length : -32]
    if way == "checksum":
        at = int(rng.integers(24, len(data)))
        return data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
    if way == "cut short":
        return data[: int(rng.integers(len(data)))]
    if way == "instruction set":
        header["isa_version"] = int(rng.choice([0, ISA_VERSION - 1, ISA_VERSION + 1, 2**31]))
    elif way == "hash":
        header["arch_hash"] ^= 1 << int(rng.integers(32))
    elif way == "machine":  # with a hash that no longer fits
        header["arch"]["bank_words"] *= 2
    elif way == "more instructions than code":
        header["instructions"] = len(code) // SIZE + int(rng.integers(1, 1 << 20))
    return sealed(json.dumps(header).encode(), code)


FILES = ("checksum", "cut short", "instruction set", "hash", "machine",
         "more instructions than code")


# ---------------------------------------------------------------------- addresses


def runs_of(ins: Instruction, lanes: int) -> Iterator[tuple[int, int]]:
    """(first byte, bytes) of each run in its segment; a sum beyond 2**32 stays there."""
    if isinstance(ins, LoadImage):
        for row in range(ins.n_rows):
            yield ins.offset + row * ins.pitch, -(-ins.row_bytes // 8) * 8
        return
    for i2 in range(ins.n2):
        for i1 in range(ins.n1):
            yield ins.offset + i2 * ins.ddr_step2 + i1 * ins.ddr_step1, ins.run * lanes


def first_outside(ins: Instruction, lanes: int, size: int) -> int | None:
    """Offset of the first burst that is not wholly inside a window of ``size`` bytes."""
    refused = isinstance(ins, Store) and Segment(ins.segment) in READ_ONLY
    for begin, length in runs_of(ins, lanes):
        at = begin
        while at < begin + length:
            end = min(begin + length, (at // LINE + 1) * LINE)
            if refused or end > size:
                return at
            at = end
    return None


def transfer(rng: np.random.Generator, arch: Arch, kind: type[Instruction], how: str,
             segment: Segment, size: int) -> Instruction:
    """A transfer that leaves its segment as ``how`` says."""
    lanes = arch.lanes
    run = int(rng.integers(1, 40))
    fields = {"segment": segment, "base": 0}
    if kind is LoadImage:
        fields |= {"row_bytes": run * lanes, "n_x": 3, "step": lanes}
    else:
        fields |= {"run": run}
    if kind is Load:
        fields["dst"] = int(rng.choice(list(Dst)))
    units = size // lanes
    if how == "above":
        offset = lanes * int(rng.integers(units, (1 << 32) // lanes - 64))
    elif how == "below":  # what would wrap around to an address before the segment
        offset = (1 << 32) - lanes * int(rng.integers(1, 2 * run + 1))
    elif how == "end":
        offset = lanes * int(rng.integers(max(0, units - run + 1), max(1, units)))
    elif how in ("step", "wrap"):
        offset = lanes * int(rng.integers(max(1, units - run)))
        times = int(rng.integers(2, 5))
        # The last run is just outside; or, but for the carry, inside again.
        far = units - offset // lanes if how == "step" else (1 << 32) // lanes
        step = lanes * -(-far // (times - 1))
        if kind is LoadImage:
            fields |= {"n_rows": min(4095, (size - offset) // 0xF000 + 2), "pitch": 0xF000}
            if how == "wrap":
                offset = (1 << 32) - 0xF000 * int(rng.integers(1, 3))
        elif rng.random() < 0.5:
            fields |= {"n1": times, "ddr_step1": step}
        else:
            fields |= {"n2": times, "ddr_step2": step}
    else:
        offset = lanes * int(rng.integers(max(1, units)))
    return kind(**fields, offset=offset)


HOW = ("above", "below", "end", "step", "wrap", "read-only")


def window(rng: np.random.Generator, program: Program, kind: type[Instruction] | None = None,
           how: str | None = None) -> Bad:
    """LOAD, LDIMG or STORE outside its segment; WORK may have no bytes at all."""
    lanes = program.arch.lanes
    kind = kind or [Load, LoadImage, Store][int(rng.integers(3))]
    how = how or str(rng.choice(HOW if kind is Store else HOW[:-1]))
    at = somewhere(rng, program)
    waits = waits_of(program.instructions()[at])
    if rng.random() < 0.2 and at == 0:
        program = Program(program.arch, program.code, {
            **program.header, "segments": {**program.header["segments"], "work": 0}})
    sizes = segment_sizes(program)
    while True:
        segment = Segment(int(rng.integers(len(Segment))))
        if kind is Store and (segment in READ_ONLY) != (how == "read-only"):
            continue
        try:
            ins = transfer(rng, program.arch, kind, how, segment, sizes[segment])
        except FalconetError:
            continue
        info = first_outside(ins, lanes, sizes[segment])
        if info is not None:
            break
    return Bad(with_instruction(program, at, ins.replace(**waits).encode()), ErrorCode.WINDOW, info,
               segment, rf"instruction {at} .*(is outside segment|is read-only)")


def top_of_memory(rng: np.random.Generator, program: Program) -> Bad:
    """A window that ends beyond 2**32: what lies there is not at address 0."""
    kind = [Load, LoadImage, Store][int(rng.integers(3))]
    base, size = 0xFFFF_F000 - 4096 * int(rng.integers(4)), 1 << 16
    offset = (1 << 32) - base + LINE * int(rng.integers(4))
    more = {"row_bytes": 256} if kind is LoadImage else {"run": 4}
    ins = kind(segment=Segment.WORK, offset=offset, **more)
    return Bad(with_instruction(program, 0, ins.encode()), ErrorCode.WINDOW,
               base + offset & 0xFFFF_FFFF,
               registers={"WORK_BASE": base, "WORK_SIZE": size})


def fetch(rng: np.random.Generator, program: Program) -> Bad:
    """The program itself leaves segment CODE."""
    size = segment_sizes(program)[Segment.CODE]
    n = program.n_instructions
    how = int(rng.integers(3))
    if how == 0:  # the window ends before the program does
        short = LINE * int(rng.integers(-(-n * SIZE // LINE)))
        return Bad(program, ErrorCode.WINDOW, short, Segment.CODE, registers={"CODE_SIZE": short})
    if how == 1:  # far above, or where it would wrap around to below
        offset = int(rng.choice([size, size + SIZE * int(rng.integers(1 << 20)), 0xFFFF_FFC0,
                                 0x8000_0000]))
        return Bad(program, ErrorCode.WINDOW, offset, Segment.CODE,
                   registers={"PROGRAM_OFFSET": offset})
    # Legal instructions up to the end of the segment, and on; or one lies across the end.
    across = 8 * int(rng.integers(8))
    code = bytes(across) + Load(segment=Segment.INPUT, run=1).encode() * (size // SIZE)
    header = {**program.header, "instructions": size // SIZE}
    return Bad(Program(program.arch, code[:size], header), ErrorCode.WINDOW, size, Segment.CODE,
               registers={"PROGRAM_OFFSET": across, "PROGRAM_LENGTH": 0xFFFF_FFFF})


# ---------------------------------------------------------------------- order, and the end


def deadlock(rng: np.random.Generator, program: Program) -> Bad:
    """An instruction waits for what never retires: a later one of its own or another engine."""
    at = somewhere(rng, program)
    engine = list(Engine)[int(rng.integers(len(Engine)))]
    instructions = program.instructions()
    done = sum(i.engine is engine for i in instructions[:at])
    wait = done + int(rng.choice([1, 2, 300, 0x7FFF]))
    word = instructions[at].replace(**{f"wait_{engine.name.lower()}": wait & 0xFFFF}).encode()
    return Bad(with_instruction(program, at, word), None, at,
               iss=rf"instruction {at} .*waits for {wait & 0xFFFF} instructions of {engine.name}")


def truncated(rng: np.random.Generator, program: Program) -> Bad:
    n = int(rng.integers(1, program.n_instructions))
    short = Program(program.arch, program.code, {**program.header, "instructions": n})
    return Bad(short, ErrorCode.NO_END, iss=f"none of the program's {n} instructions is END")


def empty(rng: np.random.Generator, program: Program) -> Bad:
    return Bad(program, ErrorCode.NO_END, registers={"PROGRAM_LENGTH": 0})


def no_end_in_sight(rng: np.random.Generator, program: Program) -> Bad:
    """END is no END but for its opcode, somewhere behind it: zeros, which are no opcode."""
    at = program.n_instructions - 1
    assert isinstance(program.instructions()[at], End)
    return Bad(with_instruction(program, at, bytes(SIZE)), ErrorCode.OPCODE, at,
               iss=f"instruction {at}: opcode 0 is unknown")


WAYS: dict[str, Callable[[np.random.Generator, Program], Bad]] = {
    "unknown opcode": opcode, "field out of range": out_of_range,
    "transfer outside its window": window, "window beyond 4 GiB": top_of_memory,
    "program outside CODE": fetch, "deadlock": deadlock, "no END": truncated, "empty": empty,
    "END overwritten": no_end_in_sight,
}
