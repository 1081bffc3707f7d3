"""Random heads and what the tail makes of them, a sample for each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.tails.probing import Level, Rows
from falconet.compiler.importer.tails.tail_graph import Tail

__all__ = ["Samples", "draw"]

Floats = NDArray[np.float64]
_RANGES = np.array([(-4.0, 1.0), (-3.0, 3.0), (-4.0, 4.0), (-1.0, 1.0), (-14.0, -4.0)])
_TURNS, _FEWEST = 20, 1000  # runs of the tail; samples of the smallest level, where it needs many
_MOST_TURNS = 240
_MOST = 6000  # samples of a level that are looked at


@dataclass(frozen=True)
class Samples:
    """Of one level: ``channels`` [n, all], cells ``x``, ``y`` [n], ``table`` [anchors, n, K]."""

    channels: Floats
    x: Floats
    y: Floats
    table: Floats


def draw(tail: Tail, rows: Rows, levels: Sequence[Level], seed: int = 1, *, many: bool = False
         ) -> list[Samples]:
    """Samples of every level, of logits and offsets from one of several ranges each.

    Parameters
    ----------
    many:
        Whether the smallest level needs many, since most boxes are clipped there.
    """
    random = np.random.default_rng(seed)
    fewest = min(level.row.shape[1] for level in levels)
    turns = int(np.clip(_FEWEST // fewest, _TURNS, _MOST_TURNS)) if many else _TURNS
    found: list[list[tuple[NDArray[Any], ...]]] = [[] for _ in levels]
    cells = [np.sort(random.permutation(level.row.shape[1])[:_MOST // turns]) for level in levels]
    for _ in range(turns):
        heads = {h: _values(random, tail.shapes[h]) for h in tail.heads}
        table = rows.table(tail.run(heads))
        for level, chosen, into in zip(levels, cells, found):
            width = level.size[1]
            stacked = np.concatenate([heads[t].reshape(len(heads[t]), -1) for t in level.tensors])
            into.append((stacked[:, chosen].T.astype(np.float64), chosen % width, chosen // width,
                         table[level.row[:, chosen]].astype(np.float64)))
    return [Samples(np.concatenate([p[0] for p in parts]),
                    np.concatenate([p[1] for p in parts]).astype(np.float64),
                    np.concatenate([p[2] for p in parts]).astype(np.float64),
                    np.concatenate([p[3] for p in parts], axis=1)) for parts in found]


def _values(random: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    low, high = _RANGES.T.astype(np.float32)
    kind = random.integers(len(_RANGES), size=shape, dtype=np.uint8)
    values: NDArray[np.float32] = random.random(shape, np.float32) * (high - low)[kind] + low[kind]
    return values
