"""The cycles that docs/isa.md gives are those that the RTL takes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from assembler import Assembler
from memories import MEMORIES

from falconet.isa import (
    Dst,
    Elementwise,
    Engine,
    Instruction,
    Load,
    Mac,
    Program,
    Segment,
    Store,
    Window,
    preset,
    register,
)
from falconet.isa.machine.cycles import steps
from falconet.runtime.device import Trace
from falconet_sim.rtl.board import RtlDevice

pytestmark = pytest.mark.timeout(300)

TINY = preset("tiny")
PAGE = (Path(__file__).parents[2] / "docs/isa.md").read_text(encoding="utf-8")
PARAMETERS = {Mac: TINY.weight_param_words, Window: TINY.vector_param_words,
              Elementwise: TINY.vector_param_words}
BEFORE = 400
"""Words of the LOAD that all wait for, so that none waits to be fetched."""


@pytest.fixture(scope="module")
def device() -> RtlDevice:
    return RtlDevice(TINY, ddr=MEMORIES["fast"], memory_bytes=4 << 20, stall_cycles=20_000)


def formula(kind: type[Instruction]) -> tuple[str, int]:
    """Of the page: the cycles without stalls, and those between two instructions."""
    section = PAGE.split(f"\n## {kind.mnemonic}\n")[1].split("\n## ")[0]
    found = re.search(r"Cycles: `(.+?)`[^`]* without stalls.*? (\d+)\s+idle", section, re.DOTALL)
    assert found
    return found[1], int(found[2])


def drawn(kind: type[Instruction], rng: np.random.Generator) -> Instruction:
    """Reads and writes within a few rows; no block of MAC with fewer than 9 steps."""
    most = 5
    loops = {"n_y": int(rng.integers(1, most)), "n_x": int(rng.integers(1, most + 3))}
    if kind is Elementwise:
        return Elementwise(**loops, n_b=int(rng.integers(1, 4)), n_src=int(rng.integers(1, 3)),
                           a_x_step=1, b_x_step=1, out_base=1000, out_x_step=1, wait_load=1)
    more = {"n_ky": int(rng.integers(1, most)), "n_kx": int(rng.integers(1, most)), "in_x_step": 1,
            "in_ky_step": 16, "in_h": int(rng.integers(1, 9)), "in_w": 20, "stride_y": 1,
            "stride_x": 1, "dil_y": 1, "dil_x": 1, "out_base": 1000, "out_x_step": 1}
    if kind is Mac:
        return Mac(**{**loops, "n_x": 7 + loops["n_x"]}, **more, n_ob=int(rng.integers(1, 5)),
                   n_ib=int(rng.integers(1, 4)), in_b_step=100, wait_load=1)
    return Window(**loops, **more, n_b=int(rng.integers(1, 4)), fresh=1 << (TINY.taps - 1),
                  every=1, wait_load=1)


def program(*instructions: Instruction) -> Program:
    asm = Assembler(TINY, serial=False)
    asm.segments.update(input=1 << 14, output=1 << 14)
    asm.add(Load(segment=Segment.INPUT, dst=Dst.SCRATCHPAD, run=BEFORE))
    for ins in instructions:
        asm.add(ins)
    return asm.program()


def traced(device: RtlDevice, made: Program) -> Trace:
    device.load(made)
    trace = device.run({}).trace
    assert trace is not None
    return trace


def cycles_of(text: str, ins: Instruction) -> int:
    fields = {f.name: getattr(ins, f.name) for f in ins.layout}
    return int(eval(text, {"max": max, "P": PARAMETERS[type(ins)], "S": TINY.word_steps, **fields}))


@pytest.mark.parametrize("kind", [Mac, Window, Elementwise])
@pytest.mark.parametrize("seed", range(4))
def test_as_many_as_the_page_says(kind: type[Instruction], seed: int, device: RtlDevice) -> None:
    rng, (text, idle) = np.random.default_rng(seed), formula(kind)
    instructions = [drawn(kind, rng) for _ in range(TINY.queue_depth)]
    took = np.diff(traced(device, program(*instructions)).start[1:-1])
    for ins, cycles in zip(instructions, took):
        assert cycles == cycles_of(text, ins) + idle, ins
        assert steps(ins, TINY) == cycles_of(text, ins)


@pytest.mark.parametrize(("blocks", "products"), [(4, 1), (1, 1), (2, 3), (3, 6)])
def test_blocks_of_mac_have_a_least_length(blocks: int, products: int, device: RtlDevice) -> None:
    """Their parameters are on their way so long: several instructions alike, as they retire."""
    ins = Mac(n_ob=blocks, n_y=1, n_x=products, n_ky=1, n_kx=1, n_ib=1, in_x_step=1, in_h=1,
              in_w=20, out_base=1000, out_x_step=1, stride_x=1, wait_load=1)
    took = np.diff(traced(device, program(*[ins] * TINY.queue_depth)).retire[1:-1])
    assert set(took[2:]) == {cycles_of(formula(Mac)[0], ins)} == {9 * blocks}


@pytest.mark.parametrize("engine", [Engine.LOAD, Engine.STORE])
def test_a_word_more_is_a_cycle_more(engine: Engine, device: RtlDevice) -> None:
    """Transfers on a memory that never makes them wait."""
    def length(words: int) -> int:
        made = (Load(segment=Segment.INPUT, dst=Dst.SCRATCHPAD, run=words, wait_load=1)
                if engine is Engine.LOAD else
                Store(segment=Segment.OUTPUT, run=words, wait_load=1))
        trace = traced(device, program(made))
        return int(trace.retire[1] - trace.start[1])

    for words in (128, 512):
        assert length(2 * words) - length(words) == pytest.approx(words, rel=0.02)


def test_what_cycles_counts(device: RtlDevice) -> None:
    """From the first fetch to DONE: the reset that START begins with is not in it."""
    device.load(program())
    slot = device.slot(0)
    device.stage(slot, {}, None)
    begin = device.board.cycle
    device.start(slot)
    device.wait()
    counted = device.board.interrupt_cycle - begin
    reset = counted - device.board.read_register(register("CYCLES").offset)
    said = re.search(r"`CYCLES` \| ro .*some (\d+)", (Path(__file__).parents[2] /
                                                    "docs/registers.md").read_text())
    assert said and abs(reset - int(said[1])) <= 5, reset
