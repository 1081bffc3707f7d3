"""Weights that come in several pieces, some of them activations: as few loads as will do."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Box", "Brought", "boxes"]


class Brought(NamedTuple):
    """A run of ``run`` lane words from byte ``offset`` of a chunk's own bytes, or with ``pair`` of
    the tensor that is loaded as weights. It fills ``words`` weight words of the chunk from word
    ``at`` on."""

    at: int
    words: int
    run: int
    offset: int
    pair: bool


@dataclass(frozen=True)
class Box:
    """What one load brings: ``n2`` times ``n1`` runs like ``first``, equal steps of bytes and of
    weight words apart."""

    first: Brought
    n1: int
    n2: int
    bytes1: int
    bytes2: int
    words1: int
    words2: int

    def places(self) -> list[int]:
        """The first weight word of each run."""
        return [self.first.at + i * self.words2 + j * self.words1
                for i in range(self.n2) for j in range(self.n1)]


def boxes(pieces: Sequence[Brought]) -> list[Box]:
    """Neighbours that are alike and in equal steps, in two levels."""
    rows = _joined([((p.run, p.words, p.pair), p) for p in pieces])
    grids = _joined([((r.kind, r.n, r.bytes, r.words), r.first) for r in rows])
    first = {r.first: r for r in rows}
    return [Box(g.first, first[g.first].n, g.n, first[g.first].bytes, g.bytes,
                first[g.first].words, g.words) for g in grids]


class _Steps(NamedTuple):
    """``n`` of a kind, in equal steps."""

    kind: Hashable
    n: int
    bytes: int
    words: int
    first: Brought


def _joined(items: Sequence[tuple[Hashable, Brought]]) -> list[_Steps]:
    found, i = [], 0
    while i < len(items):
        kind, first = items[i]
        n, step = 1, (0, 0)
        while i + n < len(items) and items[i + n][0] == kind:
            before, here = items[i + n - 1][1], items[i + n][1]
            apart = here.offset - before.offset, here.at - before.at
            if min(apart) < 0 or (n > 1 and apart != step):
                break
            n, step = n + 1, apart
        found.append(_Steps(kind, n, *step, first))
        i += n
    return found
