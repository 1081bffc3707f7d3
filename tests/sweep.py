"""Programs of which one field has a value that no program has given it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from assembler import Assembler
from fields import Seen
from hostile import joined, words
from programs import mixed_program, random_inputs, random_program

from falconet.isa import (
    Arch,
    Dst,
    End,
    Engine,
    FalconetError,
    Instruction,
    Mark,
    Program,
    Scan,
    Src,
    instruction_classes,
)
from falconet.isa.machine.cycles import steps
from falconet.runtime.device import Int8
from falconet_sim.iss.machine import Machine, Step
from falconet_sim.iss.simulator import IssDevice

__all__ = ["LONGEST", "swept", "zeros"]

LONGEST = 300_000
"""Cycles that none of their instructions needs."""

STEPS = 100_000
"""Steps that an instruction may take."""

_TRIES = 12
_WAITS = {f"wait_{e.name.lower()}": e for e in Engine}
Case = tuple[Program, dict[str, Int8]]


@cache
def _legal(arch: Arch) -> tuple[Case, ...]:
    """Programs in which each instruction waits for all before it."""
    plain = [random_program(arch, seed, 6) for seed in range(12)]
    return (*((p, random_inputs(p, i)) for i, p in enumerate(plain)),
            *(mixed_program(arch, seed) for seed in range(12)))


@cache
def zeros(arch: Arch) -> Program:
    """Puts zeros into all memories, as the simulator begins with them."""
    asm = Assembler(arch)
    for memory, data in Machine(_legal(arch)[0][0]).words.items():
        assert isinstance(memory, Dst)
        asm.constant(bytes(data.size), memory)
    return asm.program()


def _has_meaning(program: Program, inputs: dict[str, Int8], at: int) -> bool:
    """Whether the ISA says what it does.

    It ends; ``at`` overwrites nothing that it reads but records, which is what SUPPRESS is for; all
    records of a level get their landmarks.
    """
    overlaps = False

    def observe(step: Step) -> None:
        nonlocal overlaps
        if step.index == at:
            overlaps = any(np.intersect1d(r.address, w.address).size for r in step.reads
                           for w in step.writes if r.memory is w.memory is not Src.RECORDS)

    try:
        IssDevice(program, observer=observe).run(inputs)
    except FalconetError:
        return False
    every = program.instructions()
    marks = [i for i in every if isinstance(i, Mark)]
    levels = {i.level for i in every if isinstance(i, Scan)}
    marked = not marks or (levels == {i.level for i in marks} and all(
        i.n_values == 2 * program.header["detect"]["points"] for i in marks))
    ins = every[at]
    return marked and not overlaps and getattr(ins, "lo", 0) <= getattr(ins, "hi", 0)


def swept(arch: Arch, seen: Seen, of: type[Instruction] | None = None, *,
          most: int = STEPS) -> Iterator[Case]:
    """For each range of a field that is missed a program, if a few draws find one with a meaning.

    Of the fields of one instruction, or of all. Run :func:`zeros` before each. ``seen`` may learn
    while this goes on. Waits are left to programs that need them, but for END's, of which any is
    met in time. No instruction takes more than ``most`` steps.
    """
    rng = np.random.default_rng(0)
    places: dict[str, list[tuple[Case, int]]] = {}
    for case in _legal(arch):
        for at, ins in enumerate(case[0].instructions()):
            places.setdefault(ins.mnemonic, []).append((case, at))
    for cls in [of] if of else instruction_classes():
        for field in cls.layout:
            if field.name == "opcode" or (field.name in _WAITS and cls is not End):
                continue
            for lo, hi in seen.missed(cls.mnemonic, field):
                for _ in range(_TRIES):
                    (program, inputs), at = places[cls.mnemonic][
                        int(rng.integers(len(places[cls.mnemonic])))]
                    value = int(rng.integers(lo, hi, endpoint=True))
                    before = program.instructions()[:at]
                    if field.name in _WAITS and value < 1 << 15:  # more is a number below 0
                        value = min(value, sum(i.engine is _WAITS[field.name] for i in before))
                    ins = program.instructions()[at].replace(**{field.name: value})
                    code = words(program)
                    try:
                        code[at] = bytearray(ins.encode())
                    except FalconetError:
                        continue
                    if steps(ins, arch) > most:
                        continue
                    changed = Program(arch, joined(program, code), program.header)
                    if _has_meaning(changed, inputs, at):
                        yield changed, inputs
                        break
