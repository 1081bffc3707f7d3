"""Layers of many weights: which weights stay, which are loaded again, and when."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable

import networks
import numpy as np
import pytest
from many_weights import GRAPHS, wide

from falconet.compiler import check, compile_graph
from falconet.compiler.emit.code import emit_code
from falconet.compiler.graph import Graph
from falconet.compiler.lower.network import lower
from falconet.compiler.schedule.allocate import allocate
from falconet.compiler.schedule.planner import Planner
from falconet.compiler.schedule.policy import Order, Policy
from falconet.compiler.schedule.search import POLICIES, STRIPED, TIGHT, Try, search
from falconet.compiler.schedule.simulate import Schedule, make_schedule
from falconet.isa import Arch, Dst, FalconetError, Load, Program, Segment, preset
from falconet_sim.compare.hazards import check_hazards
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.simulator import IssDevice

TINY, Z2 = preset("tiny"), preset("pynq-z2")
ROOMY = dataclasses.replace(TINY, name="roomy", bank_words=1024)
STRIPES = Policy(2, 2, 1 / 4, Order.SHALLOWEST, 300, 32)


def scheduled(graph: Graph, policy: Policy = STRIPES, arch: Arch = TINY) -> Schedule:
    schedule = make_schedule(Planner(lower(graph, arch)).plan(policy))
    assert allocate(schedule) is None
    return schedule


def weight_loads(program: Program) -> Counter[tuple[int, int]]:
    """How often each place of segment CODE is loaded into a weight memory."""
    return Counter((ins.dst, ins.offset) for ins in program.instructions()
                   if isinstance(ins, Load) and ins.segment == Segment.CODE
                   and ins.dst in (Dst.WEIGHTS, Dst.VECTOR))


def inputs_of(program: Program, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {t["name"]: random.integers(-128, 128, t["shape"]).astype(np.int8)
            for t in program.header["inputs"]}


def agree(program: Program) -> None:
    """Golden model and simulator give the same bytes, and no instruction starts too early."""
    inputs = inputs_of(program)
    expected, found = GoldenDevice(program).run(inputs), IssDevice(program).run(inputs)
    for name, value in expected.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], value)
        assert np.unique(value).size > 50
    check_hazards(program, inputs)


@pytest.mark.parametrize("policy", [
    STRIPES, STRIPED[3], Policy(2, 2, 1 / 8, Order.DEEPEST, 450, 64), *TIGHT[-2:]], ids=str)
@pytest.mark.parametrize("name", GRAPHS)
def test_every_policy_computes_the_same(name: str, policy: Policy,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    graph = GRAPHS[name]()
    schedule = scheduled(graph, policy, ROOMY)
    assert any(t.striped or len(t.chunks) > 1 for t in schedule.plan.tilings)
    monkeypatch.setattr("falconet.compiler.schedule.search.search", lambda *_: schedule)
    agree(compile_graph(graph, ROOMY))


# ---------------------------------------------------------------------------- weights


def test_weights_beyond_the_memory_are_loaded_for_each_stripe_and_kept_once() -> None:
    schedule = scheduled(wide())
    plan = schedule.plan
    (i,) = [i for i, t in enumerate(plan.tilings) if t.again]
    op, tiling = plan.ops[i], plan.tilings[i]
    assert op.chunk_words(0, op.blocks) > TINY.weight_words
    stripes = -(-op.height // tiling.rows)
    assert stripes > 2 and tiling.rows * op.width >= STRIPES.stripe  # type: ignore[attr-defined]
    loads = [t.load.chunk for t in schedule.tasks if t.load is not None and t.op == i]
    assert loads == list(range(stripes * len(tiling.chunks)))
    code = emit_code(schedule)
    assert len(code.weights) < 1.1 * sum(
        len(o.weights(0, o.blocks)) for o in plan.ops if o.memory is not None)
    program = compile_graph(wide(), TINY)
    assert set(weight_loads(program).values()) <= {1, stripes}


def test_weights_of_up_to_the_memory_stay() -> None:
    """More than half of it, and loaded once, although the tensors are in rings."""
    b = networks.Builder((96, 15, 15))
    graph = b.done(b.conv("x", 128))
    schedule = scheduled(graph)
    (i,) = [i for i, t in enumerate(schedule.plan.tilings) if t.striped]
    op = schedule.plan.ops[i]
    assert TINY.weight_words // 2 < op.chunk_words(0, op.blocks) <= TINY.weight_words
    assert not schedule.plan.tilings[i].again
    assert any(schedule.rings[s.buffer] < s.buffer.height for s in op.slots)
    assert set(weight_loads(compile_graph(graph, TINY)).values()) == {1}


def test_a_block_that_does_not_fit_twice_is_loaded_while_the_one_before_works() -> None:
    """In two parts: the first in the room beside that one, so that MAC waits for the second."""
    b = networks.Builder((136, 8, 8))
    graph = b.done(b.conv("x", 64, 3))
    schedule = scheduled(graph)
    (i,) = [i for i, op in enumerate(schedule.plan.ops) if op.memory is Dst.WEIGHTS]
    loads = [t.load for t in schedule.tasks if t.load is not None and t.op == i]
    assert [load.last for load in loads[:4]] == [False, True] * 2
    words = loads[0].words + loads[1].words
    assert words > TINY.weight_words // 2 and words + loads[2].words <= TINY.weight_words
    tiles = [t for t in schedule.tasks if t.tile is not None and t.op == i]
    second = next(t for t in schedule.tasks if t.load is loads[2])
    assert second.start < tiles[1].start and second.start < tiles[0].start + 300
    check.check_schedule(schedule)
    agree(compile_graph(graph, TINY))


def test_parts_of_a_block_lie_together() -> None:
    b = networks.Builder((136, 8, 8))
    schedule = scheduled(b.done(b.conv("x", 64, 3)))
    at = next(k for k, t in enumerate(schedule.tasks) if t.load is not None and t.load.first)
    task = schedule.tasks[at]
    assert task.load is not None
    schedule.tasks[at] = dataclasses.replace(
        task, load=dataclasses.replace(task.load, base=task.load.base + 1))
    with pytest.raises(AssertionError, match="do not lie together"):
        check.check_schedule(schedule)


def test_a_tile_uses_the_weights_of_its_own_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = scheduled(wide())
    (i,) = [i for i, t in enumerate(schedule.plan.tilings) if t.again]
    check.check_plan(schedule.plan, schedule.rings)
    wrong = dataclasses.replace(schedule.plan.tilings[i])
    monkeypatch.setattr(type(wrong), "loads", lambda self, height: [*self.chunks[1:], (0, 1)] * 9)
    with pytest.raises(AssertionError, match="weights of other blocks"):
        check.check_plan(schedule.plan, schedule.rings)


def test_weights_that_are_still_used_are_not_overwritten() -> None:
    """Those that stay are used until the last stripe."""
    b = networks.Builder((96, 15, 15))
    schedule = scheduled(b.done(b.conv("x", 128)))
    check.check_schedule(schedule)
    loads = [k for k, t in enumerate(schedule.tasks) if t.load is not None]
    last = schedule.tasks[loads[-1]]
    assert last.load is not None
    schedule.tasks[loads[-1]] = dataclasses.replace(
        last, load=dataclasses.replace(last.load, base=0))
    with pytest.raises(AssertionError, match="overwrite those"):
        check.check_schedule(schedule)


# ---------------------------------------------------------------------------- what is tried


@pytest.mark.parametrize(("channels", "k", "size", "share"), [
    (128, 3, 38, 0.98), (256, 1, 27, 0.92)], ids=["128x128 k3 38x38", "256x256 k1 27x27"])
def test_layers_that_were_refused_use_the_array_well(channels: int, k: int, size: int,
                                                     share: float) -> None:
    b = networks.Builder((channels, size, size))
    graph = b.done(b.conv("x", channels, k))
    tries: list[Try] = []
    agree(compile_graph(graph, Z2, tried=tries.append))
    best = min(t.cycles for t in tries if t.cycles is not None)
    macs = sum(graph.macs(n) for n in graph.nodes)
    assert macs / Z2.macs_per_cycle / best >= share


def test_stripes_are_tried_only_where_nothing_fits_without() -> None:
    tries: list[Try] = []
    search(lower(networks.zoo_of_operators(), TINY), tried=tries.append)
    assert [t.policy for t in tries] == list(POLICIES)
    tries.clear()
    search(lower(wide(), TINY), tried=tries.append)
    assert all(t.cycles is None for t in tries[:len(POLICIES)])
    assert {t.policy.stripe > 0 for t in tries if t.cycles is not None} == {True}


def test_groups_that_begin_ahead_fit_beside_the_first() -> None:
    """All policies of the round that find groups find room, those with groups ahead too."""
    planner = Planner(lower(networks.mobilenet_v2(size=224), Z2))
    for policy in STRIPED:
        plan = planner.plan(policy)
        assert policy.ahead > 0 and plan.n_groups > 5
        assert allocate(make_schedule(plan)) is None


# ---------------------------------------------------------------------------- places


def dense_block(layers: int, size: int = 6) -> Graph:
    """Each layer reads all that came before (Huang et al. 2017, figure 1), joined anew."""
    b = networks.Builder((8, size, size))
    parts = [b.conv("x", 16)]
    for _ in range(layers):
        cat = b.add("concat", list(parts)) if len(parts) > 1 else parts[0]
        parts.append(b.conv(b.eltwise(cat, per_channel=True), 12, 3))
        b.graph.tensors[parts[-1]] = dataclasses.replace(
            b.graph.tensors[parts[-1]], zero_point=b.graph.tensors[parts[0]].zero_point)
        if len(parts) > 2:
            t = b.graph.tensors[cat]
            b.graph.tensors[cat] = dataclasses.replace(
                t, zero_point=b.graph.tensors[parts[0]].zero_point)
    return b.done(b.conv(b.add("concat", parts[:-1]), 9))


@pytest.mark.parametrize("arch", [TINY, Z2], ids=lambda a: a.name)
@pytest.mark.parametrize("size", [6, 24])
def test_a_dense_block_copies_nothing(arch: Arch, size: int) -> None:
    graph = dense_block(5, size)
    program = compile_graph(graph, arch)
    assert not [v["name"] for v in program.header["layers"] if "copy" in v["name"]]
    agree(program)


def test_a_piece_of_a_tensor_through_ddr_is_the_blocks_that_its_group_uses(
        monkeypatch: pytest.MonkeyPatch) -> None:
    b = networks.Builder((8, 24, 24))
    cat = b.add("concat", [b.conv("x", c, table=True) for c in (80, 16, 64)])
    graph = b.done(b.maxpool(cat), b.conv(cat, 24))
    schedule = scheduled(graph, Policy(1, 0, 1 / 16, Order.SHALLOWEST, 100, 32))
    slots = [s for op in schedule.plan.ops for s in op.slots if "@" in s.buffer.name]
    pieces = {s.buffer for s in slots}
    assert {2, 8, 10, 20} == {buf.blocks for buf in pieces if buf.name.startswith("t3@")}
    for buf in pieces:
        mine = [s for s in slots if s.buffer is buf]
        assert min(s.block0 for s in mine) == 0
        assert max(s.block0 + s.blocks for s in mine) == buf.blocks
    monkeypatch.setattr("falconet.compiler.schedule.search.search", lambda *_: schedule)
    agree(compile_graph(graph, TINY))


def test_operands_in_other_lanes_are_copied() -> None:
    """A concat at a channel that is no multiple of the lanes, added to a tensor of its size."""
    b = networks.Builder((8, 9, 9))
    cat = b.add("concat", [b.conv("x", 12), b.conv("x", 12)])
    graph = b.done(b.eltwise(cat, b.conv("x", 24)), b.eltwise(b.conv("x", 24), cat))
    for arch in (TINY, Z2):
        program = compile_graph(graph, arch)
        assert any("aligned" in v["name"] for v in program.header["layers"])
        agree(program)


# ---------------------------------------------------------------------------- refusals


def refusal(graph: Graph, arch: Arch) -> tuple[str, int]:
    with pytest.raises(FalconetError) as raised:
        compile_graph(graph, arch)
    found = re.match(r"node '(\w+)': the rows that must be on chip while it works take (\d+) words,"
                     rf" and the scratchpad of '{arch.name}' holds (\d+); ", str(raised.value))
    assert found is not None, str(raised.value)
    assert int(found[3]) == arch.scratchpad_words
    return found[1], int(found[2])


def total() -> Graph:
    """Three rows of 1,536 words."""
    b = networks.Builder((1024, 12, 12))
    return b.done(b.eltwise("x", b.depthwise("x", 1)))


@pytest.mark.parametrize(("graph", "node"), [
    (lambda: wide(208, 136, 3, size=44), "conv1"), (lambda: wide(960, 960, size=20), "conv1"),
    (total, "eltwise1")], ids=["dense", "pointwise", "sum"])
def test_what_is_refused_fits_a_machine_of_as_many_words_as_it_says(
        graph: Callable[[], Graph], node: str) -> None:
    found, words = refusal(graph(), TINY)
    assert found == node
    enough = dataclasses.replace(TINY, name="enough", bank_words=-(-words // TINY.banks))
    agree(compile_graph(graph(), enough))
    less = dataclasses.replace(TINY, name="less", bank_words=(words - 1) // TINY.banks)
    assert refusal(graph(), less) == (node, words)
