"""A serial line: 8 data bits, no parity, one stop bit."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import stream
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Component, In, Out

__all__ = ["UartReceiver", "UartTransmitter"]


class UartReceiver(Component):
    """Bytes from a line.

    The line is synchronised, and a pulse of one cycle on it is not seen (majority of three). A
    byte begins with a fall that is still low half a bit later, and each bit is sampled in its
    middle. A byte without its stop bit is dropped. A byte is given in the middle of its stop bit,
    so the sender's clock may be off by 4 % and more. No back-pressure.

    Parameters
    ----------
    divisor: int
        Cycles of a bit, at least 4.

    Members
    -------
    line: In(1)
        Asynchronous.
    data: Out(8)
    valid: Out(1)
        One cycle for each byte.
    """

    def __init__(self, *, divisor: int) -> None:
        if divisor < 4:
            raise ValueError(f"divisor={divisor} must be 4 at least")
        self.divisor = divisor
        super().__init__({"line": In(1, init=1), "data": Out(8), "valid": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        now = Signal(init=1)
        seen = Signal(3, init=0b111)
        line = Signal(init=1)
        before = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.line, now, init=1)
        m.d.sync += [
            seen.eq(Cat(now, seen)),
            line.eq((seen[0] & seen[1]) | (seen[1] & seen[2]) | (seen[0] & seen[2])),
            before.eq(line),
        ]
        busy = Signal()
        left = Signal(range(10))  # bits to come after this one; the start bit has 9
        timer = Signal(range(self.divisor))
        sample = Signal()
        m.d.comb += sample.eq(busy & (timer == 0))
        m.d.sync += self.valid.eq(sample & (left == 0) & line)
        with m.If(~busy):
            m.d.sync += [busy.eq(before & ~line), left.eq(9), timer.eq(self.divisor // 2 - 1)]
        with m.Elif(sample):
            m.d.sync += [timer.eq(self.divisor - 1), left.eq(left - 1)]
            with m.If((left == 0) | ((left == 9) & line)):
                m.d.sync += busy.eq(0)
            with m.If(left != 0):  # the start bit is shifted out again
                m.d.sync += self.data.eq(Cat(self.data[1:], line))
        with m.Else():
            m.d.sync += timer.eq(timer - 1)
        return m


class UartTransmitter(Component):
    """Bytes to a line; ``10 * divisor`` cycles each, without a pause between them.

    Parameters
    ----------
    divisor: int
        Cycles of a bit.

    Members
    -------
    i: In(stream.Signature(8))
    line: Out(1)
        From a register.
    """

    def __init__(self, *, divisor: int) -> None:
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "line": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = Signal(9, init=0x1FF)  # what comes after the bit on the line
        left = Signal(range(11))  # bits of the byte, the one on the line included
        timer = Signal(range(self.divisor))
        step = Signal()
        m.d.comb += [step.eq(timer == 0), self.i.ready.eq(step & (left <= 1))]
        m.d.sync += timer.eq(timer - 1)
        with m.If(step):
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += [
                    self.line.eq(0), bits.eq(Cat(self.i.payload, 1)), left.eq(10),
                    timer.eq(self.divisor - 1),
                ]
            with m.Elif(left > 1):
                m.d.sync += [
                    self.line.eq(bits[0]), bits.eq(Cat(bits[1:], Const(1, 1))), left.eq(left - 1),
                    timer.eq(self.divisor - 1),
                ]
            with m.Else():
                m.d.sync += [left.eq(0), timer.eq(0)]
        return m
