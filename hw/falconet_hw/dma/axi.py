"""AXI3 masters: one read port shared by two clients, one write port; errors; DDR segments."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, Signature, connect, flipped

from falconet.isa import Arch, ErrorCode, Segment
from falconet_hw.bus import BURST_LENGTH, Axi3ReadSignature, Axi3WriteSignature
from falconet_hw.layout import BEAT, DDR_ADDRESS, STROBES
from falconet_hw.stream.fifo import Fifo, RegisterSlice
from falconet_hw.stream.in_flight import in_flight

__all__ = [
    "BurstCommand", "ErrorLayout", "ReadBeat", "ReadClientSignature", "ReadMaster",
    "SegmentsLayout", "WriteBeat", "WriteClientSignature", "WriteMaster", "latch_error",
]


class ErrorLayout(data.StructLayout):
    """A block's first error. ``valid`` stays until reset; ``code`` is an ErrorCode."""

    def __init__(self) -> None:
        super().__init__({"valid": 1, "code": 4, "address": DDR_ADDRESS})


class SegmentsLayout(data.ArrayLayout):
    """Base and size in bytes of each Segment, as the driver set them.

    A base is a multiple of SEGMENT_PAGE and a size of SEGMENT_GRAIN; lower bits are taken as 0.
    """

    def __init__(self) -> None:
        window = data.StructLayout({"base": DDR_ADDRESS, "size": DDR_ADDRESS})
        super().__init__(window, len(Segment))


class BurstCommand(data.StructLayout):
    """``len + 1`` beats of 8 bytes from byte ``addr``; ``tag`` comes back with the response.

    The caller has checked the window; the burst crosses no ``8 * burst_beats``-byte boundary.
    """

    def __init__(self) -> None:
        super().__init__({"addr": DDR_ADDRESS, "len": BURST_LENGTH, "tag": 1})


class ReadBeat(data.StructLayout):
    """One beat; ``last`` of its burst; ``tag`` of the burst's command."""

    def __init__(self) -> None:
        super().__init__({"data": BEAT, "last": 1, "tag": 1})


class WriteBeat(data.StructLayout):
    """One beat and its byte strobes."""

    def __init__(self) -> None:
        super().__init__({"data": BEAT, "strb": STROBES})


class ReadClientSignature(Signature):
    """Commands and their data, in the order of the commands (as seen by the client)."""

    def __init__(self) -> None:
        super().__init__({
            "cmd": Out(stream.Signature(BurstCommand())),
            "data": In(stream.Signature(ReadBeat())),
        })


class WriteClientSignature(Signature):
    """Commands, data in the order of the commands, responses (as seen by the client).

    ``done`` is high for one cycle per good response, in order, with the ``tag`` of its command.
    """

    def __init__(self) -> None:
        super().__init__({
            "cmd": Out(stream.Signature(BurstCommand())),
            "data": Out(stream.Signature(WriteBeat())),
            "done": In(1),
            "tag": In(1),
        })


_OUTSTANDING = 16  # bursts; the PS7's HP ports accept 8
_FETCH_BEATS = 32
_SIZE_8, _INCR, _BUFFERABLE = 3, 1, 0b0011


def latch_error(m: Module, error: Any, when: Any, code: ErrorCode, address: Any) -> None:
    """Keep the first error: set ``error`` (an ErrorLayout view) the first time ``when`` is high."""
    with m.If(when & ~error.valid):
        m.d.sync += [error.valid.eq(1), error.code.eq(code), error.address.eq(address)]


