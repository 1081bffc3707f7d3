"""Addresses, coordinates and lengths as large as they get, in lock step with the simulator."""

from __future__ import annotations

import numpy as np
import pytest
from assembler import Assembler, mac_words, params, random_params, tap_words
from devices import same_as_simulator
from heads import random_head
from hostile import joined
from programs import detection_program, random_inputs, random_program

from falconet.isa import (
    Dst,
    Elementwise,
    Instruction,
    Load,
    LoadImage,
    Mac,
    Mark,
    Program,
    Scan,
    Segment,
    Store,
    Suppress,
    Window,
    preset,
)
from falconet_hw.scratchpad.banks import bank_of
from falconet_sim.compare.lockstep import compare_rtl
from falconet_sim.rtl.board import RtlDevice

pytestmark = pytest.mark.timeout(900)
TINY = preset("tiny")
REGION = 128


@pytest.fixture(scope="module")
def device() -> RtlDevice:
    return RtlDevice(TINY, memory_bytes=4 << 20, stall_cycles=200_000, log_writes=True)


def backwards(rng: np.random.Generator, ins: Instruction) -> Instruction:
    """The same places from the other end of a region: each view without a ring steps back.

    By steps below 0, with a base anywhere and the row to match, or in a ring of nearly all of
    2**16 words, of which it uses the end.
    """
    names = {f.name for f in ins.layout}
    changed: dict[str, int] = {}
    for prefix in ("in", "out", "a", "b"):
        if f"{prefix}_ring" not in names or getattr(ins, f"{prefix}_ring"):
            continue
        ring = int(rng.choice([0, 65535, 65536 - int(rng.integers(1, 100))]))
        for name in ("row", "y_step", "ky_step", "x_step", "kx_step", "b_step"):
            if (field := f"{prefix}_{name}") in names:
                size = (ring or 65536) if name in ("row", "y_step", "ky_step") else 65536
                changed[field] = (size - getattr(ins, field)) % size
        if ring and not getattr(ins, f"{prefix}_row"):
            changed[f"{prefix}_row"] = ring - 1  # all offsets are below the ring's end
        changed[f"{prefix}_ring"] = ring
        apart = 0 if ring else int(rng.integers(65536))
        changed[f"{prefix}_row"] = changed[f"{prefix}_row"] + apart & 0xFFFF
        changed[f"{prefix}_base"] = (
            getattr(ins, f"{prefix}_base") + REGION - 1 - ring - apart & 0xFFFF)
    return ins.replace(**changed)


@pytest.mark.parametrize("seed", range(20))
def test_views_that_step_back(device: RtlDevice, seed: int) -> None:
    rng, program = np.random.default_rng(seed), random_program(TINY, 300 + seed, n=REGION)
    code = [bytearray(backwards(rng, ins).encode()) for ins in program.instructions()]
    changed = Program(TINY, joined(program, code), program.header)
    assert changed.code != program.code
    assert compare_rtl(changed, random_inputs(changed, seed), device) is None


@pytest.mark.parametrize("axis", "yx")
@pytest.mark.parametrize("kind", [Mac, Window])
def test_rows_and_columns_beyond_16_bits(device: RtlDevice, kind: type[Instruction], axis: str
                                         ) -> None:
    """The last positions lie outside of the image, by more than 2**16."""
    lanes, asm = TINY.lanes, Assembler(TINY)
    at, out = asm.input("x", 1), asm.output("y", 2)
    asm.add(Load(segment=Segment.INPUT, offset=at, run=1))
    par = params([0] * lanes, [1 << TINY.mult_bits - 1] * lanes, [TINY.mult_bits + 3] * lanes)
    ones = np.ones((1, 3, 1, 1, lanes, lanes), np.int64)
    data = (mac_words(TINY, ones, [par]) if kind is Mac
            else tap_words(TINY, ones[..., 0].reshape(1, 3, 1, lanes).repeat(TINY.taps, 2), [par]))
    asm.constant(data, Dst.WEIGHTS if kind is Mac else Dst.VECTOR)
    more = ({"n_ob": 1, "n_ib": 1} if kind is Mac else
            {"n_b": 1, "fresh": 1 << TINY.taps - 1, "every": 1, "w_k_step": 1})
    asm.add(kind(**{f"n_{axis}": 4095, f"n_k{axis}": 3, f"stride_{axis}": 15, f"dil_{axis}": 63,
                    f"i{axis}0": 4095, "in_h": 4095, "in_w": 4095, "pad": 100, "out_base": 1,
                    f"out_{axis}_step": 0, "hi": 127, "lo": -128, **more}))
    asm.add(Store(segment=Segment.OUTPUT, offset=out, run=2))
    program = asm.program()
    assert compare_rtl(program, {"x": np.full((lanes, 1, 1), -100, np.int8)}, device) is None


