"""Tasks to instructions, and the weights behind them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from falconet.compiler.emit.hazards import Hazards
from falconet.compiler.machine.detect import DetectOp
from falconet.compiler.machine.op import Emitted, Op
from falconet.compiler.machine.place import Region, aligned, weight_depths, wrapped
from falconet.compiler.schedule.simulate import Schedule
from falconet.compiler.schedule.weights import TABLE, WeightLoad, word_bytes
from falconet.isa import Arch, Dst, End, Engine, Instruction, Load, Scan, Segment

__all__ = ["Code", "Step", "emit_code"]


@dataclass(frozen=True)
class Step:
    """An instruction, still without waits, and number ``task`` of the schedule that it is for."""

    task: int
    emitted: Emitted


@dataclass(frozen=True)
class Code:
    """All instructions but END, without waits (``steps``) and with them, and the weights, from
    whose first byte offsets in segment CODE count."""

    steps: list[Step]
    instructions: list[Instruction]
    weights: bytes

    def encode(self, arch: Arch) -> bytes:
        """Segment CODE: the instructions and END, then the weights."""
        size = aligned((len(self.instructions) + 1) * arch.INSTRUCTION_BYTES)
        out = bytearray()
        for ins in self.instructions:
            if isinstance(ins, Load) and ins.segment == Segment.CODE:
                ins = ins.replace(offset=ins.offset + size)
            out.extend(ins.encode())
        out.extend(End().encode())
        out.extend(bytes(size - len(out)))
        return bytes(out) + self.weights


def emit_code(schedule: Schedule) -> Code:
    """The instructions of an allocated schedule."""
    steps, weights = _steps(schedule)
    return Code(steps, _with_waits(schedule.plan.net.arch, steps), weights)


def _steps(schedule: Schedule) -> tuple[list[Step], bytes]:
    arch, ops = schedule.plan.net.arch, _placed(schedule)
    steps: list[Step] = []
    weights = bytearray()
    loaded: dict[tuple[int, int], int] = {}  # chunk -> its word in the weight memory
    placed: dict[tuple[int, int], int] = {}  # chunk, loaded for the first time -> offset
    for at, task in enumerate(schedule.tasks):
        op = ops[task.op]
        if task.load is None:
            assert task.tile is not None
            base = loaded.get((task.op, task.tile.chunk), 0)
            steps += [Step(at, emitted) for emitted in op.emit(task.tile, base)]
            continue
        load = task.load
        loaded.setdefault((load.op, load.chunk), load.base)
        key = load.op, _original(schedule, load)
        if key not in placed:
            weights.extend(bytes(aligned(len(weights)) - len(weights)))
            placed[key] = len(weights)
            weights.extend(_data(schedule, op, load))
        if load.size:
            offset = placed[key] + load.first * word_bytes(arch).get(load.memory, 0)
            steps.append(Step(at, _load_weights(arch, load, offset)))
        if isinstance(op, DetectOp) and op.hosted is not None:
            steps.append(Step(at, _load_hosted(arch, *op.hosted)))
    return steps, bytes(weights)


def _placed(schedule: Schedule) -> list[Op]:
    """The plan's operations in buffers with their rings and addresses."""
    where = {b: dataclasses.replace(b, ring=schedule.rings[b], base=base)
             for b, base in schedule.bases.items()}
    return [op.moved(where) for op in schedule.plan.ops]


def _data(schedule: Schedule, op: Op, load: WeightLoad) -> bytes:
    if load.chunk == TABLE:
        assert op.table is not None
        return op.table
    return op.weights(*schedule.plan.tilings[load.op].chunks[load.chunk])


def _original(schedule: Schedule, load: WeightLoad) -> int:
    """The number of the load that brought the same bytes first."""
    if load.chunk == TABLE:
        return TABLE
    return load.chunk % len(schedule.plan.tilings[load.op].chunks)


def _with_waits(arch: Arch, steps: list[Step]) -> list[Instruction]:
    """The instructions, each with the counts that it waits for."""
    hazards, instructions = Hazards(arch), []
    first = True  # of the SCANs
    for step in steps:
        ins = step.emitted.instruction
        assert ins.engine is not None
        waits = hazards.waits(ins.engine, step.emitted.reads, step.emitted.writes)
        changes = {f"wait_{e.name.lower()}": waits[e] & 0xFFFF for e in Engine}
        if isinstance(ins, Scan):
            changes["first"], first = first, False
        instructions.append(ins.replace(**changes))
    return instructions


def _load_weights(arch: Arch, load: WeightLoad, offset: int) -> Emitted:
    """``load``'s bytes from ``offset`` in the weights."""
    depths = weight_depths(arch)
    per_word = {Dst.WEIGHTS: arch.rows, Dst.VECTOR: arch.taps}
    regions: list[Region]
    if load.memory in depths:
        regions = wrapped(load.memory, load.base, load.words, depths[load.memory])
    else:
        rows = load.size // arch.ROW_BYTES if load.memory is Dst.DETECT else 1
        regions = [(load.memory, 0, rows)]
    return Emitted(Load(
        segment=Segment.CODE, offset=offset, dst=load.memory, run=load.size // arch.lanes,
        base=load.base * per_word.get(load.memory, 0)), [], regions)


def _load_hosted(arch: Arch, offset: int, row: int, rows: int) -> Emitted:
    """Rows of the detect table that the driver writes."""
    ins = Load(segment=Segment.INPUT, offset=offset, dst=Dst.DETECT, run=rows * arch.row_words,
               base=row * arch.row_words)
    return Emitted(ins, [], [(Dst.DETECT, row, row + rows)])