class ReadMaster(Component):
    """One 64-bit AXI3 read port with two clients, LOAD and FETCH.

    Raises an address every second cycle at most, up to 16 bursts outstanding, one ID, so that all
    data come in the order of the addresses. ``rready`` is always high. A beat reaches LOAD one
    cycle after its transfer.

    Members
    -------
    load, fetch: In(ReadClientSignature())
        FETCH goes first when both have a command. LOAD keeps room for its data before it raises a
        command: its ``data.ready`` is not looked at. FETCH's data waits in a queue of 32 beats
        with credits, so FETCH may take it when it likes.
    stop: In(1)
        No new address is raised (one that is raised stays until taken).
    bus: Out(Axi3ReadSignature())
    idle: Out(1)
        No address is raised and no data is outstanding.
    error: Out(ErrorLayout())
        READ and the address of the first burst answered with SLVERR or DECERR. Implies ``stop``.
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "load": In(ReadClientSignature()),
            "fetch": In(ReadClientSignature()),
            "stop": In(1),
            "bus": Out(Axi3ReadSignature()),
            "idle": Out(1),
            "error": Out(ErrorLayout()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        owner = data.StructLayout({"addr": DDR_ADDRESS, "tag": 1, "fetch": 1})
        m.submodules.owners = owners = Fifo(owner, depth=_OUTSTANDING)
        m.submodules.fetched = fetched = Fifo(ReadBeat(), depth=_FETCH_BEATS)
        bus, load, fetch = self.bus, self.load, self.fetch

        opened = Signal()
        fetch_first = Signal()
        take = Signal()
        command = Signal(BurstCommand())
        fetched_beat = fetched.o.valid & fetched.o.ready
        outstanding = in_flight(
            m, take, owners.o.ready, limit=2 * _OUTSTANDING - 1, name="outstanding",
        )
        promised = in_flight(
            m, Mux(take & fetch_first, command.len + 1, 0), fetched_beat, limit=_FETCH_BEATS,
            name="promised",
        )
        m.d.comb += [
            self.idle.eq(outstanding == 0),
            opened.eq(~bus.arvalid & owners.i.ready & ~self.stop & ~self.error.valid),
            fetch_first.eq(fetch.cmd.valid & (promised <= _FETCH_BEATS - self.arch.burst_beats)),
            fetch.cmd.ready.eq(opened & fetch_first),
            load.cmd.ready.eq(opened & ~fetch_first),
            take.eq(opened & (fetch_first | load.cmd.valid)),
            command.eq(Mux(fetch_first, fetch.cmd.payload, load.cmd.payload)),
            owners.i.valid.eq(take),
            owners.i.payload.addr.eq(command.addr),
            owners.i.payload.tag.eq(command.tag),
            owners.i.payload.fetch.eq(fetch_first),
            bus.arsize.eq(_SIZE_8), bus.arburst.eq(_INCR), bus.arcache.eq(_BUFFERABLE),
            bus.rready.eq(1),
        ]
        with m.If(bus.arready):
            m.d.sync += bus.arvalid.eq(0)
        with m.If(take):
            m.d.sync += [
                bus.arvalid.eq(1), bus.araddr.eq(command.addr), bus.arlen.eq(command.len),
            ]

        valid = Signal()
        failed = Signal()
        beat = Signal(ReadBeat(), reset_less=True)
        of_fetch = owners.o.payload.fetch
        m.d.sync += [
            valid.eq(bus.rvalid), failed.eq(bus.rresp[1]),
            beat.data.eq(bus.rdata), beat.last.eq(bus.rlast),
        ]
        for to, mine in ((load.data, ~of_fetch), (fetched.i, of_fetch)):
            m.d.comb += [
                to.payload.data.eq(beat.data), to.payload.last.eq(beat.last),
                to.payload.tag.eq(owners.o.payload.tag),
                to.valid.eq(valid & mine),
            ]
        m.d.comb += [
            owners.o.ready.eq(valid & beat.last),
        ]
        connect(m, fetched.o, flipped(fetch.data))
        latch_error(m, self.error, valid & failed, ErrorCode.READ, owners.o.payload.addr)
        return m


class WriteMaster(Component):
    """One 64-bit AXI3 write port.

    Raises an address every second cycle at most, up to 16 bursts outstanding, one ID. Data
    follows its address, never goes before it, and does not wait for it to be taken; one beat a
    cycle. Once stopped it does not wait for the client's data either: what is missing goes out
    without strobes, so that whatever the client is waiting for, the bus comes to rest.

    Members
    -------
    client: In(WriteClientSignature())
        A command may be given before its data; the client then supplies all of it. Of what it
        offers while ``stop`` is high nothing is written.
    stop: In(1)
        No new address is raised; bursts already accepted are finished. To be held until reset.
    bus: Out(Axi3WriteSignature())
    idle: Out(1)
        No address is raised, no data or response outstanding.
    error: Out(ErrorLayout())
        WRITE and the address of the first burst answered with SLVERR or DECERR. Implies ``stop``
        and the end of ``done``.
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "client": In(WriteClientSignature()),
            "stop": In(1),
            "bus": Out(Axi3WriteSignature()),
            "idle": Out(1),
            "error": Out(ErrorLayout()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        owner = data.StructLayout({"addr": DDR_ADDRESS, "tag": 1})
        m.submodules.owners = owners = Fifo(owner, depth=_OUTSTANDING)
        m.submodules.lengths = lengths = Fifo(BURST_LENGTH, depth=_OUTSTANDING)
        beat = data.StructLayout({"data": BEAT, "strb": STROBES, "last": 1})
        m.submodules.beats = beats = RegisterSlice(beat)
        bus, client = self.bus, self.client

        take = Signal()
        answered = Signal()
        failed = Signal()
        outstanding = in_flight(m, take, answered, limit=2 * _OUTSTANDING - 1, name="outstanding")
        m.d.comb += [
            self.idle.eq(outstanding == 0),
            client.cmd.ready.eq(
                ~bus.awvalid & owners.i.ready & lengths.i.ready & ~self.stop & ~self.error.valid
            ),
            take.eq(client.cmd.valid & client.cmd.ready),
            owners.i.valid.eq(take),
            owners.i.payload.addr.eq(client.cmd.payload.addr),
            owners.i.payload.tag.eq(client.cmd.payload.tag),
            lengths.i.valid.eq(take),
            lengths.i.payload.eq(client.cmd.payload.len),
            bus.awsize.eq(_SIZE_8), bus.awburst.eq(_INCR), bus.awcache.eq(_BUFFERABLE),
            bus.bready.eq(1),
        ]
        with m.If(bus.awready):
            m.d.sync += bus.awvalid.eq(0)
        with m.If(take):
            m.d.sync += [
                bus.awvalid.eq(1), bus.awaddr.eq(client.cmd.payload.addr),
                bus.awlen.eq(client.cmd.payload.len),
            ]

        index = Signal(BURST_LENGTH)
        last = Signal()
        go = Signal()
        m.d.comb += [
            last.eq(index == lengths.o.payload),
            beats.i.valid.eq((client.data.valid | self.stop) & lengths.o.valid),
            client.data.ready.eq(beats.i.ready & lengths.o.valid),
            go.eq(beats.i.valid & beats.i.ready),
            lengths.o.ready.eq(go & last),
            beats.i.payload.data.eq(client.data.payload.data),
            beats.i.payload.strb.eq(Mux(self.stop, 0, client.data.payload.strb)),
            beats.i.payload.last.eq(last),
            bus.wvalid.eq(beats.o.valid), beats.o.ready.eq(bus.wready),
            bus.wdata.eq(beats.o.payload.data), bus.wstrb.eq(beats.o.payload.strb),
            bus.wlast.eq(beats.o.payload.last),
        ]
        with m.If(go):
            m.d.sync += index.eq(Mux(last, 0, index + 1))

        m.d.sync += [answered.eq(bus.bvalid), failed.eq(bus.bresp[1])]
        m.d.comb += [
            owners.o.ready.eq(answered),
            client.done.eq(answered & ~failed & ~self.error.valid),
            client.tag.eq(owners.o.payload.tag),
        ]
        latch_error(m, self.error, answered & failed, ErrorCode.WRITE, owners.o.payload.addr)
        return m
