"""The instruction-set simulator against plain loops, against onnxruntime, and what it refuses."""

from __future__ import annotations

from collections import Counter

import naive
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from programs import (
    Assembler,
    mac_words,
    params,
    random_inputs,
    random_program,
    tap_words,
)
from wide import WIDE

from falconet.isa import (
    Dst,
    End,
    Engine,
    FalconetError,
    Load,
    LoadImage,
    Mac,
    Program,
    Segment,
    Store,
    Window,
    instruction_classes,
    preset,
)
from falconet_sim.iss.machine import Step
from falconet_sim.iss.simulator import EXECUTORS, IssDevice

TINY = preset("tiny")


def test_every_instruction_has_an_executor() -> None:
    assert set(EXECUTORS) == set(instruction_classes()) - {End}


@pytest.mark.parametrize("name, seed", [*(("tiny", s) for s in range(25)),
                                        *(("pynq-z2", s) for s in range(100, 105)),
                                        *(("wide", s) for s in range(200, 205))])
def test_random_programs_against_loops(name: str, seed: int) -> None:
    arch = WIDE if name == WIDE.name else preset(name)
    program = Program.from_bytes(random_program(arch, seed, length=8).to_bytes())
    inputs = random_inputs(program, seed)
    device = IssDevice(program)
    result = device.run(inputs)
    want = np.frombuffer(naive.run(program, inputs), np.uint8)
    got = device.machine.ddr[Segment.OUTPUT]
    np.testing.assert_array_equal(got, want[: len(got)])
    assert result.outputs["y"].std() > 30


def test_random_programs_cover_all_instructions() -> None:
    """Those of the detect engine have tests of their own."""
    seen = Counter(type(i) for s in range(25)
                   for i in random_program(TINY, s, length=8).instructions())
    assert all(seen[c] >= 10 for c in instruction_classes() if c.engine is not Engine.DETECT)


@pytest.mark.parametrize("k, s, pad", [(1, 1, 0), (3, 1, 1), (3, 2, 1), (5, 2, 2)])
def test_convolution_against_onnxruntime(k: int, s: int, pad: int) -> None:
    """A dense convolution with zero point, raw accumulators clamped to int8 on both sides."""
    rng, n, zero = np.random.default_rng(k), TINY.lanes, 5
    c, o, h, w = 2 * n, n, 7, 9
    x = rng.integers(-20, 20, (1, c, h, w)).astype(np.int8)
    weight = rng.integers(-3, 4, (o, c, k, k)).astype(np.int8)
    node = onnx.helper.make_node("ConvInteger", ["x", "w", "zp"], ["y"], strides=[s, s],
                                 pads=[pad] * 4)
    graph = onnx.helper.make_graph(
        [node], "g", [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, x.shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT32, None)],
        [onnx.numpy_helper.from_array(weight, "w"),
         onnx.numpy_helper.from_array(np.array(zero + 128, np.uint8), "zp")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)],
                                   ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    want = session.run(None, {"x": (x.astype(np.int16) + 128).astype(np.uint8)})[0]
    want = np.clip(want, -128, 127)

    oh, ow = want.shape[2:]
    asm = Assembler(TINY)
    at = asm.input("x", h * 2 * w)
    out = asm.output("y", oh * ow)
    bias = -zero * weight.reshape(o, -1).sum(1, dtype=np.int64)
    tiles = weight.reshape(1, o, 2, n, k, k).transpose(0, 4, 5, 2, 3, 1)
    asm.constant(mac_words(TINY, tiles, [params(bias, [1] * n, [0] * n)]), Dst.WEIGHTS)
    asm.add(Load(segment=Segment.INPUT, offset=at, dst=Dst.SCRATCHPAD, run=h * 2 * w))
    asm.add(Mac(
        in_y_step=s * 2 * w, in_ky_step=2 * w, in_x_step=s, in_kx_step=1, in_b_step=w,
        in_base=-pad * (2 * w + 1) % 65536, iy0=-pad, ix0=-pad, in_h=h, in_w=w, stride_y=s,
        stride_x=s, dil_y=1, dil_x=1, n_ob=1, n_y=oh, n_x=ow, n_ky=k, n_kx=k, n_ib=2,
        out_base=1000, out_y_step=ow, out_x_step=1, pad=zero, lo=-128, hi=127,
    ))
    asm.add(Store(segment=Segment.OUTPUT, offset=out, run=oh * ow, base=1000))
    stored = x.reshape(2, n, h, w).transpose(1, 2, 0, 3).reshape(n, 1, -1)
    got = IssDevice(asm.program()).run({"x": np.ascontiguousarray(stored)}).outputs["y"]
    np.testing.assert_array_equal(got.reshape(n, oh, ow), want[0])


