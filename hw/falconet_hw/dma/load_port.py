"""The load engine's side of the two read ports: room for data, and words put together again."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from falconet.isa import Arch
from falconet_hw.dma.axi import BurstCommand, ReadClientSignature
from falconet_hw.layout import BEAT
from falconet_hw.stream.fifo import Fifo, RegisterSlice
from falconet_hw.stream.in_flight import in_flight

__all__ = ["Gather", "LoadPort", "Parcel", "Word"]

_BURSTS = 8  # of full length: what a port's queue holds


class Parcel(data.StructLayout):
    """Up to one lane word of a burst: ``count + 1`` beats, the first one lowest.

    ``last`` of its burst; ``end`` of its run.
    """

    def __init__(self, arch: Arch) -> None:
        super().__init__({"data": 8 * arch.lanes, "count": 1, "last": 1, "end": 1})


class Word(data.StructLayout):
    """A lane word, counted from the begin of its run; in the ``end`` one high bytes may be any."""

    def __init__(self, arch: Arch) -> None:
        super().__init__({"data": 8 * arch.lanes, "end": 1})


class LoadPort(Component):
    """Hands bursts to a read master and keeps room for their data: 8 bursts of full length.

    Beats are packed to parcels on their way in, so that a parcel (a whole word) can leave in
    every cycle, although one beat a cycle is all that comes.

    Members
    -------
    cmd: In(stream.Signature(BurstCommand()))
        ``tag`` marks the last burst of a run.
    master: Out(ReadClientSignature())
    parcels: Out(stream.Signature(Parcel(arch)))
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "cmd": In(stream.Signature(BurstCommand())),
            "master": Out(ReadClientSignature()),
            "parcels": Out(stream.Signature(Parcel(arch))),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        per_word = self.arch.lanes // self.arch.DATA_BYTES
        per_burst = self.arch.burst_beats // per_word
        depth = _BURSTS * per_burst
        m.submodules.queue = queue = Fifo(Parcel(self.arch), depth=depth)
        cmd, master = self.cmd, self.master

        enough = Signal()
        taken = Signal(range(per_burst + 1))
        out = queue.o.valid & queue.o.ready
        held = in_flight(m, taken, out, limit=depth, name="held")
        m.d.comb += [
            enough.eq(held <= depth - per_burst),
            master.cmd.valid.eq(cmd.valid & enough),
            master.cmd.payload.eq(cmd.payload),
            cmd.ready.eq(master.cmd.ready & enough),
            taken.eq(Mux(cmd.valid & cmd.ready, cmd.payload.len // per_word + 1, 0)),
        ]

        beat, parcel = master.data.payload, queue.i.payload
        m.d.comb += [
            master.data.ready.eq(1),
            parcel.last.eq(beat.last),
            parcel.end.eq(beat.last & beat.tag),
        ]
        if per_word == 1:
            m.d.comb += [parcel.data.eq(beat.data), queue.i.valid.eq(master.data.valid)]
        else:
            half = Signal()
            low = Signal(BEAT, reset_less=True)
            m.d.comb += [
                parcel.data.eq(Cat(Mux(half, low, beat.data), beat.data)),
                parcel.count.eq(half),
                queue.i.valid.eq(master.data.valid & (half | beat.last)),
            ]
            with m.If(master.data.valid):
                m.d.sync += half.eq(~half & ~beat.last)
            with m.If(~half):
                m.d.sync += low.eq(beat.data)

        connect(m, queue.o, flipped(self.parcels))
        return m


class Gather(Component):
    """Parcels of two ports, a burst from each in turn, become the words of runs.

    One word a cycle; a run whose first burst has an odd number of beats may take one cycle more.
    ``words`` comes from registers.

    Members
    -------
    p0, p1: In(stream.Signature(Parcel(arch)))
    words: Out(stream.Signature(Word(arch)))
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "p0": In(stream.Signature(Parcel(arch))),
            "p1": In(stream.Signature(Parcel(arch))),
            "words": Out(stream.Signature(Word(arch))),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.out = out = RegisterSlice(Word(self.arch))
        # Two registers say whose turn it is, one for the data and one for what steers them. They
        # are each other's complement, so that no tool makes one of them.
        turn = Signal()
        first = Signal(init=1)
        valid = Signal()
        take = Signal()
        parcel = Signal(Parcel(self.arch))
        word = out.i.payload
        m.d.comb += [
            valid.eq(Mux(first, self.p0.valid, self.p1.valid)),
            parcel.eq(Mux(first, self.p0.payload, self.p1.payload)),
            parcel.data.eq(Mux(turn, self.p1.payload.data, self.p0.payload.data)),
            self.p0.ready.eq(take & first),
            self.p1.ready.eq(take & ~first),
        ]
        connect(m, out.o, flipped(self.words))
        with m.If(take & parcel.last):
            m.d.sync += [turn.eq(~turn), first.eq(turn)]

        if self.arch.lanes == self.arch.DATA_BYTES:
            m.d.comb += [
                out.i.valid.eq(valid), take.eq(valid & out.i.ready),
                word.data.eq(parcel.data), word.end.eq(parcel.end),
            ]
            return m

        # A run is one beat behind after a burst of odd length: `held` is the beat left over, and
        # `flush` says that it is the last one of its run.
        held = Signal()
        flush = Signal()
        beat = Signal(BEAT, reset_less=True)
        low, high = parcel.data[:BEAT.width], parcel.data[BEAT.width:]
        absorb = Signal()
        behind = Signal()
        m.d.comb += [
            absorb.eq(~held & ~parcel.count & ~parcel.end),  # one beat, kept for the next parcel
            behind.eq(held & parcel.count),
            take.eq(valid & ~flush & (out.i.ready | absorb)),
            out.i.valid.eq(flush | (valid & ~absorb)),
            word.data.eq(Cat(Mux(held, beat, low), Mux(held, low, high))),
            word.end.eq(flush | (parcel.end & ~behind)),
        ]
        with m.If(take):
            m.d.sync += [
                held.eq(absorb | behind),
                flush.eq(behind & parcel.end),
                beat.eq(Mux(held, high, low)),
            ]
        with m.Elif(flush & out.i.ready):
            m.d.sync += [held.eq(0), flush.eq(0)]
        return m
