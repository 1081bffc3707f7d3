"""Plan, schedule, allocation, emission: legality of what comes out, whatever goes in."""

from __future__ import annotations

import dataclasses

import networks
import numpy as np
import pytest

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph, Node
from falconet.compiler.lower.network import lower
from falconet.compiler.machine import pack
from falconet.compiler.passes.verify import verify
from falconet.compiler.schedule.allocate import allocate
from falconet.compiler.schedule.planner import Planner
from falconet.compiler.schedule.policy import Policy
from falconet.compiler.schedule.simulate import make_schedule
from falconet.isa import Engine, FalconetError, Program, Segment, preset, unpack_pair
from falconet.isa.graph.ops.eltwise import Eltwise
from falconet_sim.compare.hazards import check_hazards
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.simulator import IssDevice

GRAPHS = {
    "operators": lambda: networks.zoo_of_operators(),
    "mobilenetv2-64": lambda: networks.mobilenet_v2(size=64),
    "retinaface-64": lambda: networks.retinaface(size=64),
}


@pytest.fixture(scope="module", params=[(g, a) for g in GRAPHS for a in ("tiny", "pynq-z2")],
                ids=lambda p: f"{p[0]}-{p[1]}")
def program(request: pytest.FixtureRequest) -> Program:
    graph, arch = request.param
    return compile_graph(GRAPHS[graph](), preset(arch))


def test_waits_point_backwards(program: Program) -> None:
    issued = [0] * len(Engine)
    for ins in program.instructions():
        for e in Engine:
            assert getattr(ins, f"wait_{e.name.lower()}") <= issued[e]
        if ins.engine is not None:
            issued[ins.engine] += 1


def test_waits_cover_every_dependency(program: Program) -> None:
    random = np.random.default_rng(0)
    check_hazards(program, {
        t["name"]: random.integers(-128, 128, t["shape"]).astype(np.int8)
        for t in program.header["inputs"]
    })


def test_program_file_survives(program: Program) -> None:
    again = Program.from_bytes(program.to_bytes())
    assert again.instructions() == program.instructions()
    assert len(again.header["steps"]) == again.n_instructions


def test_every_tile_of_every_tensor_is_written_once(program: Program) -> None:
    seen = {i: np.zeros((t["height"], t["blocks"]), int)
            for i, t in enumerate(program.header["tensors"])}
    layers = program.header["layers"]
    last = None
    for step in program.header["steps"]:
        _, tensor, y0, y1, b0, b1 = step
        if tensor >= 0 and step != last:
            seen[tensor][y0:y1, b0:b1] += 1
            last = step
    ops = {n["output"]: n["op"] for n in program.header["graph"]["nodes"]}
    assert layers
    for i, t in enumerate(program.header["tensors"]):
        if ops.get(t["name"]) not in (None, "concat", "slice", "gather"):
            assert (seen[i] == 1).all(), t["name"]


