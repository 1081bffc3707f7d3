"""An operation cut into tiles, and what the schedule asks of each tile over and over."""

from __future__ import annotations

from falconet.compiler.machine.op import Op, Tile, Tiling

__all__ = ["Work", "Workshop"]


class Work:
    """``tiles`` in order; of each, ``needs`` (rows of every input) and ``cycles``."""

    def __init__(self, op: Op, tiling: Tiling) -> None:
        self.op, self.tiling = op, tiling
        self.tiles: list[Tile] = tiling.tiles(op.height)
        rows = {(t.y0, t.y1): op.needs(t.y0, t.y1) for t in self.tiles}
        self.needs = [rows[t.y0, t.y1] for t in self.tiles]
        self._cycles: list[int] = []

    @property
    def cycles(self) -> list[int]:
        if not self._cycles:
            self._cycles = [self.op.cycles(t) for t in self.tiles]
        return self._cycles


class Workshop:
    """Makes each piece of work once, whichever tries ask for it."""

    def __init__(self) -> None:
        self._made: dict[tuple[Op, Tiling], Work] = {}
        self._tilings: dict[tuple[Op, int], Tiling] = {}

    def tiling(self, op: Op, busy: int) -> Tiling:
        """See :meth:`Op.tiling`."""
        key = op, busy
        if key not in self._tilings:
            self._tilings[key] = op.tiling(busy)
        return self._tilings[key]

    def work(self, op: Op, tiling: Tiling) -> Work:
        key = op, tiling
        if key not in self._made:
            self._made[key] = Work(op, tiling)
        return self._made[key]
