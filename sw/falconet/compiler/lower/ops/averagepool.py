"""averagepool: a part for each pair of rows and columns that have multipliers of their own."""

from __future__ import annotations

import dataclasses
from itertools import groupby
from typing import Any

import numpy as np

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context, Operator
from falconet.compiler.lower.parts import Run, lattice
from falconet.compiler.lower.stage import stage_of, uniform
from falconet.compiler.machine.op import Op
from falconet.compiler.machine.place import Array
from falconet.compiler.machine.window import WindowOp
from falconet.isa.graph.ops.averagepool import AveragePool

__all__ = ["OPERATOR"]

_BY_PIXEL = ("mult", "mult_neg", "shift")


def _kinds(by_pixel: Array) -> list[int]:
    """A number for each row of [row, ...]: that of the first one like it."""
    rows = [row.tobytes() for row in by_pixel]
    return [rows.index(row) for row in rows]


def _runs(a: AveragePool, i: int, kinds: list[int]) -> list[Run]:
    """Rows of one kind, one below the other."""
    found, at = [], 0
    for kind, group in groupby(kinds):
        count = len([*group])
        found.append(Run(at, 1, count, at * a.stride[i] - a.pads[i], a.stride[i],
                         tuple(range(a.kernel[i])), a.dilation[i], kind))
        at += count
    return found


def _lower(context: Context, node: Node, layer: int) -> Op:
    a, out, arch = node.of(AveragePool), context.output(node), context.arch
    by_pixel = np.stack([node.consts[k].astype(np.int64) for k in _BY_PIXEL], -1)
    shared = bool(np.all(node.consts["bias"] == node.consts["bias"][0]))

    def make(y: Run, x: Run, window: dict[str, Any]) -> WindowOp:
        channels = len(node.consts["bias"])
        here = {k: np.full(channels, node.consts[k][y.kind, x.kind], node.consts[k].dtype)
                for k in _BY_PIXEL}
        stage = stage_of(node.with_(consts={**node.consts, **here}), out, arch.lanes)
        weight = np.ones((out.blocks * arch.lanes, *a.kernel), np.int8)
        return WindowOp(**window, weight=weight, shared=shared,
                        stage=uniform(stage, out) if shared else stage)

    runs = (_runs(a, 0, _kinds(by_pixel)), _runs(a, 1, _kinds(by_pixel.transpose(1, 0, 2))))
    return dataclasses.replace(lattice(context, node, layer, runs, make, pad=a.pad), grain=1)


OPERATOR = Operator(_lower)
