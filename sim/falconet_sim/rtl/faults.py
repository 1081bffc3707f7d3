"""Faults of the memory bus, planned: which burst of which port is answered with an error, or held.

A port is one of ``PORTS``; its bursts count from 0 in the order in which their addresses are taken.
Each fault befalls one burst and is gone then. "slverr" and "decerr" come with one beat of a read
(its data is spoilt), or with the response of a write, none of whose bytes arrive. "hold" lets
nothing pass for some cycles: on the channel "address" after the burst's own address, on "data"
before one of its beats, on "answer" before the response of a write.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import NamedTuple

from falconet.isa import FalconetError

__all__ = ["FOREVER", "PORTS", "BusFault", "FaultRecord", "Suffered"]

PORTS = ("m0_read", "m1_read", "m0_write")
FOREVER = 1 << 40
"""Cycles of a hold that no run outlives."""

_ANSWERS = {"slverr": 2, "decerr": 3}
_HOLDS = {"address": 1, "data": 2, "answer": 3}


class FaultRecord(ctypes.Structure):
    """``struct Fault`` in harness.cpp."""

    _fields_ = [
        ("port", ctypes.c_uint32), ("kind", ctypes.c_uint32), ("beat", ctypes.c_uint32),
        ("burst", ctypes.c_uint64), ("value", ctypes.c_uint64),
    ]


@dataclass(frozen=True)
class BusFault:
    """One fault.

    Parameters
    ----------
    port:
        One of PORTS.
    burst:
        Which burst of the port, counted from when the fault is planned.
    what:
        "slverr", "decerr" or "hold".
    beat:
        Which beat of it; a number too large is its last one.
    channel, cycles:
        Of a hold: "address", "data" or "answer", and for how long.
    """

    port: str
    burst: int
    what: str
    beat: int = 0
    channel: str = "data"
    cycles: int = 0

    def record(self, bursts: int) -> FaultRecord:
        """For the harness; the port has had so many ``bursts``."""
        if self.port not in PORTS or self.what not in (*_ANSWERS, "hold"):
            raise FalconetError(f"{self}: unknown port or fault; see falconet_sim.rtl.faults")
        if self.channel not in _HOLDS or (self.channel == "answer" and self.port != "m0_write"):
            raise FalconetError(f"{self}: this port has no such channel; see "
                                "falconet_sim.rtl.faults")
        hold = self.what == "hold"
        return FaultRecord(
            PORTS.index(self.port), _HOLDS[self.channel] if hold else 0, min(self.beat, 255),
            bursts + self.burst, self.cycles if hold else _ANSWERS[self.what],
        )


class Suffered(NamedTuple):
    """What the machine has had to bear since power-up.

    ``errors`` answers were errors, ``holds`` of the planned holds held something up; the first
    error since a fault was last planned came in ``cycle`` (0: none), for the burst at ``address``.
    """

    errors: int
    holds: int
    cycle: int
    address: int