@pytest.mark.parametrize("kind", [Mac, Window])
def test_sums_of_nearly_all_weights(device: RtlDevice, kind: type[Instruction]) -> None:
    """One kernel fills more than half of the memory, wherever it begins."""
    rng, lanes, asm = np.random.default_rng(4), TINY.lanes, Assembler(TINY)
    shape = (1, 5, 7, 7) if kind is Mac else (1, 15 * 15)
    at, out = asm.input("x", REGION), asm.output("y", 2)
    asm.add(Load(segment=Segment.INPUT, offset=at, run=REGION))
    pars = [random_params(rng, TINY, 74 * 74 * 15.0)]
    if kind is Mac:
        w_base = TINY.weight_words - 9
        data = mac_words(TINY, rng.integers(-127, 128, (*shape, lanes, lanes)), pars)
        asm.constant(data, Dst.WEIGHTS, w_base * lanes)
        more = dict(zip(("n_ob", "n_ky", "n_kx", "n_ib"), shape))
    else:
        w_base = TINY.vector_words - 9
        data = tap_words(TINY, rng.integers(-127, 128, (*shape, TINY.taps, lanes)), pars)
        asm.constant(data, Dst.VECTOR, w_base * TINY.taps)
        more = {"n_b": 1, "n_ky": 15, "n_kx": 15, "fresh": 1 << TINY.taps - 1, "every": 1,
                "w_k_step": 1}
    asm.add(kind(n_x=2, in_h=15, in_w=17, in_ky_step=3, in_kx_step=2, in_x_step=1, w_base=w_base,
                 out_base=REGION, out_x_step=1, stride_x=1, dil_y=1, dil_x=1, hi=127, lo=-128,
                 **more))
    asm.add(Store(segment=Segment.OUTPUT, offset=out, base=REGION, run=2))
    program = asm.program()
    assert compare_rtl(program, random_inputs(program), device) is None


@pytest.mark.parametrize("ring", [65_535, 65_500])
def test_rings_crossed_backwards(device: RtlDevice, ring: int) -> None:
    """Rows of all views of ELTW from the begin of a ring to its end."""
    rng, lanes, asm = np.random.default_rng(6), TINY.lanes, Assembler(TINY)
    at, out = asm.input("x", 4 * REGION), asm.output("y", 4 * REGION)
    asm.add(Load(segment=Segment.INPUT, offset=at, run=4 * REGION))
    pars = [random_params(rng, TINY, 74 * 20000.0)]
    taps = rng.integers(-64, 64, (1, 2, TINY.taps, lanes))
    taps[:, :, TINY.taps - 3] = rng.integers(-2, 3, (1, 2, lanes))
    asm.constant(tap_words(TINY, taps, pars), Dst.VECTOR)
    views: dict[str, int] = {}
    for i, (p, row, back) in enumerate((("a", 4, 6), ("b", 3, 5), ("out", 2, 7))):
        views |= {f"{p}_base": (i + 1) * REGION - 1, f"{p}_ring": ring, f"{p}_x_step": 1,
                  f"{p}_row": row, f"{p}_y_step": ring - back}
    asm.add(Elementwise(n_src=2, n_b=1, n_y=4, n_x=2, hi=127, lo=-128, **views))
    asm.add(Store(segment=Segment.OUTPUT, offset=out, run=4 * REGION))
    program = asm.program()
    assert compare_rtl(program, random_inputs(program), device) is None


