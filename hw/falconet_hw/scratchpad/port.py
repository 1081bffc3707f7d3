"""One read port of the scratchpad for two engines."""

from __future__ import annotations

from amaranth import Module, Mux
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from falconet_hw.layout import WORD_ADDRESS

__all__ = ["SharedPort"]


class SharedPort(Component):
    """Lets STORE and DETECT read through one port; STORE goes ahead.

    No latency and no state: whose word comes is known to the engine that asked, by the fixed
    latency from its own transfer. DETECT gets one word a cycle while STORE asks for none.

    Members
    -------
    store, detect: In(stream.Signature(WORD_ADDRESS))
        Word addresses. ``ready`` depends on ``req.ready``, DETECT's on STORE's ``valid`` too.
    req: Out(stream.Signature(WORD_ADDRESS))
    """

    def __init__(self) -> None:
        super().__init__({
            "store": In(stream.Signature(WORD_ADDRESS)),
            "detect": In(stream.Signature(WORD_ADDRESS)),
            "req": Out(stream.Signature(WORD_ADDRESS)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [
            self.req.valid.eq(self.store.valid | self.detect.valid),
            self.req.payload.eq(Mux(self.store.valid, self.store.payload, self.detect.payload)),
            self.store.ready.eq(self.req.ready),
            self.detect.ready.eq(self.req.ready & ~self.store.valid),
        ]
        return m