def test_observer_sees_writes_in_the_machine_s_order() -> None:
    steps: list[Step] = []
    program = random_program(TINY, 4)
    device = IssDevice(program, observer=steps.append)
    device.run(random_inputs(program))
    assert [s.index for s in steps] == list(range(program.n_instructions - 1))
    replay = {d: np.zeros_like(w) for d, w in device.machine.words.items()}
    for step in steps:
        for access in step.writes:
            if isinstance(access.memory, Dst):
                for a, d in zip(access.address, access.data):
                    replay[access.memory][a] = d
    for d, words in device.machine.words.items():
        np.testing.assert_array_equal(replay[d], words)


def program_of(*instructions, **segments: int) -> Program:
    asm = Assembler(TINY, serial=False)
    asm.segments.update(input=256, output=256, **segments)
    for i in instructions:
        asm.add(i)
    return asm.program()


@pytest.mark.parametrize("instruction, message", [
    (Load(segment=Segment.INPUT, offset=248, run=2), r"instruction 0 .*outside segment INPUT"),
    (Load(segment=Segment.WORK, run=1), "outside segment WORK of 0 bytes"),
    (Load(segment=Segment.INPUT, n2=2, ddr_step2=(1 << 32) - 8), "outside segment INPUT"),
    (Load(segment=Segment.INPUT, offset=4), "not a multiple of 8"),
    (Load(segment=Segment.INPUT, base=4095, run=2), "word 4096 of SCRATCHPAD"),
    (Load(segment=Segment.INPUT, dst=Dst.MAC_TABLE, base=32), "word 32 of MAC_TABLE"),
    (LoadImage(segment=Segment.INPUT, n_rows=2, pitch=252), "not a multiple of 8"),
    (LoadImage(segment=Segment.INPUT, step=9), "step=9"),
    (LoadImage(segment=Segment.INPUT, offset=248, row_bytes=9), "outside segment INPUT"),
    (Store(segment=Segment.INPUT), "segment INPUT is read-only"),
    (Store(segment=Segment.CODE), "segment CODE is read-only"),
    (Store(segment=Segment.OUTPUT, base=4096), "word 4096 of SCRATCHPAD"),
    (Mac(in_base=5000, in_h=1, in_w=1), "word 5000 of SCRATCHPAD"),
    (Mac(in_ring=4, in_row=4, in_h=1, in_w=1), "in_row=4 is not smaller than the ring"),
    (Mac(out_ring=4, out_y_step=4, n_y=2), "out_y_step=4 is not smaller"),
    (Window(fresh=2, skip=1, n_x=4), "skip=1, but fresh=2 sums over 2 columns"),
    (Load(segment=Segment.INPUT, wait_mac=1), "waits for 1 instructions of MAC, but only 0"),
    (Store(segment=Segment.OUTPUT, wait_store=1), "waits for 1 instructions of STORE"),
])
def test_refusals_name_the_instruction(instruction, message: str) -> None:
    with pytest.raises(FalconetError, match=message):
        IssDevice(program_of(instruction)).run({})


