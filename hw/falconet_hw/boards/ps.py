"""Ports of a processing system: AXI interfaces of ours on the pins of a vendor's block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth import Module, Signal
from amaranth.lib.wiring import In

__all__ = ["pins"]


def pins(m: Module, port: str, axi: Any, widths: Mapping[str, int] | None = None
         ) -> dict[str, Any]:
    """Arguments of an Instance for the AXI port called ``port``.

    Parameters
    ----------
    axi:
        A component's interface; what is an input of it is an output of the block.
    widths:
        Of pins that differ from ours: what is wider is cut off, or filled with zeros.
    """
    ports: dict[str, Any] = {}
    for name, member in axi.signature.members.items():
        ours = getattr(axi, name)
        pin = Signal((widths or {}).get(name, len(ours)), name=f"{port.lower()}_{name}")
        if member.flow is In:
            m.d.comb += ours.eq(pin)
        else:
            m.d.comb += pin.eq(ours)
        ports[f"{'o' if member.flow is In else 'i'}_{port}{name.upper()}"] = pin
    return ports
