"""docs/security.md: what a hostile program can do on the machine, and what it cannot."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from bad_runs import new_board, run_bad, works
from hostile import KINDS, hostile
from programs import Assembler

from falconet.isa import (
    Dst,
    Elementwise,
    Engine,
    ErrorCode,
    FalconetError,
    Instruction,
    Load,
    LoadImage,
    Mac,
    Mark,
    Program,
    Scan,
    Segment,
    Src,
    Status,
    Store,
    Suppress,
    Window,
    preset,
)
from falconet.runtime.driver import Driver
from falconet_sim.rtl.board import BASE, SimBoard

pytestmark = pytest.mark.timeout(900)
TINY = preset("tiny")
COUNT = 100  # of each kind; tests/fuzz_faults does more


@pytest.fixture(scope="module")
def board() -> SimBoard:
    return new_board(TINY)


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_programs(board: SimBoard, kind: str) -> None:
    """No access outside the windows, read or written; RESET ends them; the next program is right.

    The board watches every address and fails at once.
    """
    ends = Counter[int]()
    for seed in range(COUNT):
        program, inputs = hostile(TINY, kind, seed)
        ended = run_bad(board, program, inputs, limit=5000)
        ends[ended.status] += 1
        assert ended.status in (Status.BUSY, Status.DONE, Status.ERROR)
        assert (ended.code != ErrorCode.NONE) == (ended.status == Status.ERROR)
        if seed % 8 == 0:
            works(board, TINY, seed % 16)
    works(board, TINY)
    # They get somewhere: a kind that is all refused at the door would show nothing.
    assert kind in ("noise", "opcodes") or ends[Status.DONE] > COUNT // 50
    assert kind in ("unordered", "weights") or ends[Status.ERROR] > COUNT // 50


@pytest.mark.parametrize("kind", KINDS)
def test_the_driver_survives_them(board: SimBoard, kind: str) -> None:
    """It gives a result or one sentence, in bounded time, and its memory back."""
    for seed in range(1000, 1016):
        program, inputs = hostile(TINY, kind, seed)
        with Driver(board, board, name="board", arch=TINY, timeout=0.02) as device:
            device.load(program)
            try:
                device.run(inputs)
            except FalconetError as e:
                assert str(e).isprintable() and len(str(e)) < 5000
        assert not board.buffers
    works(board, TINY)


def test_an_error_in_the_last_cycles_is_waited_for(board: SimBoard) -> None:
    """ERROR_CODE is there before STATUS says ERROR; of a run that is cut off both are told or none.

    The error comes some cycles later with each length of the load before it.
    """
    limit, ends = 400, Counter[int]()
    for run in range(216, 280, 2):
        ended = run_bad(board, program_of(
            Load(segment=Segment.INPUT, run=run),
            Load(segment=Segment.INPUT, offset=1 << 20, run=8, wait_load=1)), limit=limit)
        ends[ended.status] += 1
        assert (ended.code != ErrorCode.NONE) == (ended.status == Status.ERROR)
    assert ends.keys() == {Status.BUSY, Status.ERROR}


# ---------------------------------------------------------------------- what is tried on purpose


def program_of(*instructions: Instruction, **segments: int) -> Program:
    asm = Assembler(TINY, serial=False)
    asm.segments.update(input=4096, output=4096, work=4096, **segments)
    for ins in instructions:
        asm.add(ins)
    return Program.from_bytes(asm.program().to_bytes())


ENDLESS = {"n_y": 4095, "n_x": 4095}
WINDOW_LOOP = {**ENDLESS, "n_ky": 31, "n_kx": 31, "in_h": 4095, "in_w": 4095}
HOGS: dict[str, list[Instruction]] = {
    "MAC": [Mac(**WINDOW_LOOP, n_ob=255, n_ib=255)],
    "WINDOW": [Window(**WINDOW_LOOP, n_b=255, fresh=8)],
    "ELTW": [Elementwise(**ENDLESS, n_b=255, n_src=2)],
    "MAC and WINDOW": [Mac(**WINDOW_LOOP, n_ob=255, n_ib=255), Window(**WINDOW_LOOP, n_b=255)],
    "SCAN": [Scan(**ENDLESS, n_b=255, n_channels=4095, n_class=255, first=1)],
    "LDIMG": [LoadImage(segment=Segment.INPUT, n_rows=4095, row_bytes=4000, n_x=4095, step=1)],
    "step beyond a word": [LoadImage(segment=Segment.INPUT, n_rows=9, row_bytes=400, n_x=4095,
                                     step=31, pad_left=63)],
    "LOAD": [Load(segment=Segment.INPUT, n1=4095, n2=4095, run=512)],
}


@pytest.mark.parametrize("source", Src)
@pytest.mark.parametrize("name", HOGS)
def test_stores_starve_but_end_with_reset(board: SimBoard, name: str, source: Src) -> None:
    """Bursts are open whose words an endless instruction keeps back: RESET closes them."""
    stores = [Store(segment=Segment.OUTPUT, src=source, run=64, offset=512 * k) for k in range(6)]
    ended = run_bad(board, program_of(*HOGS[name], *stores), limit=3000)
    assert ended.status == Status.BUSY
    works(board, TINY)


def test_suppress_and_mark_of_nothing(board: SimBoard) -> None:
    """The detect engine on records and tables that nobody wrote."""
    for mode in range(4):
        for limit in (1, 64, 2047):
            run_bad(board, program_of(
                Suppress(mode=mode, limit=limit, agnostic=1),
                Mark(n_values=63, limit=limit, stride_x=65535, level=7),
                Store(segment=Segment.OUTPUT, src=Src.RECORDS, run=512, base=65500)), limit=4000)
    works(board, TINY)


def test_only_its_own_segments_can_be_read(board: SimBoard) -> None:
    """A program that reads on behind a segment is stopped before it can store what it got."""
    for segment in Segment:
        for beyond in (0, 8, 128, 4096, 1 << 20, (1 << 32) - 4096):
            load = Load(segment=segment, offset=beyond, run=1024, n1=4, ddr_step1=0x2000)
            program = program_of(load, Store(segment=Segment.OUTPUT, run=512, wait_load=1))
            ended = run_bad(board, program, limit=3000)
            assert (ended.status, ended.code) == (Status.ERROR, ErrorCode.WINDOW)
            assert ended.retired[Engine.STORE] == 0


def test_what_the_run_before_left_on_chip_can_be_read(board: SimBoard) -> None:
    """RESET does not clear memories: a program may store what the former one left in them."""
    secret = np.arange(64 * TINY.lanes, dtype=np.uint8)
    asm = Assembler(TINY)
    asm.segments.update(output=4096)
    asm.constant(secret.tobytes(), Dst.SCRATCHPAD)
    run_bad(board, asm.program(), limit=3000)
    thief = program_of(Store(segment=Segment.OUTPUT, run=64))
    with Driver(board, board, name="board", arch=TINY, timeout=60) as device:
        device.load(thief)
        device.run({})
        stolen = device.slot(0).buffers[Segment.OUTPUT].array[: secret.size].copy()
    np.testing.assert_array_equal(stolen, secret)


def test_memory_is_handed_out_clean(board: SimBoard) -> None:
    """What a run before left in DDR is not in the segments of the next one."""
    board.ddr[:] = 0x5A
    thief = program_of(Load(segment=Segment.WORK, run=512),
                       Store(segment=Segment.OUTPUT, run=512, wait_load=1))
    with Driver(board, board, name="board", arch=TINY, timeout=60) as device:
        device.load(thief)
        device.run({})
        assert not device.slot(0).buffers[Segment.OUTPUT].array.any()
    board.ddr[:] = 0


def test_it_may_say_anything(board: SimBoard) -> None:
    """A result is what the program stores, whatever the input was."""
    lie = np.arange(64 * TINY.lanes, dtype=np.uint8)
    asm = Assembler(TINY)
    asm.input("x", 64)
    out = asm.output("y", 64)
    asm.constant(lie.tobytes(), Dst.SCRATCHPAD)
    asm.add(Store(segment=Segment.OUTPUT, offset=out, run=64))
    program = Program.from_bytes(asm.program().to_bytes())
    with Driver(board, board, name="board", arch=TINY, timeout=60) as device:
        device.load(program)
        for value in (-1, 77):
            found = device.run({"x": np.full((TINY.lanes, 1, 64), value, np.int8)}).outputs["y"]
            told = found.transpose(1, 2, 0).astype(np.uint8).ravel()
            np.testing.assert_array_equal(told, lie)


def test_memory_of_its_own_lasts(board: SimBoard) -> None:
    """Segment WORK is cleared when a program is loaded, not from run to run."""
    load, store = Load(segment=Segment.WORK, run=8), Store(segment=Segment.OUTPUT, run=8)
    asm = Assembler(TINY)
    asm.segments.update(output=4096, work=4096)
    asm.add(load)
    asm.add(store)
    asm.constant(bytes([7]) * 8 * TINY.lanes, Dst.SCRATCHPAD)
    asm.add(Store(segment=Segment.WORK, run=8))
    with Driver(board, board, name="board", arch=TINY, timeout=60) as device:
        for _ in range(2):
            device.load(asm.program())
            for first in (0, 7):
                device.run({})
                seen = device.slot(0).buffers[Segment.OUTPUT].array[: 8 * TINY.lanes]
                assert (seen == first).all()


def test_its_own_program_and_inputs_stay(board: SimBoard) -> None:
    """CODE and INPUT are never written, wherever a store points."""
    for segment in (Segment.CODE, Segment.INPUT):
        for offset in (0, 64, 2048, 1 << 31):
            ended = run_bad(board, program_of(Store(segment=segment, offset=offset, run=8)))
            assert (ended.status, ended.code) == (Status.ERROR, ErrorCode.WINDOW)
            assert ended.info == ended.bases[segment] + offset & 0xFFFF_FFFF
    assert BASE in {ended.bases[s] for s in Segment}


def test_it_may_burn_time_until_the_time_out(board: SimBoard) -> None:
    program = program_of(*HOGS["MAC"])
    with Driver(board, board, name="board", arch=TINY, timeout=0.05) as device:
        device.load(program)
        with pytest.raises(FalconetError, match="did not end in time: MAC at instruction 0"):
            device.run({})
    works(board, TINY)