@pytest.mark.parametrize("axis", ["y", "ky"])
@pytest.mark.parametrize("kind", [Mac, Window])
def test_long_steps_in_a_large_ring(device: RtlDevice, kind: type[Instruction], axis: str) -> None:
    """Three steps of 20,000 words to the only row that is not pad."""
    rng, lanes, asm = np.random.default_rng(5), TINY.lanes, Assembler(TINY)
    at, out = asm.input("x", REGION), asm.output("y", 4)
    asm.add(Load(segment=Segment.INPUT, offset=at, run=REGION))
    pars = [random_params(rng, TINY, 74 * 74 * 2.0)]
    if kind is Mac:
        dense = rng.integers(-127, 128, (1, 4, 1, 1, lanes, lanes))
        asm.constant(mac_words(TINY, dense, pars), Dst.WEIGHTS)
        more = {"n_ob": 1, "n_ib": 1}
    else:
        weights = rng.integers(-127, 128, (1, 4, TINY.taps, lanes))
        asm.constant(tap_words(TINY, weights, pars), Dst.VECTOR)
        more = {"n_b": 1, "fresh": 1 << TINY.taps - 1, "every": 1, "w_k_step": 1}
    asm.add(kind(**{f"n_{axis}": 4, f"in_{axis}_step": 20_000, "in_ring": 65_535, "in_h": 1,
                    "in_base": 65_536 - 60_000 + 17, "iy0": -3, "stride_y": 1, "dil_y": 1,
                    "in_w": 1, "pad": 3, "out_base": REGION, "out_y_step": 1, "hi": 127,
                    "lo": -128, **more}))
    asm.add(Store(segment=Segment.OUTPUT, offset=out, base=REGION, run=4 if axis == "y" else 1))
    program = asm.program()
    assert compare_rtl(program, random_inputs(program), device) is None


@pytest.mark.parametrize("dst", [Dst.WEIGHTS, Dst.VECTOR])
def test_many_words_round_a_memory(device: RtlDevice, dst: Dst) -> None:
    """More than 2**15 words of one run: they go round the weights' memory."""
    asm = Assembler(TINY)
    n = 34_000
    at, out = asm.input("x", n), asm.output("y", 1)
    asm.add(Load(segment=Segment.INPUT, offset=at, dst=dst, base=7, run=n))
    asm.add(Load(segment=Segment.INPUT, offset=at, run=1))
    asm.add(Store(segment=Segment.OUTPUT, offset=out, run=1))
    program = asm.program()
    assert compare_rtl(program, random_inputs(program), device) is None


def test_mark_of_all_records_ends(device: RtlDevice) -> None:
    """Nobody asks for it: MARK of more records than there is room for landmarks."""
    detect, tensors = random_head(np.random.default_rng(0), TINY, hits=1.0, points=1, levels=1)
    program, inputs = detection_program(TINY, detect, tensors)
    code = program.instructions()
    mark = next(ins for ins in code if isinstance(ins, Mark))
    for i, ins in enumerate(code):
        if isinstance(ins, Suppress):  # all stay
            waits = {f.name: getattr(ins, f.name) for f in ins.layout if f.name.startswith("wait")}
            code[i] = mark.replace(**waits)
    encoded = [bytearray(ins.encode()) for ins in code]
    device.load(Program(TINY, joined(program, encoded), program.header))
    device.stage(device.slot(0), inputs)
    device.start(device.slot(0))
    device.wait()
    assert device.read("RETIRED_DETECT") == 3
    assert device.read("BUSY_DETECT") > 4 * TINY.candidates


