"""A plan: operations in order, the groups they run in, their tiles, and the rows that rings hold.

A *group* is a run of operations whose weights are resident together; its inner tensors live in
rings of a few rows, so the group works depth first in row stripes. Tensors that cross a group's
border are kept whole in the scratchpad, or go through DDR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from falconet.compiler.machine.network import Network
from falconet.compiler.machine.op import Op, Tiling
from falconet.compiler.machine.place import Buffer
from falconet.compiler.machine.transfer import ImageOp, LoadOp, StoreOp
from falconet.compiler.schedule.policy import Policy
from falconet.compiler.schedule.work import Work, Workshop

__all__ = ["Plan"]


@dataclass
class Plan:
    """What one policy makes of a network; the network itself stays what it is.

    ``tilings[i]`` and ``group_of[i]`` belong to ``ops[i]``; ``writers`` and ``readers`` give
    indices; ``rings`` the rows that a buffer holds; ``work_bytes`` the size of segment WORK.
    """

    net: Network
    policy: Policy
    shop: Workshop
    ops: list[Op]
    group_of: list[int]
    tilings: list[Tiling]
    buffers: list[Buffer]
    rings: dict[Buffer, int] = field(default_factory=dict)
    work_bytes: int = 0
    writers: dict[Buffer, list[int]] = field(init=False)
    readers: dict[Buffer, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.index()

    @property
    def n_groups(self) -> int:
        return self.group_of[-1] + 1

    def index(self) -> None:
        """Find the writers and readers of every buffer."""
        self.writers, self.readers = {}, {}
        for i, op in enumerate(self.ops):
            if op.output is not None:
                self.writers.setdefault(op.output.buffer, []).append(i)
            for slot in op.inputs:
                self.readers.setdefault(slot.buffer, []).append(i)

    def users(self, buf: Buffer) -> list[int]:
        return self.writers.get(buf, []) + self.readers.get(buf, [])

    def spans(self, rings: dict[Buffer, int]) -> list[tuple[int, int, int]]:
        """Of every buffer the first and the last group that use it, and its words."""
        found = []
        for buf in self.buffers:
            groups = [self.group_of[i] for i in self.users(buf)]
            if groups:
                found.append((min(groups), max(groups), rings[buf] * buf.row_words))
        return found

    def work(self, i: int) -> Work:
        return self.shop.work(self.ops[i], self.tilings[i])

    def called(self, op: Op) -> str:
        """What the ONNX file calls an operation."""
        nodes: Sequence[object] = self.net.graph.nodes
        if op.layer in range(len(nodes)):
            return f"node '{self.net.graph.nodes[op.layer].origin}'"
        if isinstance(op, LoadOp | ImageOp):
            return f"input '{op.source.name}'"
        return f"output '{op.target.name}'" if isinstance(op, StoreOp) else f"node '{op.name}'"
