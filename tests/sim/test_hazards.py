"""Waits: minimal ones are accepted, every one that is lowered is refused."""

from __future__ import annotations

import numpy as np
import pytest
from networks import retinaface, two_tables, zoo_of_operators
from programs import Assembler, random_inputs, random_program

from falconet.compiler import compile_graph
from falconet.isa import Elementwise, FalconetError, Load, Mac, Segment, Store, preset
from falconet_sim.compare.hazards import check_hazards, required_waits

TINY = preset("tiny")


@pytest.mark.parametrize("graph", [
    zoo_of_operators(0), zoo_of_operators(3), retinaface(0, 64), two_tables(0)],
    ids=["zoo0", "zoo3", "retinaface", "two tables"])
@pytest.mark.parametrize("arch", ["tiny", "pynq-z2"])
def test_the_compiler_waits_for_all(graph, arch: str) -> None:
    program = compile_graph(graph, preset(arch))
    check_hazards(program, random_inputs(program))


@pytest.mark.parametrize("seed", range(5))
def test_required_waits_suffice_and_are_needed(seed: int) -> None:
    serial = random_program(TINY, seed, length=8)
    inputs = random_inputs(serial)
    check_hazards(serial, inputs)
    waits = required_waits(serial, inputs)
    check_hazards(random_program(TINY, seed, length=8, waits=waits), inputs)
    # With only one wait of the whole program left out, something is missing.
    rng = np.random.default_rng(seed)
    rows = [(i, e) for i, row in enumerate(waits) for e, n in enumerate(row) if n]
    refused = 0
    for k in rng.choice(len(rows), 8, replace=False):
        i, e = rows[k]
        less = [list(row) for row in waits]
        less[i][e] = 0
        try:
            check_hazards(random_program(TINY, seed, length=8, waits=less), inputs)
        except FalconetError as error:
            assert "must wait for" in str(error)
            refused += 1
    assert refused >= 4  # the others are implied by what else was waited for


def chain(*waits: dict[str, int]):
    """LOAD a word, MAC it to 100, copy to 200 by ELTW, STORE 200."""
    asm = Assembler(TINY, serial=False)
    at = asm.input("x", 1)
    out = asm.output("y", 1)
    asm.add(Load(segment=Segment.INPUT, offset=at, **waits[0]))
    asm.add(Store(segment=Segment.OUTPUT, offset=out, base=0, **waits[1]))
    asm.add(Load(segment=Segment.INPUT, offset=at, base=0, **waits[2]))
    return asm.program()


def test_each_kind_of_dependency() -> None:
    x = {"x": np.ones((8, 1, 1), np.int8)}
    read_after_write, write_after_read = {"wait_load": 1}, {"wait_store": 1}
    check_hazards(chain({}, read_after_write, write_after_read), x)
    with pytest.raises(FalconetError, match=r"instruction 1 .* 1 instructions of LOAD \(instr"):
        check_hazards(chain({}, {}, write_after_read), x)
    with pytest.raises(FalconetError, match=r"instruction 2 .* 1 instructions of STORE"):
        check_hazards(chain({}, read_after_write, {}), x)


def test_waits_are_transitive() -> None:
    asm = Assembler(TINY, serial=False)
    at = asm.input("x", 1)
    asm.constant(bytes(TINY.lanes ** 2 * 3), 1)
    asm.constant(bytes(TINY.lanes * 4 * 6), 2)
    asm.add(Load(segment=Segment.INPUT, offset=at))
    asm.add(Mac(in_h=1, in_w=1, out_base=100, wait_load=3))
    asm.add(Elementwise(a_base=100, out_base=200, wait_mac=1))  # LOADs: through the MAC
    check_hazards(asm.program(), {"x": np.ones((8, 1, 1), np.int8)})


def test_reading_what_nothing_wrote() -> None:
    asm = Assembler(TINY)
    asm.output("y", 1)
    asm.add(Store(segment=Segment.OUTPUT, base=7))
    with pytest.raises(FalconetError, match="reads word 7 of SCRATCHPAD, which nothing"):
        check_hazards(asm.program(), {})
