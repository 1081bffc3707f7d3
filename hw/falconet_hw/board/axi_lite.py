"""From a processor's AXI port to AXI-Lite: bursts taken apart, IDs given back."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out, Signature

from falconet_hw.bus import AxiLiteSignature

__all__ = ["AxiSignature", "AxiToLite"]

_FIXED, _WRAP = 0, 2


class AxiSignature(Signature):
    """A 32-bit AXI master as a slave sees it: AXI3 with 4 bits of length, AXI4 with 8.

    The signals that make no difference to registers (cache, prot, lock, qos, AXI3's write ID) are
    left out.
    """

    def __init__(self, *, id_width: int, len_width: int) -> None:
        address = {"addr": 32, "len": len_width, "size": 3, "burst": 2, "id": id_width}
        super().__init__({
            **{f"{c}{n}": In(w) for c in ("aw", "ar") for n, w in address.items()},
            "awvalid": In(1), "awready": Out(1),
            "wdata": In(32), "wstrb": In(4), "wlast": In(1), "wvalid": In(1), "wready": Out(1),
            "bid": Out(id_width), "bresp": Out(2), "bvalid": Out(1), "bready": In(1),
            "arvalid": In(1), "arready": Out(1),
            "rdata": Out(32), "rid": Out(id_width), "rresp": Out(2), "rlast": Out(1),
            "rvalid": Out(1), "rready": In(1),
        })


class AxiToLite(Component):
    """Registers behind a processor's port: one burst each way at a time, one access a beat.

    FIXED, INCR and WRAP bursts of any length and of beats up to 4 bytes. All outputs but ``rdata``
    and the two ``ready`` of data come from registers. A beat takes as long as the registers do, and
    a cycle more. Data of a write is not taken before its address. The registers repeat every
    ``2 ** addr_width`` bytes.

    Parameters
    ----------
    id_width, len_width: int
        12 and 4 for a GP port of the Zynq-7000, 16 and 8 for HPM0_FPD of the Zynq UltraScale+.

    Members
    -------
    axi: Out(AxiSignature(...))
    lite: In(AxiLiteSignature())
    """

    def __init__(self, *, id_width: int, len_width: int) -> None:
        super().__init__({
            "axi": Out(AxiSignature(id_width=id_width, len_width=len_width)),
            "lite": In(AxiLiteSignature()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._write_side(m)
        self._read_side(m)
        return m

    def _address(self, m: Module, channel: str, taken: Signal, step: Signal) -> Signal:
        """The byte address of a beat: that of the burst when ``taken``, the next on ``step``."""
        length, size, burst, first = (
            getattr(self.axi, f"{channel}{n}") for n in ("len", "size", "burst", "addr")
        )
        width = len(self.lite.awaddr)
        address = Signal(width, name=f"{channel}_address", reset_less=True)
        stride = Signal(3, name=f"{channel}_stride", reset_less=True)
        kept = Signal(width, name=f"{channel}_kept", reset_less=True)
        bytes_ = Signal(3, name=f"{channel}_bytes")
        m.d.comb += bytes_.eq(Mux(size >= 2, 4, Mux(size == 1, 2, 1)))
        with m.If(taken):
            m.d.sync += [
                address.eq(first),
                stride.eq(Mux(burst == _FIXED, 0, bytes_)),
                # The bits that a wrapping burst does not change: none of an incrementing one's.
                kept.eq(Mux(burst == _WRAP, ~((length << size) | (bytes_ - 1)), 0)),
            ]
        with m.If(step):
            m.d.sync += address.eq((address & kept) | ((address + stride) & ~kept))
        return address

    def _write_side(self, m: Module) -> None:
        axi, lite = self.axi, self.lite
        busy = Signal()
        asked = Signal()
        given = Signal()
        waiting = Signal()
        take = Signal()
        beat = Signal()
        address = self._address(m, "aw", take, beat)
        m.d.comb += [
            axi.awready.eq(~busy),
            take.eq(axi.awvalid & ~busy),
            # A beat of data stays on the bus until the registers have answered it.
            lite.awvalid.eq(asked), lite.awaddr.eq(address),
            lite.wvalid.eq(given), lite.wdata.eq(axi.wdata), lite.wstrb.eq(axi.wstrb),
            lite.bready.eq(waiting),
            beat.eq(waiting & lite.bvalid),
            axi.wready.eq(beat),
        ]
        with m.If(take):
            m.d.sync += [busy.eq(1), axi.bid.eq(axi.awid)]
        with m.If(busy & axi.wvalid & ~waiting & ~axi.bvalid):
            m.d.sync += [asked.eq(1), given.eq(1), waiting.eq(1)]
        with m.If(asked & lite.awready):
            m.d.sync += asked.eq(0)
        with m.If(given & lite.wready):
            m.d.sync += given.eq(0)
        with m.If(beat):
            m.d.sync += [waiting.eq(0), axi.bvalid.eq(axi.wlast)]
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += [axi.bvalid.eq(0), busy.eq(0)]

    def _read_side(self, m: Module) -> None:
        axi, lite = self.axi, self.lite
        busy = Signal()
        asked = Signal()
        left = Signal(len(axi.arlen), reset_less=True)
        take = Signal()
        beat = Signal()
        address = self._address(m, "ar", take, beat)
        m.d.comb += [
            axi.arready.eq(~busy),
            take.eq(axi.arvalid & ~busy),
            lite.arvalid.eq(asked), lite.araddr.eq(address),
            axi.rvalid.eq(lite.rvalid & busy), axi.rdata.eq(lite.rdata), axi.rlast.eq(left == 0),
            lite.rready.eq(axi.rready & busy),
            beat.eq(axi.rvalid & axi.rready),
        ]
        with m.If(asked & lite.arready):
            m.d.sync += asked.eq(0)
        with m.If(take):
            m.d.sync += [busy.eq(1), asked.eq(1), axi.rid.eq(axi.arid), left.eq(axi.arlen)]
        with m.If(beat):
            m.d.sync += [left.eq(left - 1), asked.eq(~axi.rlast), busy.eq(~axi.rlast)]
