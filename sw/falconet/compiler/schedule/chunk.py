"""Operations whose weights exceed half the memory go block by block, over all rows."""

from __future__ import annotations

from falconet.compiler.machine.op import Op, Tiling
from falconet.compiler.machine.place import Buffer, weight_depths
from falconet.compiler.schedule.plan import Plan

__all__ = ["chunk", "weight_chunks", "weight_words"]


def weight_words(op: Op) -> int:
    return sum(op.block_words(b) for b in range(op.blocks)) if op.memory is not None else 0


def chunk(plan: Plan) -> None:
    """Cut such operations, and those of the vector engine that follow them; their tensors are held
    whole."""
    depth = weight_depths(plan.net.arch)
    chunked: set[Buffer] = set()  # written chunk by chunk
    for i, op in enumerate(plan.ops):
        if op.memory is None or op.output is None:
            continue
        after = any(s.buffer in chunked for s in op.inputs)
        if weight_words(op) <= depth[op.memory] // 2 and not (after and op.blockwise):
            continue
        if plan.policy.stripe and any(plan.rings[s.buffer] < s.buffer.height for s in op.slots):
            continue
        if plan.tilings[i].striped and not plan.tilings[i].again:
            continue
        chunks = weight_chunks(op, depth[op.memory] // 4, plan.policy.tile, op.height)
        plan.tilings[i] = Tiling(op.height, chunks)
        if len(chunks) > 1:
            chunked.add(op.output.buffer)
            for slot in op.slots:
                plan.rings[slot.buffer] = slot.buffer.height


def weight_chunks(op: Op, words: int, busy: int, rows: int) -> tuple[tuple[int, int], ...]:
    """Runs of blocks of at most ``words``, of ``busy`` cycles or so in a tile of ``rows``."""
    chunks, b0, size = [], 0, 0
    for b in range(op.blocks):
        size += op.block_words(b)
        if b > b0:
            (tile,) = Tiling(rows, ((b0, b),)).tiles(rows)
            if size > words or op.cycles(tile) >= busy:
                chunks.append((b0, b))
                b0, size = b, op.block_words(b)
    return (*chunks, (b0, op.blocks))
