"""The timing model of DDR: every number in one place, with its source.

The board is a PYNQ-Z2: an XC7Z020 whose processing system drives 16 bits of DDR3 at 1050 MT/s,
2.1 GB/s at the pins. The machine reaches it through 64-bit AXI3 ports (S_AXI_HP, Zynq-7000 TRM
UG585, chapters 5 and 10).

The model, per cycle of the machine's clock: a shared budget of bytes grows by ``bytes_per_cycle``,
up to ``bucket_bytes``; each port may move one beat (8 bytes) per direction, if the budget has it
and no refresh is under way. A port that finds the budget empty is first in the next cycle. A
burst's first beat comes no sooner than ``first_beat_latency`` cycles after its address; bursts of
a port are served in order and overlap, ``outstanding`` of them. Read data waits in a queue of
``queue_beats`` per port if the machine does not take it. A write is answered ``write_latency``
cycles after its last beat.

START finds the memory always the same: so long before the next refresh, all of the bucket saved
up, no port waiting. So the cycles of a run are a function of program and inputs; not of what ran
before, how long the machine stood still, or how often a register was read.
"""

from __future__ import annotations

import ctypes
import dataclasses
from dataclasses import dataclass

from falconet.isa import FalconetError

__all__ = ["DdrConfig", "DdrModel"]


class DdrConfig(ctypes.Structure):
    """The model in cycles, as the harness takes it (``struct DdrConfig`` in harness.cpp)."""

    _fields_ = [
        ("bytes_per_cycle", ctypes.c_double),
        ("bucket_bytes", ctypes.c_double),
        ("first_beat_latency", ctypes.c_uint32),
        ("write_latency", ctypes.c_uint32),
        ("refresh_interval", ctypes.c_uint32),
        ("refresh_cycles", ctypes.c_uint32),
        ("outstanding", ctypes.c_uint32),
        ("queue_beats", ctypes.c_uint32),
    ]


@dataclass(frozen=True)
class DdrModel:
    """DDR as the machine sees it.

    Parameters
    ----------
    clock_mhz:
        The machine's clock; everything in seconds is turned into its cycles.
    bandwidth_bytes_per_s:
        Reachable by all ports together, reads and writes: 75 % of the 2.1 GB/s at the pins.
    bucket_bytes:
        How much unused bandwidth is saved up: one burst of 16 beats.
    first_beat_latency:
        Cycles from a read address to the first beat on an idle bus; 30 to 60 were seen at 125 MHz
        through the HP ports.
    write_latency:
        Cycles from the last beat of a write to its response.
    refresh_interval_us, refresh_us:
        JEDEC DDR3: an all-bank refresh every 7.8 us (tREFI) takes 160 ns for 2 Gbit (tRFC).
    outstanding:
        Bursts in flight per port and direction: the command issuing capability of an HP port.
    queue_beats:
        Read data queue of an HP port: 1 KB.
    """

    clock_mhz: float = 125.0
    bandwidth_bytes_per_s: float = 1.575e9
    bucket_bytes: int = 128
    first_beat_latency: int = 40
    write_latency: int = 20
    refresh_interval_us: float = 7.8
    refresh_us: float = 0.16
    outstanding: int = 8
    queue_beats: int = 128

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            if f.name not in ("refresh_us", "write_latency") and getattr(self, f.name) <= 0:
                raise FalconetError(f"DdrModel.{f.name}={getattr(self, f.name)} must be positive")
        if self.bucket_bytes < 8:
            raise FalconetError(f"DdrModel.bucket_bytes={self.bucket_bytes} is less than a beat")

    @property
    def bytes_per_cycle(self) -> float:
        return self.bandwidth_bytes_per_s / (self.clock_mhz * 1e6)

    def config(self) -> DdrConfig:
        return DdrConfig(
            self.bytes_per_cycle, float(self.bucket_bytes), self.first_beat_latency,
            self.write_latency, max(1, round(self.refresh_interval_us * self.clock_mhz)),
            round(self.refresh_us * self.clock_mhz), self.outstanding, self.queue_beats,
        )

    def __str__(self) -> str:
        return (
            f"DDR {self.bandwidth_bytes_per_s / 1e9:.3f} GB/s shared, first beat after "
            f"{self.first_beat_latency} cycles, refresh {self.refresh_us * 1e3:.0f} ns every "
            f"{self.refresh_interval_us:g} us"
        )
