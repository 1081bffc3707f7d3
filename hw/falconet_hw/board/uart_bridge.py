"""From a serial line to a bus: a computer reads and writes words."""

from __future__ import annotations

import enum

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from falconet.isa.machine.uart import (
    BEGIN_READ,
    BEGIN_REPLY,
    BEGIN_WRITE,
    CRC_BYTES,
    FRAME_WORDS,
    GAP_BITS,
    REPLY_HEAD,
    REQUEST,
)
from falconet_hw.board.uart import UartReceiver, UartTransmitter
from falconet_hw.bus import AxiLiteSignature

__all__ = ["UartBridge"]

_HEAD = REQUEST.size - 1  # bytes after the one that begins a request


class _Part(enum.Enum):
    """What a reply goes on with."""

    WORDS = 0
    RESPONSE = 1
    CRC = 2
    END = 3


class UartBridge(Component):
    """Carries out the requests of ``falconet.isa.machine.uart``, which describes them.

    One request at a time; it takes the time of its bytes on the line, and that of one access to
    the bus after the other. The words of a write are kept until its CRC has been seen (1 KB);
    those of a read are sent as they come. The line has no back-pressure, the bus may be as slow as
    it likes. Address, data and strobes keep still from the first cycle of an access to its
    response.

    Parameters
    ----------
    divisor: int
        Cycles of a bit.
    gap_bits: int
        A request that pauses for so many bits is dropped.

    Members
    -------
    rx: In(1), tx: Out(1)
        The line, as this side calls them.
    bus: In(AxiLiteSignature(32))
        Words; a read or a write at a time.
    """

    def __init__(self, *, divisor: int, gap_bits: int = GAP_BITS) -> None:
        self.divisor, self.gap_bits = divisor, gap_bits
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1), "bus": In(AxiLiteSignature(32)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(divisor=self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(divisor=self.divisor)
        m.submodules.crc = crc = CRC32_ISO_HDLC().create()
        m.submodules.words = words = Memory(shape=32, depth=FRAME_WORDS, init=[])
        wp = words.write_port()
        rp = words.read_port()
        bus, byte, came = self.bus, receiver.data, receiver.valid

        head = Signal(8 * _HEAD)
        tag, count, address = head[:8], head[8:16], head[16:]
        writes = Signal()
        index = Signal(range(FRAME_WORDS))
        to_come = Signal(range(4 * FRAME_WORDS + 1))  # bytes of this part of the request
        gap = Signal(range(self.gap_bits * self.divisor))
        done_tag = Signal(9)  # bit 8: a request has been done
        response = Signal(8)
        repeated = Signal()
        receiving = Signal()
        expired = Signal()
        part = Signal(_Part)
        sending = Signal(32)
        to_send = Signal(range(5))
        word = Signal(24, reset_less=True)

        m.d.comb += [
            receiver.line.eq(self.rx), self.tx.eq(transmitter.line),
            crc.valid.eq(came), crc.data.eq(byte),
            wp.addr.eq(index), wp.data.eq(Cat(word, byte)), rp.addr.eq(index),
            bus.awaddr.eq(address + (index << 2)), bus.araddr.eq(bus.awaddr),
            bus.wdata.eq(rp.data), bus.wstrb.eq(0b1111),
            repeated.eq(writes & (done_tag == Cat(tag, Const(1, 1)))),
            receiving.eq(to_come != 0), expired.eq(receiving & (gap == 0) & ~came),
        ]
        m.d.sync += gap.eq(Mux(came | ~receiving, self.gap_bits * self.divisor - 1, gap - 1))
        with m.If(expired):
            m.d.sync += to_come.eq(0)
        with m.If(came & receiving):
            m.d.sync += [to_come.eq(to_come - 1), word.eq(Cat(word[8:], byte))]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [index.eq(0), writes.eq(byte == BEGIN_WRITE)]
                with m.If(came & ((byte == BEGIN_READ) | (byte == BEGIN_WRITE))):
                    m.d.sync += to_come.eq(_HEAD)
                    m.next = "HEAD"
            with m.State("HEAD"):
                with m.If(came):
                    m.d.sync += head.eq(Cat(head[8:], byte))
                with m.If(~receiving):
                    m.d.sync += to_come.eq(Mux(writes, Cat(Const(0, 2), count + 1), CRC_BYTES))
                    with m.If(writes):
                        m.next = "WORDS"
                    with m.Else():
                        m.next = "CRC"
                with m.If(expired):
                    m.next = "IDLE"
            with m.State("WORDS"):
                with m.If(came & (to_come[:2] == 1)):
                    m.d.comb += wp.en.eq(1)
                    m.d.sync += index.eq(index + 1)
                with m.If(~receiving):
                    m.d.sync += [to_come.eq(CRC_BYTES), index.eq(0)]
                    m.next = "CRC"
                with m.If(expired):
                    m.next = "IDLE"
            with m.State("CRC"):
                with m.If(~receiving):
                    m.next = "IDLE"
                    with m.If(crc.match_detected):
                        m.d.sync += done_tag.eq(Cat(tag, Const(1, 1)))
                        with m.If(~repeated):
                            m.d.sync += response.eq(0)
                        m.next = "REPLY"
                        with m.If(writes & ~repeated):
                            m.next = "ACCESS"
                with m.If(expired):
                    m.next = "IDLE"

            with m.State("ACCESS"):
                m.d.sync += [
                    bus.awvalid.eq(writes), bus.wvalid.eq(writes), bus.arvalid.eq(~writes),
                ]
                m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += [bus.bready.eq(1), bus.rready.eq(1)]
                for valid, ready in (
                    (bus.awvalid, bus.awready), (bus.wvalid, bus.wready),
                    (bus.arvalid, bus.arready),
                ):
                    with m.If(ready):
                        m.d.sync += valid.eq(0)
                with m.If(bus.bvalid | bus.rvalid):
                    m.d.sync += [index.eq(index + 1), sending.eq(bus.rdata)]
                    with m.If(response == 0):
                        m.d.sync += response.eq(Mux(writes, bus.bresp, bus.rresp))
                    with m.If(~writes):
                        m.d.sync += to_send.eq(4)
                        with m.If(index == count):
                            m.d.sync += part.eq(_Part.RESPONSE)
                        m.next = "SEND"
                    with m.Elif(index == count):
                        m.next = "REPLY"
                    with m.Else():
                        m.next = "ACCESS"

            with m.State("REPLY"):
                m.d.comb += [crc.start.eq(1), crc.valid.eq(0)]
                m.d.sync += [
                    sending.eq(Cat(Const(BEGIN_REPLY, 8), tag)), to_send.eq(REPLY_HEAD),
                    index.eq(0), part.eq(Mux(writes, _Part.RESPONSE, _Part.WORDS)),
                ]
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += [
                    transmitter.i.valid.eq(to_send != 0),
                    transmitter.i.payload.eq(sending[:8]),
                    crc.data.eq(sending[:8]),
                    crc.valid.eq(transmitter.i.valid & transmitter.i.ready),
                ]
                with m.If(crc.valid):
                    m.d.sync += [sending.eq(sending >> 8), to_send.eq(to_send - 1)]
                with m.If(to_send == 0):
                    with m.Switch(part):
                        with m.Case(_Part.WORDS):
                            m.next = "ACCESS"
                        with m.Case(_Part.RESPONSE):
                            m.d.sync += [sending.eq(response), to_send.eq(1), part.eq(_Part.CRC)]
                        with m.Case(_Part.CRC):
                            m.d.sync += [
                                sending.eq(crc.crc), to_send.eq(CRC_BYTES), part.eq(_Part.END),
                            ]
                        with m.Case(_Part.END):
                            m.next = "IDLE"
        return m
