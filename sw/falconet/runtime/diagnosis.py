"""Why a machine stopped, in a sentence: error registers and counters against the program.

The program may be anything: instructions that cannot be decoded are counted all the same, and what
is looked at is bounded.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from falconet.isa import (
    Arch,
    Engine,
    ErrorCode,
    FalconetError,
    Instruction,
    Load,
    LoadImage,
    Program,
    Segment,
    Store,
    decode,
    instruction_classes,
)

__all__ = ["ddr_runs", "explain_error", "explain_timeout"]

_ENGINES = {c.opcode: c.engine for c in instruction_classes()}
_UNDER_WAY = 8  # instructions of an engine that may have begun and not retired
_RUNS = 1 << 18  # of an instruction that is looked at


def ddr_runs(ins: Instruction, arch: Arch) -> tuple[NDArray[np.int64], int] | None:
    """Byte offsets in its segment at which a DMA instruction's runs begin, and their length."""
    if isinstance(ins, LoadImage):
        return ins.offset + np.arange(ins.n_rows, dtype=np.int64) * ins.pitch, ins.row_bytes
    if isinstance(ins, (Load, Store)):
        n2, n1 = np.ogrid[: ins.n2, : ins.n1]
        starts = ins.offset + n2 * ins.ddr_step2 + n1 * ins.ddr_step1
        return starts.reshape(-1).astype(np.int64), ins.run * arch.lanes
    return None


def _name(program: Program, index: int) -> str:
    """``instruction 17 (LOAD ...)``, as far as its bytes can be understood."""
    size = Arch.INSTRUCTION_BYTES
    data = program.code[index * size : (index + 1) * size]
    try:
        return f"instruction {index} ({decode(data)})"
    except FalconetError as e:
        return f"instruction {index} ({data[:16].hex()}..., {e})"


def _pending(program: Program, retired: dict[Engine, int]) -> dict[Engine, list[int]]:
    """Indices of the instructions of each engine that have not retired, in order."""
    of: dict[Engine, list[int]] = {e: [] for e in Engine}
    for i in range(program.n_instructions):
        engine = _ENGINES.get(program.code[i * Arch.INSTRUCTION_BYTES])
        if engine is not None:
            of[engine].append(i)
    return {e: indices[retired[e] :] for e, indices in of.items()}


def explain_timeout(program: Program, retired: dict[Engine, int]) -> str:
    """Names the instruction that each engine has not retired."""
    waiting = [
        f"{e.name} at {_name(program, indices[0])}"
        for e, indices in _pending(program, retired).items() if indices
    ]
    what = "; ".join(waiting) or "all instructions have retired, yet DONE is not set"
    return f"the run did not end in time: {what}; raise the time-out, or look at the waits"


def explain_error(
    program: Program, code: ErrorCode, info: int, retired: dict[Engine, int],
    bases: dict[Segment, int], sizes: dict[Segment, int],
) -> str:
    """ERROR_CODE and ERROR_INFO as a sentence; for an address, with the likely instruction."""
    if code in (ErrorCode.OPCODE, ErrorCode.FIELD):
        why = "an unknown opcode" if code == ErrorCode.OPCODE else "a field out of range"
        return f"{code.name}: {_name(program, info)} has {why}; recompile the network"
    if code == ErrorCode.NO_END:
        return f"{code.name}: none of {program.n_instructions} instructions is END; recompile"
    if code not in (ErrorCode.WINDOW, ErrorCode.READ, ErrorCode.WRITE):
        return f"{code.name}: the machine reports an error without a cause; reset it"
    where = next(
        (f"0x{info:08x} (byte {info - base} of segment {s.name})"
         for s, base in bases.items() if base <= info < base + sizes[s]),
        f"0x{info:08x} (in no segment)",
    )
    what = {
        ErrorCode.WINDOW: "is outside the segment, or is written and read-only",
        ErrorCode.READ: "could not be read",
        ErrorCode.WRITE: "could not be written",
    }[code]
    culprit = _culprit(program, code, info, retired, bases)
    by = f", by {culprit}" if culprit else ""
    return f"{code.name}: address {where} {what}{by}; recompile the network"


def _culprit(
    program: Program, code: ErrorCode, address: int, retired: dict[Engine, int],
    bases: dict[Segment, int],
) -> str | None:
    """The first DMA instruction under way that touches an address."""
    engines = {
        ErrorCode.READ: [Engine.LOAD], ErrorCode.WRITE: [Engine.STORE],
    }.get(code, [Engine.LOAD, Engine.STORE])
    pending, size = _pending(program, retired), Arch.INSTRUCTION_BYTES
    for e in engines:
        for i in pending[e][:_UNDER_WAY]:
            try:
                ins = decode(program.code[i * size : (i + 1) * size])
            except FalconetError:
                continue
            if not isinstance(ins, LoadImage) and ins.n1 * ins.n2 > _RUNS:
                return None
            runs = ddr_runs(ins, program.arch)
            if runs is None:
                continue
            starts, length = runs
            offset = (address - bases.get(Segment(ins.segment), 0)) & 0xFFFFFFFF
            # A burst begins at most one beat before its data, and addresses wrap at 2**32.
            from_start = (offset - starts) & 0xFFFFFFFF
            if np.any((from_start < length) | (from_start >= (1 << 32) - Arch.DATA_BYTES)):
                return _name(program, i)
    return None
