"""The AXI masters keep the rules of the bus, and lose and mix up nothing."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.hdl import Assert, Assume
from amaranth.lib import data
from amaranth.lib.wiring import Component, In

from falconet.isa import ErrorCode, preset
from falconet_hw.dma import axi
from falconet_hw.dma.axi import BurstCommand, WriteBeat
from formal.inside import Inside
from formal.proof import Mutant, Proof
from formal.streams import assert_steady, before

__all__ = ["PROOFS", "ReadProof", "WriteProof"]

_COUNT = 6  # bits of a number of bursts: more than can be outstanding
_BURSTS = 17  # the queue of owners and its output register
_INCR, _EIGHT_BYTES = 1, 3


class _Chosen:
    """A command chosen by ``pick``, and how many bursts are to be answered before it.

    ``number`` bursts are outstanding, ``answer`` is the last beat (or response) of the oldest.
    """

    def __init__(self, m: Module, layout: Any, *, take: Any, payload: Any, answer: Any,
                 pick: Any) -> None:
        self.there, self.ahead, self.payload = Signal(), Signal(_COUNT), Signal(layout)
        self.number = Signal(_COUNT)
        m.d.sync += self.number.eq(self.number + take - answer)
        with m.If(self.there & answer):
            m.d.sync += [self.ahead.eq(self.ahead - 1), self.there.eq(self.ahead != 0)]
        with m.If(take & pick & ~self.there):
            m.d.sync += [
                self.there.eq(1), self.payload.eq(payload), self.ahead.eq(self.number - answer),
            ]
        m.d.comb += Assert(~self.there | (self.ahead < self.number))
        self.next = self.there & (self.ahead == 0)

    def assert_in(self, m: Module, fifo: Inside, same: Any) -> None:
        """For the induction: where in ``fifo`` the chosen one is. ``same(entry)`` says equal."""
        valid, level = fifo.component.o.valid, fifo["level"]
        wp, rp = fifo["wp"], fifo["rp"]
        port = fifo["memory"].read_port(domain="comb")
        m.d.comb += [
            port.addr.eq(rp.addr + self.ahead - valid),
            Assert(self.number == level + valid), Assert(level <= fifo.component.depth),
            Assert((wp.addr - rp.addr - level)[:len(wp.addr)] == 0),
            Assert(~(self.there & ~(valid & (self.ahead == 0))) | same(port.data)),
            Assert(~(self.next & valid) | same(fifo.component.o.payload)),
        ]


def _assert_address(m: Module, bus: Any, channel: str, take: Any, command: Any, ready: Any) -> Any:
    """The address of an accepted command, from the next cycle until taken, and none else."""
    of = {n: getattr(bus, f"{channel}{n}") for n in (
        "valid", "addr", "len", "size", "burst", "id", "prot", "cache")}
    owed, expected = Signal(), Signal(BurstCommand())
    with m.If(ready):
        m.d.sync += owed.eq(0)
    with m.If(take):
        m.d.sync += [owed.eq(1), expected.eq(command)]
    m.d.comb += [
        Assert(of["valid"] == owed), Assert(~(take & owed)),
        Assert(~owed | ((of["addr"] == expected.addr) & (of["len"] == expected.len))),
        Assert((of["size"] == _EIGHT_BYTES) & (of["burst"] == _INCR)),
        Assert((of["id"] == 0) & (of["prot"] == 0)),
    ]
    assert_steady(m, of["valid"], ready, [*of.values()][1:3], channel)
    return of["valid"] & ready


class ReadProof(Component):
    """Addresses are those of the commands; each beat goes to the client and tag of its command.

    Assumed of the slave: a beat belongs to an address that has been taken (in this cycle or
    before), and FETCH gets no more beats than it has asked for.

    Members
    -------
    load, fetch, ... : In
        Commands, what the slave does, and ``pick``: the command accepted is the chosen one.
    """

    def __init__(self, master: Any) -> None:
        self.master = master
        super().__init__({
            "load": In(BurstCommand()), "load_valid": In(1),
            "fetch": In(BurstCommand()), "fetch_valid": In(1), "fetch_ready": In(1),
            "arready": In(1), "rvalid": In(1), "rdata": In(64), "rresp": In(2), "rlast": In(1),
            "stop": In(1), "pick": In(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut, bus = self.master, self.master.bus
        inside = Inside(dut)
        m.submodules.dut = inside.module
        m.d.comb += [
            dut.load.cmd.valid.eq(self.load_valid), dut.load.cmd.payload.eq(self.load),
            dut.fetch.cmd.valid.eq(self.fetch_valid), dut.fetch.cmd.payload.eq(self.fetch),
            dut.fetch.data.ready.eq(self.fetch_ready), dut.stop.eq(self.stop),
            bus.arready.eq(self.arready), bus.rvalid.eq(self.rvalid), bus.rdata.eq(self.rdata),
            bus.rresp.eq(self.rresp), bus.rlast.eq(self.rlast),
        ]
        by_load = self.load_valid & dut.load.cmd.ready
        by_fetch = self.fetch_valid & dut.fetch.cmd.ready
        take = by_load | by_fetch
        owner = data.StructLayout({"addr": 32, "tag": 1, "fetch": 1})
        command, kept = Signal(BurstCommand()), Signal(owner)
        m.d.comb += [
            command.eq(Mux(by_fetch, self.fetch, self.load)),
            kept.addr.eq(command.addr), kept.tag.eq(command.tag), kept.fetch.eq(by_fetch),
            Assert(~(by_load & by_fetch)),
            Assert(~(take & (self.stop | dut.error.valid))),
            Assert(bus.rready),
        ]
        asked = _assert_address(m, bus, "ar", take, command, self.arready)

        # The slave answers what it has taken.
        unanswered = Signal(_COUNT)
        last = self.rvalid & self.rlast
        m.d.sync += unanswered.eq(unanswered + asked - last)
        m.d.comb += Assume(~self.rvalid | (unanswered + asked != 0))

        # Beats arrive a cycle later; `arrived` of the burst that is the oldest outstanding.
        arrived, beat = before(m, self.rvalid, "rvalid"), before(m, self.rdata, "rdata")
        is_last = before(m, self.rlast, "rlast")
        failed = before(m, self.rresp >= 2, "failed")
        chosen = _Chosen(m, owner, take=take, payload=kept, answer=arrived & is_last,
                         pick=self.pick)
        to_load, queue = dut.load.data, inside["fetched"]
        m.d.comb += [
            Assert((to_load.valid | queue.i.valid) == arrived),
            Assert(~(to_load.valid & queue.i.valid)),
            Assert(~queue.i.valid | queue.i.ready),
            Assert(dut.idle == (chosen.number == 0)),
            Assert(~dut.idle | ~bus.arvalid),
            Assert(dut.fetch.data.valid == queue.o.valid),
            Assert(queue.o.ready == self.fetch_ready),
            Assert(~queue.o.valid | (dut.fetch.data.payload == queue.o.payload)),
        ]
        mine = chosen.next & arrived
        for to, for_fetch in ((to_load, 0), (queue.i, 1)):
            m.d.comb += Assert(~(mine & (chosen.payload.fetch == for_fetch)) | (
                to.valid & (to.payload.data == beat) & (to.payload.last == is_last)
                & (to.payload.tag == chosen.payload.tag)
            ))
        was_error = before(m, dut.error.valid, "was_error")
        m.d.comb += [
            Assert(~before(m, mine & failed & ~dut.error.valid, "first_error") | (
                dut.error.valid & (dut.error.code == ErrorCode.READ)
                & (dut.error.address == before(m, chosen.payload.addr, "failed_addr"))
            )),
            Assert(~dut.error.valid | was_error | before(m, arrived & failed, "any_failed")),
        ]
        assert_steady(m, dut.error.valid, 0, dut.error, "error")

        # Beats that FETCH has asked for and not got, and the room that is kept for them.
        to_come = Signal(7)
        m.d.sync += to_come.eq(to_come + Mux(by_fetch, command.len + 1, 0) - queue.i.valid)
        m.d.comb += Assume(~queue.i.valid | (to_come != 0))
        fetched = inside.blocks["fetched"]
        m.d.comb += [
            Assert(inside["promised"] == to_come + fetched["level"] + queue.o.valid),
            Assert(fetched["level"] + to_come <= 32), Assert(inside["promised"] <= 32),
        ]
        # For the induction.
        owners = inside.blocks["owners"]
        chosen.assert_in(m, owners, lambda entry: entry == chosen.payload)
        m.d.comb += [
            Assert(inside["outstanding"] == chosen.number),
            Assert(chosen.number == unanswered + bus.arvalid + (arrived & is_last)),
            Assert(~arrived | inside["owners"].o.valid),
            Assert(inside["valid"] == arrived), Assert(~arrived | (inside["failed"] == failed)),
            Assert(~arrived | (inside["beat"].data == beat)),
            Assert(~arrived | (inside["beat"].last == is_last)),
        ]
        return m


_READ_MUTANTS = {
    "an address taken back": Mutant("with m.If(bus.arready):", "bus.arready", "1"),
    "an address raised twice": Mutant("m.d.sync += bus.arvalid.eq(0)", "eq(0)", "eq(bus.arvalid)"),
    "the other client's address":
        Mutant("command.eq(Mux", "fetch_first, fetch", "~fetch_first, fetch"),
    "a new address over one that waits": Mutant("opened.eq(", "~bus.arvalid & ", ""),
    "an address after stop": Mutant("opened.eq(~bus.arvalid", " & ~self.stop", ""),
    "an address after an error": Mutant("opened.eq(~bus.arvalid", " & ~self.error.valid", ""),
    "data to the other client": Mutant(
        "(fetched.i, of_fetch)", "(fetched.i, of_fetch)", "(fetched.i, ~of_fetch)"),
    "the tag of every beat 0": Mutant(
        "to.payload.tag.eq", "owners.o.payload.tag", "owners.o.payload.tag & beat.last"),
    "an owner forgotten too early": Mutant("owners.o.ready.eq(valid", "valid & beat.last", "valid"),
    "idle while an address waits": Mutant(
        "m, take, owners.o.ready", "take,", "bus.arvalid & bus.arready,"),
    "room counted too high": Mutant("Mux(take & fetch_first", "command.len + 1", "command.len"),
    "bursts of 4 bytes": Mutant("bus.arsize.eq", "_SIZE_8", "2"),
    "an error is not seen": Mutant("failed.eq(bus.rresp", "rresp[1]", "rresp.all()"),
}


class WriteProof(Component):
    """Addresses are those of the commands; data follow them, with as many beats as each says.

    Assumed of the slave: a response belongs to a burst whose address and last beat were taken
    before.

    Members
    -------
    command, beat, ... : In
        What the client and the slave do; ``pick``: the command accepted is the chosen one.
    """

    def __init__(self, master: Any) -> None:
        self.master = master
        super().__init__({
            "command": In(BurstCommand()), "valid": In(1), "beat": In(WriteBeat()),
            "beat_valid": In(1), "awready": In(1), "wready": In(1), "bvalid": In(1),
            "bresp": In(2), "stop": In(1), "pick": In(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut, bus, client = self.master, self.master.bus, self.master.client
        inside = Inside(dut)
        m.submodules.dut = inside.module
        m.d.comb += [
            client.cmd.valid.eq(self.valid), client.cmd.payload.eq(self.command),
            client.data.valid.eq(self.beat_valid), client.data.payload.eq(self.beat),
            dut.stop.eq(self.stop), bus.awready.eq(self.awready), bus.wready.eq(self.wready),
            bus.bvalid.eq(self.bvalid), bus.bresp.eq(self.bresp),
        ]
        take = self.valid & client.cmd.ready
        m.d.comb += [Assert(~(take & (self.stop | dut.error.valid))), Assert(bus.bready)]
        addressed = _assert_address(m, bus, "aw", take, self.command, self.awready)
        assert_steady(m, bus.wvalid, self.wready, [bus.wdata, bus.wstrb, bus.wlast], "w")

        # Data that the client gave enter the register slice (`slice_8`) with `last`, and leave it.
        into, out = inside["beats"].i, inside["beats"].o
        # Once stopped, beats that the client does not give go out too, none with strobes.
        given, clients = Signal(), self.beat_valid & client.data.ready
        m.d.comb += [
            given.eq(into.valid & into.ready),
            Assert(~clients | given), Assert(~given | clients | self.stop),
            Assert(~given | self.stop | (into.payload.data == self.beat.data)),
            Assert(~given | (into.payload.strb == Mux(self.stop, 0, self.beat.strb))),
            Assert(bus.wvalid == out.valid), Assert(out.ready == self.wready),
            Assert(~out.valid | (bus.wdata == out.payload.data)),
            Assert(~out.valid | (bus.wstrb == out.payload.strb)),
            Assert(~out.valid | (bus.wlast == out.payload.last)),
        ]
        index, ended = Signal(5), Signal()
        m.d.comb += ended.eq(given & into.payload.last)
        with m.If(given):
            m.d.sync += index.eq(Mux(into.payload.last, 0, index + 1))
        filling = _Chosen(m, 4, take=take, payload=self.command.len, answer=ended, pick=self.pick)
        m.d.comb += [
            Assert(~given | (filling.number != 0)),  # so its address is raised, or was
            Assert(~(filling.next & given) | (into.payload.last == (index == filling.payload))),
        ]

        # The slave answers a burst whose address and data it has taken.
        sent = bus.wvalid & self.wready & bus.wlast
        addresses, bursts = Signal(_COUNT), Signal(_COUNT)  # taken and not answered
        m.d.sync += [
            addresses.eq(addresses + addressed - self.bvalid),
            bursts.eq(bursts + sent - self.bvalid),
        ]
        m.d.comb += Assume(~self.bvalid | ((addresses != 0) & (bursts != 0)))

        answered = before(m, self.bvalid, "bvalid")
        failed = before(m, self.bresp >= 2, "failed")
        owner = data.StructLayout({"addr": 32, "tag": 1})
        kept = Signal(owner)
        m.d.comb += [kept.addr.eq(self.command.addr), kept.tag.eq(self.command.tag)]
        chosen = _Chosen(m, owner, take=take, payload=kept, answer=answered, pick=self.pick)
        mine = chosen.next & answered
        error = dut.error
        was_error = before(m, error.valid, "was_error")
        m.d.comb += [
            Assert(client.done == (answered & ~failed & ~error.valid)),
            Assert(~(mine & client.done) | (client.tag == chosen.payload.tag)),
            Assert(dut.idle == (chosen.number == 0)),
            Assert(~dut.idle | (~bus.awvalid & ~bus.wvalid)),
            Assert(~before(m, mine & failed & ~error.valid, "first_error") | (
                error.valid & (error.code == ErrorCode.WRITE)
                & (error.address == before(m, chosen.payload.addr, "failed_addr"))
            )),
            Assert(~error.valid | was_error | before(m, answered & failed, "any_failed")),
        ]
        assert_steady(m, error.valid, 0, error, "error")

        # For the induction.
        chosen.assert_in(m, inside.blocks["owners"], lambda entry: entry == chosen.payload)
        filling.assert_in(m, inside.blocks["lengths"], lambda entry: entry == filling.payload)
        slice_ = inside.blocks["beats"]
        spare = data.View(out.payload.shape(), slice_["spare"])
        lengths = inside["lengths"].o
        held = Signal(2)
        m.d.comb += [
            held.eq((out.valid & out.payload.last) + (slice_["spare_valid"] & spare.last)),
            Assert(~slice_["spare_valid"] | out.valid),
            Assert(inside["outstanding"] == chosen.number),
            Assert(chosen.number == addresses + bus.awvalid + answered),
            Assert(chosen.number == bursts + held + filling.number + answered),
            Assert(inside["answered"] == answered),
            Assert(~answered | (inside["failed"] == failed)),
            Assert(~answered | inside["owners"].o.valid),
            Assert(inside["index"] == index), Assert(index < 16),
            Assert(~(out.valid & ~out.payload.last & ~slice_["spare_valid"]) | (index != 0)),
            Assert(~(slice_["spare_valid"] & ~spare.last) | (index != 0)),
            Assert((index == 0) | (lengths.valid & (index <= lengths.payload))),
        ]
        return m


_WRITE_MUTANTS = {
    "an address taken back": Mutant("with m.If(bus.awready):", "bus.awready", "1"),
    "a new address over one that waits": Mutant("~bus.awvalid & owners", "~bus.awvalid & ", ""),
    "an address after stop": Mutant("lengths.i.ready & ~self.stop", " & ~self.stop", ""),
    "an address after an error": Mutant("lengths.i.ready & ~self.stop", " & ~self.error.valid", ""),
    "a beat too many": Mutant("last.eq(index ==", "lengths.o.payload", "lengths.o.payload + 1"),
    "data before their address": Mutant("beats.i.valid.eq(", " & lengths.o.valid", ""),
    "a length used twice": Mutant("lengths.o.ready.eq(", "go & last", "go & last & index.any()"),
    "last on every beat": Mutant("beats.i.payload.last.eq", "last)", "1)"),
    "beats counted on over bursts": Mutant("index.eq(Mux(last", "last, 0,", "0, 0,"),
    "strobes lost": Mutant("bus.wstrb.eq", "beats.o.payload.strb", "beats.o.payload.data[:8]"),
    "bytes written after stop":
        Mutant("beats.i.payload.strb.eq", "self.stop, 0", "0, 0"),
    "done after an error": Mutant("client.done.eq", " & ~failed", ""),
    "the tag of another burst":
        Mutant("client.tag.eq", "owners.o.payload.tag", "client.cmd.payload.tag"),
    "idle before the response": Mutant("in_flight(m, take, answered", "answered", "bus.bvalid"),
    "data of a burst given up while it waits":
        Mutant("bus.wvalid.eq(beats.o.valid)", "bus.wready", "1"),
}

PROOFS = [
    Proof(
        "read_master", axi, "`axi.ReadMaster`",
        "an address stays until taken, is that of an accepted command, one for each; none after "
        "stop or error; beats go to the client and tag of their command, in order; FETCH's queue "
        "never overflows; idle means nothing outstanding; the first error and its address",
        "the machine's",
        "a beat belongs to an address taken in this cycle or before; FETCH gets no more beats "
        "than asked for",
        lambda module: ReadProof(module.ReadMaster(arch=preset("tiny"))), 8, 1, _READ_MUTANTS,
    ),
    Proof(
        "write_master", axi, "`axi.WriteMaster`",
        "the same of addresses; data stay until taken, in order, never before their address, "
        "`len + 1` beats a burst, the last of them marked; tags of good responses in order; idle "
        "means nothing outstanding; the first error and its address; once stopped, no byte written",
        "the machine's",
        "a response belongs to a burst whose address and last beat were taken before",
        lambda module: WriteProof(module.WriteMaster(arch=preset("tiny"))), 8, 1, _WRITE_MUTANTS,
    ),
]
