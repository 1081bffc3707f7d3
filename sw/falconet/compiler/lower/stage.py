"""A node's output stage, spread over the lanes of its output."""

from __future__ import annotations

import dataclasses

import numpy as np

from falconet.compiler.graph import Node
from falconet.compiler.machine.pack import spread
from falconet.compiler.machine.place import Array, Slot
from falconet.compiler.machine.stage import OutputStage
from falconet.isa.graph.stage import Staged
from falconet.isa.graph.tensor import HI, LO

__all__ = ["identity_stage", "is_uniform", "repeated", "stage_of", "uniform"]

_PER_LANE = ("bias", "mult", "mult_neg", "shift")


def stage_of(node: Node, slot: Slot, lanes: int) -> OutputStage:
    def put(key: str) -> Array:
        return spread(node.consts[key], slot.lane_of, slot.blocks * lanes)

    a, table = node.of(Staged), node.consts.get("table")
    return OutputStage(a.zp, a.lo, a.hi, put("bias"), put("mult"), put("mult_neg"), put("shift"),
                       None if table is None else table.astype(np.int8).tobytes())


def identity_stage(lanes: int, mult_bits: int) -> OutputStage:
    """Values stay what they are, in all lanes."""
    shift = mult_bits - 1
    one = np.full(lanes, 1 << shift, np.uint32)
    return OutputStage(0, LO, HI, np.zeros(lanes, np.int32), one, one,
                       np.full(lanes, shift, np.uint8))


def repeated(node: Node, slot: Slot, lanes: int) -> tuple[Node, Slot]:
    """A convolution to one channel as one to a block of them, all alike."""
    consts = {k: np.repeat(v, lanes, 0) if k in (*_PER_LANE, "weight") else v
              for k, v in node.consts.items()}
    return node.with_(consts=consts), dataclasses.replace(slot, lane_of=np.arange(lanes))


def is_uniform(node: Node, *more: str) -> bool:
    """Whether all channels have the same constants."""
    return all((node.consts[k] == node.consts[k][..., :1]).all() for k in (*_PER_LANE, *more))


def uniform(stage: OutputStage, slot: Slot) -> OutputStage:
    """Equal constants in all lanes, those without a channel included: one block serves all."""
    i = int(slot.lane_of[0])
    return dataclasses.replace(stage, **{
        k: np.full_like(getattr(stage, k), getattr(stage, k)[i]) for k in _PER_LANE
    })
