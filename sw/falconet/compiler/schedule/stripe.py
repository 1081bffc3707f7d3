"""Operations whose weights exceed half the memory go stripe by stripe, all blocks of its rows.

Their tensors may then be rings. Weights of up to the whole memory stay, more are loaded again for
each stripe; a MAC array that is busy for 22 pixels with a word takes longer than its load.
"""

from __future__ import annotations

from dataclasses import replace

from falconet.compiler.machine.detect import ScanOp
from falconet.compiler.machine.op import Op, Tiling
from falconet.compiler.machine.place import weight_depths
from falconet.compiler.schedule.chunk import weight_chunks, weight_words
from falconet.compiler.schedule.plan import Plan

__all__ = ["load_again", "stripes"]

_BUSY = 4000  # cycles that a chunk's tile should take, so that its load is a long one
_SCANNED = 3  # words of a scan's stripe for each cycle of a tile; about every second takes one


def stripes(plan: Plan) -> None:
    """Cut the operations with more weights than half their memory, if the policy says so, and the
    scans of levels that are larger than what stays on chip from group to group."""
    depth, pixels = weight_depths(plan.net.arch), plan.policy.stripe
    stays = plan.policy.spill * plan.net.arch.scratchpad_words
    for i, op in enumerate(plan.ops):
        if pixels and isinstance(op, ScanOp) and _heads(op) > stays:
            plan.tilings[i] = op.stripes(_SCANNED * plan.policy.tile)
        if pixels and op.memory is not None and weight_words(op) > depth[op.memory] // 2:
            stay = weight_words(op) <= depth[op.memory]
            plan.tilings[i] = _striped(op, depth[op.memory] // 4, 1 if stay else pixels)


def _heads(op: ScanOp) -> int:
    """Words of a level."""
    return sum(b.height * b.row_words for b in {s.buffer for s in op.inputs})


def _striped(op: Op, words: int, pixels: int) -> Tiling:
    """Stripes of ``pixels`` or a few more, equally high."""
    assert op.output is not None
    n = -(-op.height // -(-pixels // op.output.buffer.width))
    rows = -(-op.height // n)
    return Tiling(rows, weight_chunks(op, words, _BUSY, rows), striped=True)


def load_again(plan: Plan) -> None:
    """Where the weights of a striped operation's group are more than the memory holds, its own do
    not stay."""
    depth = weight_depths(plan.net.arch)
    total: dict[tuple[object, int], int] = {}
    for op, group in zip(plan.ops, plan.group_of):
        total[op.memory, group] = total.get((op.memory, group), 0) + weight_words(op)
    for i, (op, group) in enumerate(zip(plan.ops, plan.group_of)):
        tiling = plan.tilings[i]
        if tiling.striped and op.memory is not None:
            again = total[op.memory, group] > depth[op.memory] and tiling.rows < op.height
            plan.tilings[i] = replace(tiling, again=again)
