"""What an operator of the graph tells the lowering about itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np

from falconet.compiler.graph import Graph, Node
from falconet.compiler.machine.network import Network
from falconet.compiler.machine.op import Op
from falconet.compiler.machine.place import Array, Slot
from falconet.isa import Arch

__all__ = ["Context", "Image", "Layout", "Operator", "View", "dense", "same"]


class Layout(NamedTuple):
    """Where a tensor's channels are: ``lane_of[c]`` among the lanes of its ``blocks``; a view's
    first block is block ``first`` of what it shows."""

    blocks: int
    lane_of: Array
    first: int = 0


class View(Enum):
    """A tensor that is only a place; nothing runs for it."""

    JOIN = "the inputs are the blocks of the output"
    PART = "the output is some of the input's blocks"


@dataclass(frozen=True)
class Image:
    """An input that is loaded as windows along x for its convolutions: ``step`` bytes a window
    further, ``group`` windows that one kx spans, ``n_kx`` of these."""

    user: Node
    step: int
    group: int
    n_kx: int


@dataclass(frozen=True)
class Context:
    """The network so far: every tensor has its slot; ``images`` by the input's name; tensors
    ``everywhere`` have one channel, in all lanes."""

    net: Network
    images: dict[str, Image] = field(default_factory=dict)
    everywhere: frozenset[str] = frozenset()

    @property
    def arch(self) -> Arch:
        return self.net.arch

    @property
    def graph(self) -> Graph:
        return self.net.graph

    def sources(self, node: Node) -> tuple[Slot, ...]:
        return tuple(self.net.slots[name] for name in node.inputs)

    def output(self, node: Node) -> Slot:
        return self.net.slots[node.output]


def same(node: Node, inputs: Sequence[Layout], arch: Arch) -> Layout:
    """Each channel stays in the lane of the first input's."""
    return Layout(inputs[0].blocks, inputs[0].lane_of)


def dense(channels: int, arch: Arch) -> Layout:
    """Channel c in lane c."""
    return Layout(-(-channels // arch.lanes), np.arange(channels))


@dataclass(frozen=True)
class Operator:
    """How an operator becomes operations.

    Parameters
    ----------
    lower:
        (context, node, number of its layer) -> the operation that computes the node. It raises
        FalconetError without the node's name for what the machine has no form for.
    view:
        In place of ``lower``: the tensor is only a place.
    expand:
        Before ``lower`` or in its place: (graph, node, arch) -> nodes that compute the same, in
        order; the last one makes the node's output; ``[node]`` if it is lowered as it is. It adds
        the tensors between to the graph. Their names are the node's with ``/above`` or the like
        behind it, so that messages name the node (``Node.origin``).
    lanes:
        The output's layout, from those of the inputs.
    aligned:
        All inputs must have a channel in the same lane; copies see to it.
    """

    lower: Callable[[Context, Node, int], Op] | None = None
    view: View | None = None
    expand: Callable[[Graph, Node, Arch], list[Node]] | None = None
    lanes: Callable[[Node, Sequence[Layout], Arch], Layout] = same
    aligned: bool = False
