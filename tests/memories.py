"""Memories of different temper."""

from __future__ import annotations

from falconet_sim.rtl.ddr import DdrModel

__all__ = ["MEMORIES"]

MEMORIES = {
    "usual": DdrModel(),
    "fast": DdrModel(first_beat_latency=1, bandwidth_bytes_per_s=1e10, write_latency=0,
                     refresh_us=0),
    "slow": DdrModel(first_beat_latency=200, bandwidth_bytes_per_s=1e8, outstanding=1,
                     queue_beats=1),
    "bumpy": DdrModel(first_beat_latency=7, bandwidth_bytes_per_s=7e8, refresh_interval_us=0.3,
                      write_latency=100, outstanding=3),
}
