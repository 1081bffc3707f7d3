"""The DDR that simulated boards have: every parameter of its timing, in one place."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

__all__ = ["DdrModel"]


@dataclass(frozen=True)
class DdrModel:
    """DDR3 behind the 64-bit high-performance ports of a Zynq-7000, as the fabric sees it.

    All ports share one stream of bytes; a burst's first beat comes ``first_beat_latency`` cycles
    after its address; while the DRAM refreshes, no byte moves.

    Parameters
    ----------
    clock_mhz:
        Clock of the fabric, which turns times into cycles.
    bandwidth:
        Bytes per second that all ports share. PYNQ-Z2: 16 bit at 1050 MT/s is 2.1 GB/s; the
        controller reaches about 75 % of that with moderate bursts (Xilinx UG585, chapter 22).
    first_beat_latency:
        Cycles from an address to the first beat of data, on an idle port.
    refresh_interval, refresh_time:
        Seconds from one refresh to the next (tREFI) and the length of one (tRFC).
    read_queue, write_queue:
        Bursts that a port accepts ahead of their data.
    """

    clock_mhz: float = 125.0
    bandwidth: float = 1.575e9
    first_beat_latency: int = 40
    refresh_interval: float = 7.8e-6
    refresh_time: float = 0.16e-6
    read_queue: int = 8
    write_queue: int = 8

    @property
    def bytes_per_cycle(self) -> float:
        return self.bandwidth / (self.clock_mhz * 1e6)

    @property
    def refresh_interval_cycles(self) -> int:
        return round(self.refresh_interval * self.clock_mhz * 1e6)

    @property
    def refresh_cycles(self) -> int:
        return round(self.refresh_time * self.clock_mhz * 1e6)

    def __str__(self) -> str:
        return (f"{self.bandwidth / 1e9:.3f} GB/s shared, {self.first_beat_latency} cycles to the "
                f"first beat, refresh {self.refresh_time * 1e9:.0f} ns every "
                f"{self.refresh_interval * 1e6:.1f} us")

    def to_dict(self) -> dict[str, float]:
        return dataclasses.asdict(self)
