"""When bursts have moved that share the memory: a queue of what is asked for, not beat by beat."""

from __future__ import annotations

from falconet_sim.rtl.ddr import DdrModel

__all__ = ["Bandwidth"]


class Bandwidth:
    """DDR: reads in the order of their requests; a write takes turns with two ports that read.

    What a refresh costs is spread over its interval.
    """

    def __init__(self, ddr: DdrModel) -> None:
        working = 1 - ddr.refresh_us / ddr.refresh_interval_us
        self.rate, self.beat = ddr.bytes_per_cycle * working, 8 * working
        self.saved = ddr.bucket_bytes / self.rate
        self.free = 0.0  # when all that is asked for has moved
        self.busy = 0.0  # since when there was something to move without a pause

    def move(self, begin: float, size: int) -> float:
        """When the last of ``size`` bytes has been read that could begin at ``begin``."""
        if begin > self.free:
            self.busy = begin
        self.free = max(self.free, begin - self.saved) + size / self.rate
        return max(begin + size / self.beat, self.free)

    def write(self, begin: float, size: int) -> float:
        """When the last of ``size`` bytes is written; while reads wait, with a third of the rate.

        They wait once and a half as long for it.
        """
        if begin >= self.free:
            return self.move(begin, size)
        alone = min(float(size), max(0.0, self.busy - begin) * self.beat)
        shared = min(size - alone, (self.free - max(begin, self.busy)) * self.rate / 2)
        self.free += (size - alone) / self.rate
        return begin + (size - shared) / self.beat + 3 * shared / self.rate
