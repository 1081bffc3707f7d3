"""A network as the machine is asked to do it: operations, buffers, and what lies in DDR."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from falconet.compiler.graph import Graph
from falconet.compiler.machine.op import Op
from falconet.compiler.machine.place import Buffer, Slot, aligned
from falconet.isa import Arch, Segment
from falconet.isa.program.forms import Detect

__all__ = ["Network"]


@dataclass
class Network:
    """Operations in order, their buffers, and what lies in DDR.

    ``detect``: the head on the machine, its offsets in DDR too; ``extra_layers``:
    name and op of the layers that follow the graph's nodes.
    """

    graph: Graph
    arch: Arch
    ops: list[Op] = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    detect: Detect | None = None
    extra_layers: list[tuple[str, str]] = field(default_factory=list)
    segment_bytes: dict[Segment, int] = field(
        default_factory=lambda: {s: 0 for s in Segment}
    )

    def reserve(self, segment: Segment, size: int) -> int:
        """The offset of ``size`` fresh bytes in a DDR segment."""
        at = self.segment_bytes[segment]
        self.segment_bytes[segment] = at + aligned(size)
        return at

    def buffer(self, name: str, height: int, width: int, blocks: int) -> Buffer:
        buf = Buffer(name, height, width, blocks)
        self.buffers.append(buf)
        return buf
