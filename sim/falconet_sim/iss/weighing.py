"""Groups of logits of a SCAN: softmax over classes, expectation over bins (docs/arithmetic.md)."""

from __future__ import annotations

import numpy as np

from falconet.isa import Dst, FalconetError, Instruction
from falconet_sim.iss.machine import Machine
from falconet_sim.iss.rows import Ints, column

__all__ = ["distances", "shares"]


def _channels(machine: Machine, first: Ints, lane: Ints, b_step: int, count: int) -> Ints:
    """What is stored in ``count`` channels from a lane of a word on: [hits, count]."""
    lanes = machine.arch.lanes
    channel = lane[:, None] + np.arange(count)
    words = machine.read(Dst.SCRATCHPAD, (first[:, None] + channel // lanes * b_step) & 0xFFFF)
    found = np.take_along_axis(words, channel[..., None] % lanes, axis=2)[..., 0]
    return found.astype(np.int64)


def _lanes(machine: Machine, anchors: dict[str, Ints], name: str) -> Ints:
    lanes = machine.arch.lanes
    if (anchors[name] >= lanes).any():
        raise FalconetError(f"an anchor's {name} is not below {lanes}")
    return anchors[name]


def shares(machine: Machine, ins: Instruction, anchors: dict[str, Ints], a: Ints, y: Ints, x: Ints,
           label: Ints) -> Ints:
    """Scores of class ``label`` of anchor ``a`` in cell (y, x), in units of 2**-16."""
    exponential = column(machine, "score")
    first = ins.score_base + y * ins.score_y_step + anchors["mark"][a] + x
    q = _channels(machine, first, _lanes(machine, anchors, "lane")[a], ins.score_b_step,
                  ins.n_class)
    most = np.maximum(q.max(axis=1, initial=-128), ins.background)
    e = exponential[255 - (most[:, None] - q)]
    total = e.sum(axis=1) + exponential[255 - (most - ins.background)]
    if (total == 0).any():
        raise FalconetError("the exponentials of a softmax are all 0; mend the detect table")
    mine = e[np.arange(len(label)), label]
    found: Ints = np.minimum((mine << 16) // total, 65535)
    return found


def distances(machine: Machine, ins: Instruction, anchors: dict[str, Ints], a: Ints, y: Ints,
              x: Ints) -> Ints:
    """Distances [4, hits] to the four sides, in units of stride / 2**11."""
    exponential = column(machine, "size")
    first = ins.box_base + y * ins.box_y_step + anchors["box"][a] + x
    q = _channels(machine, first, _lanes(machine, anchors, "box_lane")[a], ins.box_b_step,
                  4 * ins.bins).reshape(-1, 4, ins.bins)
    e = exponential[255 - (q.max(axis=2, keepdims=True) - q)]
    total = e.sum(axis=2)
    if (total == 0).any():
        raise FalconetError("the exponentials of a side are all 0; mend the detect table")
    moments: Ints = (e * np.arange(ins.bins)).sum(axis=2)
    found: Ints = ((moments << 11) // total).T
    return found
