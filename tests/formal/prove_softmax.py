"""Which bytes of a group are read and weighed, and that a box waits for all its quotients."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.hdl import Assert, Assume
from amaranth.lib import data
from amaranth.lib.wiring import Component, In
from amaranth.utils import exact_log2

from falconet.isa import INSTRUCTION_BITS, Scan, preset
from falconet_hw.detect import softmax
from falconet_hw.detect.divide import Divide
from falconet_hw.layout import WORD_ADDRESS, instruction_layout
from formal.inside import Inside
from formal.proof import Mutant, Proof
from formal.streams import before

__all__ = ["PROOFS", "SoftmaxProof"]


class SoftmaxProof(Component):
    """The groups of a box, one after the other; any box, any scratchpad and table behind it.

    Members
    -------
    instr, box, valid, ready, taken, answer, read_data, row_data : In
        A Scan; the offer of a box, and who takes it; who takes a request, and what comes back.
    """

    def __init__(self, dut: Any) -> None:
        self.dut, lanes = dut, dut.arch.lanes
        super().__init__({
            "instr": In(INSTRUCTION_BITS), "box": In(softmax.StoredLayout(dut.arch)),
            "valid": In(1), "ready": In(1), "taken": In(1), "answer": In(1),
            "read_data": In(8 * lanes), "row_data": In(128),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut = self.dut
        inside = Inside(dut)
        m.submodules.dut = inside.module
        scan = data.View(instruction_layout(Scan), self.instr)
        later = before(m, 1, "later")
        m.d.comb += [
            dut.instr.eq(self.instr), dut.boxes.payload.eq(self.box),
            dut.boxes.valid.eq(self.valid), dut.weighed.ready.eq(self.ready),
            dut.reads.ready.eq(self.taken), dut.answer.eq(self.answer),
            dut.read_data.eq(self.read_data), dut.row_data.eq(self.row_data),
            Assume(~later | (before(m, self.instr, "instr") == self.instr)),
            Assume(scan.n_class != 0), Assume(later | ~self.valid),
        ]
        gone = self.valid & dut.boxes.ready
        waits = before(m, self.valid & ~dut.boxes.ready, "waits")
        same = before(m, self.box.as_value(), "box") == self.box.as_value()
        m.d.comb += [Assume(~waits | (self.valid & same)),
                     Assume(~before(m, gone, "gone") | ~self.valid)]

        self._states(m, inside, scan, later, gone)
        return m

    def _states(self, m: Module, inside: Inside, scan: Any, later: Value, gone: Value) -> None:
        dut = self.dut
        lanes = exact_log2(dut.arch.lanes)
        at_box, word, walk, turn, weigh, drain, quotient, give = (
            inside.in_state(name) for name in (
                "BOX", "WORD", "WALK", "TURN", "WEIGH", "DRAIN", "QUOTIENT", "GIVE"))
        classes, side, index, last = (inside[n] for n in ("classes", "side", "index", "last"))
        divide, dividing, complete = (inside[n] for n in ("divide", "dividing", "complete"))

        # What was done: bytes and entries of the group, words of the run, quotients of the box.
        walks, weighs, words = Signal(9), Signal(9), Signal(9)
        place, at = Signal(10), Signal(WORD_ADDRESS)
        begun, given = Signal(3), Signal(3)
        asked = Signal()
        latest = Signal.like(dut.read_data)
        ask = dut.reads.valid & dut.reads.ready
        step = Mux(classes, scan.score_b_step, scan.box_b_step)
        m.d.sync += [
            walks.eq(walks + walk), weighs.eq(weighs + weigh), place.eq(place + walk),
            words.eq(words + ask), begun.eq(begun + divide), given.eq(given + inside["made"]),
        ]
        with m.If(ask):
            m.d.sync += [at.eq(at + step), asked.eq(1)]
        with m.If(dut.answer):
            m.d.sync += [latest.eq(dut.read_data), asked.eq(0)]
        first = Mux(at_box & scan.softmax, self.box.score_at, self.box.box_at)
        lane = Mux(at_box & scan.softmax, self.box.lane, self.box.box_lane)
        with m.If(at_box | (divide & classes)):
            m.d.sync += [place.eq(lane), words.eq(0), at.eq(first)]
        with m.If(at_box | divide):
            m.d.sync += [walks.eq(0), weighs.eq(0)]
        with m.If(at_box):
            m.d.sync += [begun.eq(0), given.eq(0)]
        m.d.comb += Assume(~dut.answer | asked)

        count = Mux(classes, scan.n_class, scan.bins)
        groups = scan.softmax + Mux(scan.bins.any(), 4, 0)
        plain = ~scan.softmax & ~scan.bins.any()
        reading, behind = word | walk, turn | weigh | drain
        aligned = place[:lanes] == 0
        pipe = [inside.signal(f"one_d{i + 1}")[3] for i in range(dut.table_latency + 3)]
        pipe += [inside.signal("added_d1")[2], inside.signal("ended_d1")]
        division = Divide.LATENCY + softmax._FRACTION
        chain = [inside.signal(f"divide_d{i + 1}") for i in range(division)]
        for name, holds in {
            "plain": ~later | (inside["plain"] == plain),
            "passes": ~later | ~plain | (at_box & (gone == (self.valid & self.ready))),
            "same box": dut.weighed.payload.stored.as_value() == self.box.as_value(),
            "leaves": ~dut.weighed.valid | (self.valid & (plain | give)),
            "done": inside["done"] == give,
            "taken": gone == (dut.weighed.valid & dut.weighed.ready),
            "begins": ~before(m, later & at_box & self.valid & ~plain, "begins") | word,
            "there": at_box | give | self.valid,
            "all quotients": ~give | ((begun == groups) & (given == groups)),
            "which group": ~(reading | behind) | (
                (begun == Mux(classes, 0, scan.softmax + side)) & (~classes | scan.softmax)
                & (classes | scan.bins.any()) & (~classes | (side == 0))),
            "last group": ~quotient | ((begun == groups) & dividing),
            "none": ~at_box | ~(dividing | asked | dut.reads.valid),
            "quotients": (given == begun - dividing) | at_box,
            "one division": sum(chain) == dividing,
            "drains": sum(pipe) + complete == drain,
            "one request": ~dut.reads.valid | (word & ~asked),
            "asks": word == (dut.reads.valid | asked),
            "address": ~dut.reads.valid | (dut.reads.payload == at),
            "next address": at_box | (inside["at"] == at) | quotient | give,
            "words": ~word | (words == (place >> lanes) + asked),
            "begin of a word": ~word | ~(words > asked) | aligned,
            "in the word": ~walk | (words == (place >> lanes) + 1),
            "words behind": ~behind | (words == (place >> lanes) + ~aligned),
            "wrapped": ~behind | (inside["wrapped"] == aligned),
            "lane": ~(reading | behind) | (inside["lane"] == place[:lanes]),
            "bytes": ~(walk | behind) | (inside["word"] == latest),
            "place": ~reading | ((index == walks) & (walks < count)),
            "count": ~(behind | walk | (word & asked)) | (last + 1 == count),
            "all bytes": ~behind | (walks == count),
            "in the run": ~(reading | behind) | (place == walks + Mux(
                classes, self.box.lane, self.box.box_lane + side * scan.bins)),
            "no entry yet": ~(reading | turn) | (weighs == 0),
            "entries": ~weigh | (index + weighs + 1 == count + classes),
            "all entries": ~drain | (weighs == count + classes),
        }.items():
            flag = Signal(name=name.replace(" ", "_"))
            m.d.comb += [flag.eq(holds), Assert(flag)]


PROOFS = [
    Proof(
        "softmax", softmax, "`detect.softmax.Softmax`",
        "a box leaves as it came, at once if it has no groups, else when all its quotients are "
        "there; a group's bytes are those from its first lane on, each read once, from words a "
        "step apart; all of them are weighed, and the background with the classes; a division "
        "begins when all entries are added up and the one before has ended", "8 lanes",
        "an answer to each request, when it likes; a box stays until it is taken, and another "
        "comes no sooner than two cycles later; the instruction stays for good",
        lambda module: SoftmaxProof(module.Softmax(arch=preset("tiny"), table_latency=3)), 46, 2,
        {
            "passes too early": Mutant("self.weighed.valid.eq(", "(plain | done)", "1"),
            "not asked for groups": Mutant("m.If(self.boxes.valid & ~plain)", "~plain", "0"),
            "a step of the other tensor":
                Mutant("at + Mux(classes", "scan.score_b_step, scan.box_b_step",
                       "scan.box_b_step, scan.score_b_step"),
            "no step": Mutant("at + Mux(classes", "at + ", ""),
            "a word twice": Mutant("with m.Elif(wrapped)", "wrapped", "1"),
            "a word too few": Mutant("with m.Elif(wrapped)", "wrapped", "0"),
            "the first lane": Mutant("lane.eq(Mux(scan.softmax", "stored.lane", "0"),
            "the lane of the classes": Mutant("lane.eq(Mux(scan.softmax", "stored.box_lane",
                                              "stored.lane"),
            "one byte less": Mutant("with m.If(index == last)", "last", "last - 1"),
            "one class less": Mutant("last.eq(Mux(classes", "scan.n_class", "scan.bins"),
            "no background": Mutant("index.eq(last + classes)", " + classes", ""),
            "an entry less": Mutant("with m.If(~index.any())", "~index.any()", "index == 1"),
            "divides too early": Mutant("final = self._sum", "self._sum(",
                                        "weigh & ~index.any() | 0 * self._sum("),
            "divides over the former": Mutant("divide.eq(complete", " & ~dividing", ""),
            "two sides": Mutant("with m.Elif(classes | side.all())", "side.all()", "side[0]"),
            "no sides": Mutant("with m.If(classes & scan.bins.any())", "scan.bins.any()", "0"),
            "leaves too early": Mutant('m.next = "QUOTIENT"', "QUOTIENT", "GIVE"),
            "the former's quotients": Mutant("m.d.sync += done.eq(0)", "done.eq(0)", "done.eq(1)"),
        },
    ),
]