def kept_busy(asm: Assembler, rng: np.random.Generator, n: int) -> tuple[dict[str, int], list[int]]:
    """A MAC that writes one bank in every cycle, and ``n`` WINDOWs whose results wait for it.

    The fields that all have in common, and the WINDOWs' addresses.
    """
    lanes = TINY.lanes
    asm.add(Load(segment=Segment.INPUT, offset=asm.input("x", 8), run=8))
    pars = [random_params(rng, TINY, 74 * 74.0)]
    asm.constant(mac_words(TINY, rng.integers(-127, 128, (1, 1, 1, 1, lanes, lanes)), pars),
                 Dst.WEIGHTS)
    asm.constant(tap_words(TINY, rng.integers(-127, 128, (1, 1, TINY.taps, lanes)), pars),
                 Dst.VECTOR)
    image = {"in_h": 1, "in_w": 1, "hi": 127, "lo": -128, "wait_load": 3}
    asm.add(Mac(n_ob=1, n_ib=1, n_x=4000, out_base=63, **image))
    bank = [a for a in range(64, TINY.scratchpad_words)
            if bank_of(a, TINY.banks) == bank_of(63, TINY.banks)][:n]
    for address in bank:
        asm.add(Window(n_b=1, in_base=1, fresh=1 << TINY.taps - 1, every=1, out_base=address,
                       **image))
    return image, bank


def times_of_windows(device: RtlDevice, program: Program) -> tuple[np.ndarray, np.ndarray, int]:
    """Of a run: cycles in which each WINDOW started and retired, and BUSY of their engine."""
    result = device.run(random_inputs(program))
    assert result.trace is not None
    of = [i for i, ins in enumerate(program.instructions()) if isinstance(ins, Window)]
    begin, end = (np.asarray(t, np.int64)[of] for t in (result.trace.start, result.trace.retire))
    return begin, end, result.busy["VEC"]


def test_many_instructions_under_way(device: RtlDevice) -> None:
    """MAC writes one bank in every cycle, so that results of many instructions wait for it."""
    asm = Assembler(TINY, serial=False)
    out = asm.output("y", 96)
    image, bank = kept_busy(asm, np.random.default_rng(7), 96)
    asm.add(Mac(n_ob=1, n_ib=1, n_x=4000, out_base=63, wait_vec=96, **image))
    for i, address in enumerate(bank):
        asm.add(Store(segment=Segment.OUTPUT, offset=out + i * TINY.lanes, base=address, run=1,
                      wait_mac=2, wait_vec=96))
    program = asm.program()
    assert compare_rtl(program, random_inputs(program), device) is None
    begin, end, busy = times_of_windows(device, program)
    under_way = max(int((begin < t).sum() - (end < t).sum()) for t in begin)
    assert under_way >= 64
    assert busy == end.max() - begin.min()


def test_the_end_waits_for_many_instructions(device: RtlDevice) -> None:
    """They are all taken before the MAC ends; nothing comes after them, and DONE when all end."""
    asm = Assembler(TINY, serial=False)
    kept_busy(asm, np.random.default_rng(9), 66)
    program = asm.program()
    assert compare_rtl(program, random_inputs(program), device) is None
    begin, end, busy = times_of_windows(device, program)
    assert busy == end.max() - begin.min()  # BUSY counts up to DONE


def test_rows_of_an_image_of_16_bits(device: RtlDevice) -> None:
    """65,535 bytes behind as much pad as there can be, of which the first are stored."""
    asm, n = Assembler(TINY), 40
    at, out = asm.input("x", 8192), asm.output("y", n)
    asm.add(LoadImage(segment=Segment.INPUT, offset=at, n_rows=1, row_bytes=65_535, pad_left=63,
                      pad=7, step=TINY.lanes, n_x=n, row_step=n))
    asm.add(Store(segment=Segment.OUTPUT, offset=out, run=n))
    program = asm.program()
    assert compare_rtl(program, random_inputs(program), device) is None


def test_columns_of_12_bits(device: RtlDevice) -> None:
    """A head of 3,000 columns, of which scores, boxes and objectness are the same words."""
    rng = np.random.default_rng(8)
    detect, tensors = random_head(rng, TINY, classes=1, anchors=1, levels=1, hits=0.3,
                                  objectness=True, size=(8, 8 * 3000))
    detect["levels"][0] |= {"stride": [8, 8], "clip": [-32768, 32767] * 2}
    program, inputs = detection_program(TINY, detect, tensors)
    scan = next(ins for ins in program.instructions() if isinstance(ins, Scan))
    assert scan.score_base == scan.box_base == scan.obj_base
    same_as_simulator(device, program, inputs)
