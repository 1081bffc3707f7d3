"""Memory on the chip in place of DDR: the machine's two masters and a host share it."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out, Signature
from amaranth.utils import exact_log2

from falconet.isa import SEGMENT_PAGE
from falconet_hw.bus import Axi3ReadSignature, Axi3WriteSignature, AxiLiteSignature

__all__ = ["OnChipMemory"]

_BEAT = 8  # bytes
_DECERR = 3


class OnChipMemory(Component):
    """``nbytes`` of block RAM as an AXI3 slave with three sides.

    One beat of 8 bytes is read and one is written in a cycle. Bursts are served whole, the three
    readers in turn, and so are the two writers; the next burst follows without a pause if its
    address waits. A beat comes 3 cycles after its address was taken. A reader that does not take
    its beat holds up the others. What a response to a write has confirmed is read from then on.

    An address outside is answered with DECERR, and nothing is written. What all masters here do is
    relied on: INCR bursts of aligned beats of 8 bytes that do not cross 4 KiB, data of a write
    in the order of its addresses.

    Parameters
    ----------
    base, nbytes: int
        First address, a multiple of ``nbytes``; a power of two from SEGMENT_PAGE.

    Members
    -------
    m0: In({"read": Out(Axi3ReadSignature()), "write": Out(Axi3WriteSignature())})
    m1: In({"read": Out(Axi3ReadSignature())})
    host: Out(AxiLiteSignature(32))
        Single words of 4 bytes.
    """

    def __init__(self, *, base: int, nbytes: int) -> None:
        if nbytes < SEGMENT_PAGE or base % nbytes:
            raise ValueError(f"base={base:#x} must be a multiple of nbytes={nbytes}, "
                             f"{SEGMENT_PAGE} or more")
        self.base, self.nbytes = base, nbytes
        super().__init__({
            "m0": In(Signature({
                "read": Out(Axi3ReadSignature()), "write": Out(Axi3WriteSignature()),
            })),
            "m1": In(Signature({"read": Out(Axi3ReadSignature())})),
            "host": Out(AxiLiteSignature(32)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=8 * _BEAT, depth=self.nbytes // _BEAT, init=[])
        rp = memory.read_port()
        wp = memory.write_port(granularity=8)
        self._read_side(m, rp)
        self._write_side(m, wp)
        return m

    def _outside(self, address: Value) -> Value:
        low = exact_log2(self.nbytes)
        return address[low:] != self.base >> low

    def _choose(self, m: Module, name: str, free: Value, wants: list[Value]) -> Signal:
        """One of those that want, as one bit each, while ``free``: the first after the last."""
        n = len(wants)
        taken, last = Signal(n, name=f"{name}_taken"), Signal(n, name=f"{name}_last", init=1)
        for i in range(n):
            # i goes first if, for some earlier winner, nobody between it and i wants to.
            m.d.comb += taken[i].eq(free & wants[i] & Cat(
                last[(i - k) % n] & ~Cat(wants[(i - j) % n] for j in range(1, k)).any()
                for k in range(1, n + 1)
            ).any())
        with m.If(taken.any()):
            m.d.sync += last.eq(taken)
        return taken

    def _read_side(self, m: Module, port: Any) -> None:
        readers = [self.m0.read, self.m1.read, self.host]
        burst = data.StructLayout({
            "owner": len(readers), "address": 32, "left": 4, "id": 6, "bad": 1})
        beat = data.StructLayout({
            "owner": len(readers), "last": 1, "id": 6, "bad": 1, "high": 1})
        active = Signal()
        now = Signal(burst, reset_less=True)
        read = Signal(beat)  # the beat in the memory
        out = Signal(beat)  # in its output register
        word = Signal(8 * _BEAT, reset_less=True)
        step = Signal()

        lasts = Signal()
        m.d.comb += [
            lasts.eq(now.left == 0),
            step.eq(~Cat(
                out.owner[i] & ~r.rready for i, r in enumerate(readers)
            ).any()),
            port.addr.eq(now.address[exact_log2(_BEAT):]),
            port.en.eq(step),
        ]
        taken = self._choose(
            m, "read", step & (~active | lasts), [r.arvalid for r in readers])
        with m.If(step):
            m.d.sync += [
                active.eq(taken.any() | (active & ~lasts)),
                now.address.eq(now.address + _BEAT), now.left.eq(now.left - 1),
                read.owner.eq(Mux(active, now.owner, 0)), read.last.eq(lasts),
                read.id.eq(now.id), read.bad.eq(now.bad), read.high.eq(now.address[2]),
                out.eq(read), word.eq(port.data),
            ]
        for i, r in enumerate(readers):
            lite = r is self.host
            m.d.comb += [
                r.arready.eq(taken[i]),
                r.rvalid.eq(out.owner[i]),
                r.rresp.eq(Mux(out.bad, _DECERR, 0)),
                r.rdata.eq(Mux(out.high, word[32:], word[:32]) if lite else word),
            ]
            if not lite:
                m.d.comb += [r.rlast.eq(out.last), r.rid.eq(out.id)]
            with m.If(taken[i]):
                m.d.sync += [
                    now.owner.eq(taken), now.address.eq(r.araddr),
                    now.bad.eq(self._outside(r.araddr)),
                    now.left.eq(0 if lite else r.arlen), now.id.eq(0 if lite else r.arid),
                ]

    def _write_side(self, m: Module, port: Any) -> None:
        axi, lite = self.m0.write, self.host
        writers = [axi, lite]
        owner = Signal(2)  # who writes
        answer = Signal(2)  # who has yet to take its response
        address = Signal(32, reset_less=True)
        bad = Signal()
        last = Signal()
        beat = Signal()
        taken = self._choose(
            m, "write", (owner == 0) & (answer == 0), [w.awvalid for w in writers])
        strobes = Mux(address[2], lite.wstrb << 4, lite.wstrb)
        m.d.comb += [
            beat.eq((owner[0] & axi.wvalid) | (owner[1] & lite.wvalid)),
            last.eq(owner[1] | axi.wlast),
        ]
        m.d.sync += [
            port.addr.eq(address[exact_log2(_BEAT):]),
            port.data.eq(Mux(owner[1], lite.wdata.replicate(2), axi.wdata)),
            port.en.eq(Mux(beat & ~bad, Mux(owner[1], strobes, axi.wstrb), 0)),
        ]
        for i, w in enumerate(writers):
            m.d.comb += [
                w.awready.eq(taken[i]), w.wready.eq(owner[i]),
                w.bvalid.eq(answer[i]), w.bresp.eq(Mux(bad, _DECERR, 0)),
            ]
            with m.If(taken[i]):
                m.d.sync += [address.eq(w.awaddr), bad.eq(self._outside(w.awaddr))]
            with m.If(w.bready):
                m.d.sync += answer[i].eq(0)
        with m.If(taken.any()):
            m.d.sync += owner.eq(taken)
        with m.If(taken[0]):
            m.d.sync += axi.bid.eq(axi.awid)
        with m.If(beat):
            m.d.sync += address.eq(address + _BEAT)
            with m.If(last):
                m.d.sync += [owner.eq(0), answer.eq(owner)]