def test_loads_stay_in_their_segments(program: Program) -> None:
    sizes = {Segment[k.upper()]: v for k, v in program.header["segments"].items()}
    sizes[Segment.CODE] = program.header["code_bytes"]
    for ins in program.instructions():
        if ins.mnemonic in ("LOAD", "STORE"):
            end = (ins.offset + (ins.n2 - 1) * ins.ddr_step2 + (ins.n1 - 1) * ins.ddr_step1
                   + ins.run * program.arch.lanes)
            assert end <= -(-sizes[Segment(ins.segment)] // 128) * 128


@pytest.mark.parametrize("ahead", [0, 1, 3])
@pytest.mark.parametrize("slack", [1, 2])
def test_buffers_alive_together_share_no_word(ahead: int, slack: int) -> None:
    net = lower(networks.zoo_of_operators(), preset("tiny"))
    schedule = make_schedule(Planner(net).plan(Policy(slack, ahead)))
    assert allocate(schedule) is None
    life: dict[str, list[int]] = {}
    words: dict[str, range] = {}
    for at, task in enumerate(schedule.tasks):
        if task.tile is not None:
            op = schedule.plan.ops[task.op]
            for slot in (*op.inputs, *([op.output] if op.output else [])):
                buf = slot.buffer
                life.setdefault(buf.name, []).append(at)
                base = schedule.bases[buf]
                words[buf.name] = range(base, base + schedule.rings[buf] * buf.row_words)
    names = list(life)
    for i, a in enumerate(names):
        assert 0 <= words[a].start and words[a].stop <= preset("tiny").scratchpad_words
        for b in names[:i]:
            together = life[a][0] <= life[b][-1] and life[b][0] <= life[a][-1]
            apart = words[a].stop <= words[b].start or words[b].stop <= words[a].start
            assert apart or not together, (a, b)


def test_too_large_is_refused_with_the_name() -> None:
    b = networks.Builder((64, 400, 400))
    graph = b.done(b.conv("x", 1024, 3))
    with pytest.raises(FalconetError, match="scratchpad"):
        compile_graph(graph, preset("tiny"))


def simulated(graph: Graph, arch: str = "tiny") -> None:
    """Demand that the instruction-set simulator gives what the golden model gives."""
    program = compile_graph(verify(graph, preset(arch)), preset(arch))
    random = np.random.default_rng(3)
    inputs = {t["name"]: random.integers(-128, 128, t["shape"]).astype(np.int8)
              for t in program.header["inputs"]}
    want, found = (d(program).run(inputs).outputs for d in (GoldenDevice, IssDevice))
    for name, value in want.items():
        np.testing.assert_array_equal(found[name], value, name)


@pytest.mark.parametrize("arch", ["tiny", "pynq-z2"])
@pytest.mark.parametrize("first", [True, False])
def test_operands_in_different_lanes_are_copied(first: bool, arch: str) -> None:
    b = networks.Builder((8, 8, 8))
    both = [b.conv("x", 5), b.conv("x", 5)]
    cat, plain = b.add("concat", both), b.conv("x", 10)
    part = b.add("slice", [plain], {"begin": 3, "end": 8})
    total = b.eltwise(*((cat, plain) if first else (plain, cat)))
    graph = b.done(total, b.eltwise(*((part, both[0]) if first else (both[0], part))))
    graph.tensors = {k: dataclasses.replace(t, scale=1.0, zero_point=0)
                     for k, t in graph.tensors.items()}
    simulated(graph, arch)
    names = [n.name for n in lower(graph, preset(arch)).graph.nodes]
    assert sum("/aligned" in n for n in names) == 2


def test_a_refusal_names_what_the_file_has() -> None:
    """Not the copies and loads that the compiler makes."""
    b = networks.Builder((64, 400, 400))
    total = b.done(b.eltwise("x", "x"))
    with pytest.raises(FalconetError, match=r"^node 'eltwise0': the rows that must be on chip"):
        compile_graph(total, preset("tiny"))
    for name in ("cat/copy0", "cat/aligned1", "cat/rescale", "cat/copy0/aligned1", "cat/copy1.2"):
        assert Node(Eltwise(), name, [], "y").origin == "cat"
    assert Node(Eltwise(), "a/copy/b", [], "y").origin == "a/copy/b"


def test_a_depthwise_layer_reads_an_image_of_one_channel() -> None:
    b = networks.Builder((1, 6, 7))
    simulated(b.done(b.depthwise("x")))
    b = networks.Builder((1, 6, 7))
    simulated(b.done(b.average("x")))


@pytest.mark.parametrize("pads", [(0, 1, 9, 1), (9, 1, 0, 1)])
@pytest.mark.parametrize("channels", [1, 20])
def test_a_tile_may_see_nothing_but_padding(channels: int, pads: tuple[int, ...]) -> None:
    b = networks.Builder((channels, 24, 24))
    simulated(b.done(b.conv("x", 20, 3, pads=pads), b.depthwise("x", pads=pads)))


@pytest.mark.parametrize("mult", [0, 70_000])
def test_equal_constants_of_a_slice_that_begins_within_a_block(mult: int) -> None:
    """The lanes before it have no constants; with a multiplier of 0 they look no different."""
    b = networks.Builder((16, 4, 4))
    cut = b.add("slice", [b.conv("x", 16)], {"begin": 3, "end": 8})
    y = b.eltwise(cut)
    b.graph.tensors["t1"] = dataclasses.replace(b.graph.tensors["t0"], name="t1", shape=(5, 4, 4))
    consts = b.graph.nodes[-1].consts
    consts["mult"][:], consts["mult_neg"][:] = mult, 100_000
    simulated(b.done(y))


@pytest.mark.parametrize("end", [6, 16])
def test_a_sum_of_a_tensor_and_a_view_of_it(end: int) -> None:
    """Two places in one buffer, of the same blocks."""
    b = networks.Builder((16, 4, 4))
    y = b.conv("x", end)
    cut = b.add("slice", [y], {"begin": 0, "end": end})
    b.graph.tensors[cut] = dataclasses.replace(b.graph.tensors[y], name=cut)
    simulated(b.done(b.eltwise(y, cut), b.eltwise(cut, y)))


def test_a_concat_through_ddr_is_read_before_it_is_complete() -> None:
    """Its first part is read by the upsampling and by the copies that make the other parts."""
    b = networks.Builder((1, 29, 60))
    y = b.depthwise("x", 1, (2, 3))
    up = b.upsample(y, 1, 2)
    total = b.eltwise(b.depthwise("x", 1), "x")
    cat = b.add("concat", [y] * 4)
    b.graph.tensors[up] = dataclasses.replace(b.graph.tensors[up], zero_point=b.graph.tensors[
        y].zero_point)
    b.graph.tensors[cat] = dataclasses.replace(b.graph.tensors[y], name=cat, shape=(4, 15, 20))
    graph = b.done(up, total, cat)
    assert any(ins.mnemonic == "LOAD" and ins.segment == Segment.WORK
               for ins in compile_graph(graph, preset("tiny")).instructions())
    simulated(graph)


def test_a_window_of_too_many_taps_is_refused() -> None:
    b = networks.Builder((5, 20, 20))
    graph = b.done(b.depthwise("x", 17, d=2))
    with pytest.raises(FalconetError, match=r"node 'conv0': .* 293 vector weight words"):
        compile_graph(graph, preset("tiny"))
    simulated(graph, "pynq-z2")


def test_padding_that_an_image_cannot_have_is_no_reason_to_refuse() -> None:
    b = networks.Builder((3, 4, 4))
    simulated(b.done(b.conv("x", 5, 3, pads=(1, 30, 1, 1))))


@pytest.mark.parametrize("shape", [(16, 4096, 1), (16, 1, 4096)])
def test_an_input_beyond_the_fields_is_refused_with_the_name(shape: tuple[int, ...]) -> None:
    b = networks.Builder(shape)
    graph = b.done(b.conv("x", 4, 1, 2))
    with pytest.raises(FalconetError, match=r"node 'conv0': .* beyond 4095 pixels"):
        compile_graph(graph, preset("pynq-z2"))


@pytest.mark.parametrize("value", [0, 1, -1, 63, 64, 65, -64, -65, 8191, 65535, -65535])
def test_coefficient_digits(value: int) -> None:
    arch = preset("pynq-z2")
    words = pack.coefficient_taps(arch, np.full((1, 16), value, np.int32)).astype(int)
    assert (words[0, 3] + 128 * words[0, 2] + 128 * 128 * words[0, 1] == value).all()
    assert (np.abs(words) <= 64).all()


def test_mac_block_layout() -> None:
    arch = preset("tiny")
    w = np.random.default_rng(1).integers(-127, 128, (8, 16, 2, 1)).astype(np.int8)
    data = np.frombuffer(pack.mac_block(arch, w, b""), np.int8)
    for ky, ib, i, j in [(0, 0, 0, 0), (1, 1, 7, 3), (0, 1, 2, 1)]:
        word = ky * 2 + ib
        at = word * 64 + (j * 8 + i) * 2
        pair = unpack_pair(int(data[at]), int(data[at + 1]))
        assert pair == (w[2 * j, ib * 8 + i, ky, 0], w[2 * j + 1, ib * 8 + i, ky, 0])
