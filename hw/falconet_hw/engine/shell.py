"""What all five engines have in common: ports, the count of instructions under way, results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth import Module
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect

from falconet.isa import INSTRUCTION_BITS, Arch
from falconet_hw.bus import LoadSignature
from falconet_hw.layout import WORD_ADDRESS, WriteBus
from falconet_hw.stream.credits import Credits
from falconet_hw.stream.fifo import Fifo, RegisterSlice
from falconet_hw.stream.in_flight import in_flight

__all__ = ["HELD", "EngineShell", "Result", "Results", "compute_ports", "read_ports"]

HELD = 80
"""Instructions that an engine may have under way."""


def read_ports(arch: Arch, name: str = "read") -> dict[str, Any]:
    """``{name}_req``, word addresses, and ``{name}_data``, their words.

    A word is there exactly ``read_latency`` cycles after its address' transfer, for one cycle,
    and must be taken then.
    """
    return {
        f"{name}_req": Out(stream.Signature(WORD_ADDRESS)),
        f"{name}_data": In(8 * arch.lanes),
    }


def compute_ports(arch: Arch) -> dict[str, Any]:
    """Of an engine that makes words of words: :func:`read_ports`, ``write``, ``load``."""
    return {
        **read_ports(arch),
        "write": Out(stream.Signature(WriteBus(arch))),
        "load": In(LoadSignature(arch)),
    }


class EngineShell(Component):
    """An engine as dispatch and the counters see it.

    Instructions are taken, run and retired in order; one may begin while the former drains. At
    most ``HELD`` are under way. The waits of an instruction that is offered are met.

    Parameters
    ----------
    arch: Arch
    ports: Mapping
        What the engine has beside the members below.

    Members
    -------
    instr: In(stream.Signature(512))
        Of this engine only. An offer may be withdrawn before a reset.
    start: Out(1)
        One cycle per instruction: it is taken from ``instr``.
    retire: Out(1)
        One cycle per instruction, in order: all that it writes can be read.
    busy: Out(1)
        Instructions have started, in an earlier cycle, and not retired.
    """

    def __init__(self, arch: Arch, ports: Mapping[str, Any]) -> None:
        self.arch = arch
        super().__init__({
            "instr": In(stream.Signature(INSTRUCTION_BITS)),
            "start": Out(1),
            "retire": Out(1),
            "busy": Out(1),
            **ports,
        })

    def follow(self, m: Module, retires: Any) -> None:
        """Drive ``start``, ``retire`` (in the cycle of ``retires``) and ``busy``."""
        under_way = in_flight(m, self.start, self.retire, limit=HELD, name="under_way")
        m.d.comb += [
            self.start.eq(self.instr.valid & self.instr.ready),
            self.retire.eq(retires),
            self.busy.eq(under_way.any()),
        ]


class Result(data.StructLayout):
    """A word that is written, if ``write`` (where there is such a bit); ``last`` of its
    instruction."""

    def __init__(self, arch: Arch, *, silent: bool) -> None:
        write = {"write": 1} if silent else {}
        super().__init__({"word": WriteBus(arch), "last": 1, **write})


class Results(Component):
    """Where a pipeline that cannot stall ends: results wait for their memory.

    A result leaves two cycles after it came if nothing is before it, three if ``silent``; one a
    cycle.

    Parameters
    ----------
    arch: Arch
    depth: int
        Results promised or waiting; for one a cycle, at least the cycles from a promise to two
        after the result's departure.
    silent: bool
        Results without ``write`` exist: they only end their instruction. A register slice then
        keeps ``write.ready``, which comes late in the cycle, out of the queue.

    Members
    -------
    promise: In(1)
        A result is on its way; only while ``room``.
    room: Out(1)
        A register.
    valid, result: In
        A result that was promised. Always taken.
    write: Out(stream.Signature(WriteBus(arch)))
        Words in the order of the results.
    retire: Out(1)
        The last result of an instruction leaves in this cycle.
    """

    def __init__(self, *, arch: Arch, depth: int, silent: bool = False) -> None:
        self.depth, self.silent = depth, silent
        super().__init__({
            "promise": In(1),
            "room": Out(1),
            "valid": In(1),
            "result": In(Result(arch, silent=silent)),
            "write": Out(stream.Signature(WriteBus(arch))),
            "retire": Out(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.queue = queue = Fifo(self.result.shape(), depth=self.depth)
        m.submodules.credits = credits = Credits(depth=self.depth)
        out = queue.o
        if self.silent:
            m.submodules.slice = out_slice = RegisterSlice(self.result.shape())
            connect(m, queue.o, out_slice.i)
            out = out_slice.o
        written = out.payload.write if self.silent else 1
        left = out.valid & out.ready
        m.d.comb += [
            queue.i.valid.eq(self.valid), queue.i.payload.eq(self.result),
            self.write.valid.eq(out.valid & written),
            self.write.payload.eq(out.payload.word),
            out.ready.eq(self.write.ready | ~written if self.silent else self.write.ready),
            credits.take.eq(self.promise), credits.give.eq(left), self.room.eq(credits.room),
            self.retire.eq(left & out.payload.last),
        ]
        return m
