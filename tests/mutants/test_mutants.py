"""A netlist with mutants in it is the machine while none is chosen, and each is what it says."""

from __future__ import annotations

import multiprocessing
import sys
from functools import cache
from pathlib import Path

import pytest
from amaranth import Module, Mux, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

sys.path.insert(0, str(Path(__file__).parent))

import devices
import judge
import schemata
from equal import equal, equal_from_reset
from mutations import Mutant, draw, mutants
from netlist import read, write
from programs import random_inputs, random_program
from proofs import broken_proof

from falconet.isa import FalconetError, preset
from falconet_sim.compare.lockstep import compare_rtl
from falconet_sim.rtl.board import RtlDevice

pytestmark = pytest.mark.timeout(900)
TINY = preset("tiny")


class Toy(Component):
    """One of everything that mutations know."""

    def __init__(self) -> None:
        super().__init__({"a": In(8), "b": In(8), "total": Out(8), "last": Out(4), "word": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe = Signal(8, reset_less=True)
        m.submodules.memory = memory = Memory(shape=8, depth=4, init=[])
        write_port, read_port = memory.write_port(), memory.read_port(domain="comb")
        m.d.sync += pipe.eq(self.a)
        m.d.comb += [
            self.total.eq(self.a + self.b), write_port.addr.eq(self.a), write_port.en.eq(self.b[0]),
            write_port.data.eq(Mux(self.b[1], pipe, self.a)), read_port.addr.eq(self.b),
            self.word.eq(read_port.data),
        ]
        with m.If(self.a > self.b):
            m.d.sync += self.last.eq(3)
        with m.Elif(self.a == 9):
            m.d.sync += self.last.eq(self.b >> 2)
        return m


def toy() -> list[Mutant]:
    return mutants(schemata.netlist_of(Toy(), "toy"))


def test_a_netlist_is_written_as_it_is_read() -> None:
    text = write(schemata.netlist_of(Toy(), "toy"))
    assert write(read(text)) == text


def test_all_kinds_of_mutations() -> None:
    every = toy()
    assert {m.first.kind for m in every} == {
        "kind", "signed", "swap", "stuck", "constant", "narrow", "result", "delay", "unwritten",
        "address", "value", "drop", "invert", "never", "always"}
    assert len({m.key for m in every}) == len(every)


def test_what_is_proved_equal() -> None:
    """The sum keeps 8 bits of 9, so its sign does not matter; whether it is a sum does."""
    modules = schemata.netlist_of(Toy(), "toy")
    add = [m for m in mutants(modules) if m.first.what.startswith("add")]
    proved = {m.first.what: equal(modules, m) for m in add}
    assert proved["add: signed"] and not proved["add: is now sub"]
    assert not proved["add: result a bit narrower"] and not proved["add: operand A a bit narrower"]


class Walk(Component):
    """0, 1, 2, 0 ... and so never 3; two assignments under one condition."""

    def __init__(self) -> None:
        super().__init__({"go": In(1), "way": In(1), "odd": Out(1), "turns": Out(2)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        at = Signal(2)
        m.d.comb += self.odd.eq(at == 3)
        with m.If(self.go & self.way):
            m.d.sync += [at.eq(Mux(at == 2, 0, at + 1)), self.turns.eq(self.turns + (at == 2))]
        return m


class Two(Component):
    """Two instances of one component."""

    def __init__(self) -> None:
        super().__init__({"go": In(1), "way": In(1), "odd": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name in "ab":
            m.submodules[name] = walk = Walk()
            m.d.comb += [walk.go.eq(self.go), walk.way.eq(self.way)]
        m.d.comb += self.odd.eq(m.submodules.a.odd ^ m.submodules.b.odd)
        return m


def test_a_fault_is_in_all_instances_and_in_all_that_a_condition_decides() -> None:
    one = {m.first.what: len(m.copies) for m in mutants(schemata.netlist_of(Walk(), "walk"))}
    assert one["condition: inverted"] == 2 and one["and: is now or"] == 1
    both = mutants(schemata.netlist_of(Two(), "two"))
    assert {m.first.what: len(m.copies) for m in both if m.first.module}["and: is now or"] == 2
    (inverted,) = [m for m in both if m.first.what == "condition: inverted"]
    assert sorted(c.module for c in inverted.copies) == ["a", "a", "b", "b"]


def test_what_no_reachable_state_tells_apart() -> None:
    """A sum that differs only for a number that there never is, and one that does for others."""
    modules = schemata.netlist_of(Walk(), "walk")
    add = [m for m in mutants(modules) if m.first.what.startswith("add")]
    narrow, other = (m for m in add if m.first.what == "add: operand A a bit narrower")
    assert not equal(modules, narrow) and equal_from_reset(modules, narrow)
    assert not equal(modules, other) and not equal_from_reset(modules, other)


def test_proofs_meet_mutants() -> None:
    """A fault in what a proof is about, one beside it, one that takes 2^31 cycles to show."""
    every = mutants(schemata.machine(TINY))
    by = {(m.first.component, m.first.what): m for m in every}
    assert broken_proof(by["dma/burst.py", "or: is now and"]).startswith("bursts_")
    assert broken_proof(by["control/fetch.py", "sub: is now add"]) == ""
    (last_bit,) = [m for m in every if m.first.what == "add: result a bit narrower"
                   and m.first.component == "control/run.py" and "self.cycles.eq" in m.source]
    assert broken_proof(last_bit) == "counters"


def test_a_mutant_that_is_not_chosen_changes_nothing(tmp_path: Path) -> None:
    """All mutants of the toy at once, with 0 for the choice: proved equal to the toy."""
    modules = schemata.netlist_of(Toy(), "toy")
    every = [m for m in mutants(modules) if m.first.kind != "delay"]  # a register more
    mutated = schemata.apply(modules, list(enumerate(every, 1)), constant=0)
    for module, name in ((modules[0], "\\was"), (mutated[0], "\\now")):
        module.name = name
    (tmp_path / "in.il").write_text(write([modules[0], mutated[0]]))
    said = schemata.yosys(
        "read_rtlil in.il; proc; memory_map; opt_clean; equiv_make was now both; "
        "equiv_simple both; equiv_induct both; equiv_status -assert both", tmp_path)
    assert "Equivalence successfully proven" in said


def test_draws() -> None:
    """Repeatable; of every component; a larger one holds the smaller."""
    every = toy()
    few, more = draw(every, 5, 1), draw(every, 20, 1)
    assert few == draw(every, 5, 1) and few != draw(every, 5, 2)
    assert len(few) == 5 and len(more) == 20 and more[:5] == few
    assert len({m.site for m in more}) == 20


PLANTED = {"mac/array.py": "mul: is now add", "engine/output.py": "not: is now pos",
           "dma/burst.py": "not: is now pos", "control/dispatch.py": "not: is now pos",
           "engine/loops.py": "add: is now sub"}


@cache
def planted() -> Path:
    """The machine with five faults, each an operator that is another one."""
    every = mutants(schemata.machine(TINY))
    return schemata.library(TINY, [
        next(m for m in every if m.first.component == component and m.first.what == what)
        for component, what in PLANTED.items()])


def test_planted_mutants_are_killed() -> None:
    library = planted()
    programs = [random_program(TINY, seed, 20) for seed in range(2)]

    def killed(number: int) -> bool:
        schemata.choose(library, number)
        device = RtlDevice(TINY, library=library, memory_bytes=4 << 20, stall_cycles=20_000,
                           log_writes=True)
        try:
            return any(compare_rtl(p, random_inputs(p), device) for p in programs)
        except FalconetError:
            return True

    assert [killed(number) for number in range(len(PLANTED) + 1)] == [False, *[True] * 5]


@pytest.mark.parametrize("file, only, component", [
    ("sim/test_rtl.py", "lock_step[0]", "mac/array.py"),
    ("e2e/test_illegal.py", "unknown_opcode", "mac/array.py"),
    ("e2e/test_bus_faults.py", "back_to_back", "mac/array.py"),
    ("e2e/test_detect_ends.py", "wrap", "dma/burst.py"),
])
def test_the_machines_of_all_tests_have_the_mutants(tmp_path: Path, file: str, only: str,
                                                    component: str) -> None:
    """However a test makes its board, and whatever boards there are already."""
    devices.board(TINY)
    told, number = tmp_path / "told", list(PLANTED).index(component) + 1

    def found(number: int, verdict: judge.Verdict) -> None:
        told.write_text(verdict.by)

    apart = multiprocessing.get_context("fork").Process(
        target=judge.run, args=(TINY, planted(), [number], found),
        kwargs={"tests": [str(judge.TESTS / file)], "only": only})
    apart.start()
    apart.join()
    assert Path(file).name in told.read_text()