def test_padding_needs_no_word() -> None:
    IssDevice(program_of(Mac(in_base=5000, pad=3))).run({})


def test_waits_count_modulo_2_16() -> None:
    from falconet_sim.iss.machine import Machine
    from falconet_sim.iss.simulator import execute

    program = program_of(Load(segment=Segment.INPUT, wait_mac=2))
    machine = Machine(program)
    machine.retired[1] = 65536 + 2
    execute(machine, program)


def test_bad_opcode_and_missing_end() -> None:
    program = program_of(Mac(in_h=0))
    program.code = b"\xff" + program.code[1:]
    with pytest.raises(FalconetError, match="instruction 0: opcode 255"):
        IssDevice(program).run({})
    program = program_of(Mac())
    program.header["instructions"] = 1
    with pytest.raises(FalconetError, match="END"):
        IssDevice(program).run({})


def test_overflow_names_the_instruction() -> None:
    n = TINY.lanes
    asm = Assembler(TINY)
    w = np.full((1, 31, 31, 2, n, n), 127)
    words = mac_words(TINY, w[:, :, :1], [params([0] * n, [1] * n, [0] * n)])
    asm.constant(words, Dst.WEIGHTS)
    asm.add(Mac(n_ky=31, n_ib=2, pad=127))
    IssDevice(asm.program()).run({})
    asm = Assembler(TINY)
    asm.constant(words[: 10 * n * n], Dst.WEIGHTS)
    taps = np.full((1, 1, 4, n), 127)
    asm.constant(tap_words(TINY, taps, [params([(1 << 24) - 1] * n, [1] * n, [0] * n)]), Dst.VECTOR)
    asm.add(Window(pad=127, fresh=8))
    with pytest.raises(FalconetError, match=r"instruction 2 \(WINDOW.*beyond 25 bits"):
        IssDevice(asm.program()).run({})


def test_inputs_are_checked() -> None:
    asm = Assembler(TINY)
    asm.input("x", 4)
    device = IssDevice(asm.program())
    with pytest.raises(FalconetError, match=r"input 'x': got nothing; give an int8 .*\[8, 1, 4\]"):
        device.run({})
    with pytest.raises(FalconetError, match="got float64"):
        device.run({"x": np.zeros((8, 1, 4))})
    with pytest.raises(FalconetError, match="'z' is unknown"):
        device.run({"x": np.zeros((8, 1, 4), np.int8), "z": np.zeros(1, np.int8)})
    with pytest.raises(FalconetError, match="no program is loaded"):
        IssDevice().run({})


@pytest.mark.parametrize("n_ib", [3, 80])
def test_large_sums_are_exact(n_ib: int) -> None:
    """Inner products beyond 2**24 in float32 would lose bits."""
    rng, n = np.random.default_rng(n_ib), 16
    arch = preset("pynq-z2")
    w = rng.integers(100, 128, (1, 1, 1, n_ib, n, n))
    asm = Assembler(arch)
    at = asm.input("x", n_ib)
    out = asm.output("y", 1)
    bias = -(w[0, 0, 0].reshape(-1, n).sum(0) * 113)
    asm.constant(mac_words(arch, w, [params(bias, [1 << 16] * n, [22] * n)]), Dst.WEIGHTS)
    asm.add(Load(segment=Segment.INPUT, offset=at, run=n_ib))
    asm.add(Mac(n_ib=n_ib, in_b_step=1, in_h=1, in_w=1, out_base=500, lo=-128, hi=127))
    asm.add(Store(segment=Segment.OUTPUT, offset=out, base=500))
    x = rng.integers(100, 128, (n, 1, n_ib)).astype(np.int8)
    got = IssDevice(asm.program()).run({"x": x}).outputs["y"]
    acc = np.einsum("ib,bio->o", x[:, 0].astype(np.int64), w[0, 0, 0]) + bias
    np.testing.assert_array_equal(got[:, 0, 0], np.clip(np.round(acc / 64), -128, 127))
