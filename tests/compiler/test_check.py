"""Each check of compiler/check.py finds the fault that is planted for it, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import networks
import pytest

from falconet.compiler import check
from falconet.compiler.emit.code import Code, emit_code
from falconet.compiler.lower.network import lower
from falconet.compiler.machine.network import Network
from falconet.compiler.machine.op import Op, Tiling
from falconet.compiler.machine.place import Buffer
from falconet.compiler.schedule.allocate import allocate, lives
from falconet.compiler.schedule.planner import Planner
from falconet.compiler.schedule.policy import Policy
from falconet.compiler.schedule.simulate import Schedule, make_schedule
from falconet.compiler.schedule.weights import TABLE
from falconet.isa import Dst, Engine, preset

TINY = preset("tiny")


def network(size: int = 24) -> Network:
    return lower(networks.zoo_of_operators(size=size), TINY)


def scheduled(policy: Policy | None = None, size: int = 24) -> Schedule:
    schedule = make_schedule(Planner(network(size)).plan(policy or Policy()))
    assert allocate(schedule) is None
    return schedule


def chain() -> Schedule:
    """Two layers through a ring."""
    b = networks.Builder((16, 48, 8))
    y = b.depthwise(b.conv("x", 16))
    schedule = make_schedule(Planner(lower(b.done(y), TINY)).plan(Policy(1, 0)))
    assert allocate(schedule) is None
    return schedule


def all_checks(schedule: Schedule, code: Code | None = None) -> None:
    check.check_network(schedule.plan.net)
    check.check_plan(schedule.plan, schedule.rings)
    check.check_schedule(schedule)
    check.check_places(schedule)
    check.check_waits(schedule, code or emit_code(schedule))


def index(schedule: Schedule, name: str) -> int:
    return next(i for i, op in enumerate(schedule.plan.ops) if op.name == name)


@pytest.mark.parametrize("policy", [Policy(), Policy(1, 0), Policy(spill=1 / 16)], ids=str)
def test_what_the_compiler_makes_passes(policy: Policy) -> None:
    all_checks(scheduled(policy, 28))


# ---------------------------------------------------------------------------- lowering


def two_tensors_in_one_place(net: Network) -> None:
    a, b = (op for op in net.ops if op.name in ("conv0", "conv2"))
    net.ops[net.ops.index(b)] = dataclasses.replace(b, output=a.output)


def a_tensor_without_a_place(net: Network) -> None:
    del net.slots["t3"]


def a_tensor_beyond_its_buffer(net: Network) -> None:
    net.slots["t3"] = dataclasses.replace(net.slots["t3"], block0=1)


def two_channels_in_one_lane(net: Network) -> None:
    lanes = net.slots["t0"].lane_of.copy()
    lanes[1] = lanes[0]
    net.slots["t0"] = dataclasses.replace(net.slots["t0"], lane_of=lanes)


def a_tensor_that_nobody_writes(net: Network) -> None:
    net.ops = [op for op in net.ops if op.name != "conv0"]


@pytest.mark.parametrize(("fault", "says"), [
    (two_tensors_in_one_place, "write block"),
    (a_tensor_without_a_place, "one to one"),
    (a_tensor_beyond_its_buffer, "beyond the blocks"),
    (two_channels_in_one_lane, "two channels in one lane"),
    (a_tensor_that_nobody_writes, "that nothing writes"),
])
def test_places_of_tensors(fault: Callable[[Network], None], says: str) -> None:
    net = network()
    fault(net)
    with pytest.raises(AssertionError, match=says):
        check.check_network(net)


# ---------------------------------------------------------------------------- plan


def in_a_ring(schedule: Schedule) -> Buffer:
    return [b for b, rows in schedule.rings.items() if rows < b.height][-1]


def a_ring_too_short(schedule: Schedule) -> None:
    schedule.rings[in_a_ring(schedule)] = 1


def a_ring_across_groups(schedule: Schedule) -> None:
    plan = schedule.plan
    buf = in_a_ring(schedule)
    first = min(plan.users(buf))
    plan.group_of = [int(i > first) for i in range(len(plan.ops))]


def a_tile_forgotten(schedule: Schedule) -> None:
    plan = schedule.plan
    at = next(i for i, op in enumerate(plan.ops) if op.blocks > 1)
    plan.tilings[at] = Tiling(plan.tilings[at].rows, ((0, 1),))


def a_read_outside_its_buffer(schedule: Schedule) -> None:
    plan = schedule.plan
    for needs in plan.work(index(schedule, "conv1")).needs[-1:]:
        needs[0] = needs[0][0], needs[0][1] + 1


def weights_too_many(schedule: Schedule) -> None:
    arch = dataclasses.replace(schedule.plan.net.arch, weight_words=8)
    schedule.plan.net.arch = arch


@pytest.mark.parametrize(("of", "fault", "says"), [
    (chain, a_ring_too_short, "holds 1 of"),
    (chain, a_ring_across_groups, "and needs"),
    (scheduled, a_tile_forgotten, "cover its blocks once"),
    (scheduled, a_read_outside_its_buffer, "outside 't0'"),
    (scheduled, weights_too_many, "exceed their memory"),
])
def test_plans(of: Callable[[], Schedule], fault: Callable[[Schedule], None], says: str) -> None:
    schedule = of()
    check.check_plan(schedule.plan, schedule.rings)
    fault(schedule)
    with pytest.raises(AssertionError, match=says):
        check.check_plan(schedule.plan, schedule.rings)


# ---------------------------------------------------------------------------- schedule


def tasks_of(schedule: Schedule, name: str) -> list[int]:
    at = index(schedule, name)
    return [k for k, t in enumerate(schedule.tasks) if t.op == at and t.tile is not None]


def tiles_in_the_wrong_order(schedule: Schedule) -> None:
    a, b, *_ = tasks_of(schedule, "conv0")
    tasks = schedule.tasks
    tasks[a], tasks[b] = tasks[b], tasks[a]


def a_tile_lost(schedule: Schedule) -> None:
    del schedule.tasks[tasks_of(schedule, "conv0")[-1]]


def a_reader_before_its_writer(schedule: Schedule) -> None:
    at = index(schedule, "conv1")
    loads = [t for t in schedule.tasks if t.load is not None and t.op == at]
    reader = schedule.tasks.pop(tasks_of(schedule, "conv1")[0])
    schedule.tasks[0:0] = [*loads, reader]


def weights_after_their_tile(schedule: Schedule) -> None:
    schedule.tasks = [t for t in schedule.tasks if t.load is None or t.load.chunk == TABLE]


def another_table(schedule: Schedule) -> None:
    schedule.tasks = [t for t in schedule.tasks if t.load is None or t.load.chunk != TABLE]


def weights_on_top_of_others(schedule: Schedule) -> None:
    schedule.tasks = [
        t if t.load is None or t.load.chunk == TABLE
        else dataclasses.replace(t, load=dataclasses.replace(t.load, base=0))
        for t in schedule.tasks
    ]


def a_ring_overwritten(schedule: Schedule) -> None:
    """All tiles of the writer at once."""
    buf = in_a_ring(schedule)
    (writer,) = schedule.plan.writers[buf]
    mine = [t for t in schedule.tasks if t.op == writer and t.tile is not None]
    at = schedule.tasks.index(mine[-1])
    sources = [t for t in schedule.tasks[:at] if t.op != writer or t.tile is None]
    readers = set(schedule.plan.readers[buf])
    schedule.tasks[:at + 1] = ([t for t in sources if t.op not in readers] + mine
                               + [t for t in sources if t.op in readers])


@pytest.mark.parametrize(("of", "fault", "says"), [
    (scheduled, tiles_in_the_wrong_order, "is not next"),
    (scheduled, a_tile_lost, "written yet|are missing"),
    (scheduled, a_reader_before_its_writer, "not written yet"),
    (scheduled, weights_after_their_tile, "before its weights"),
    (scheduled, another_table, "another table"),
    (scheduled, weights_on_top_of_others, "overwrite those"),
    (chain, a_ring_overwritten, "overwritten before"),
])
def test_schedules(of: Callable[[], Schedule], fault: Callable[[Schedule], None], says: str
                   ) -> None:
    schedule = of()
    check.check_schedule(schedule)
    fault(schedule)
    with pytest.raises(AssertionError, match=says):
        check.check_schedule(schedule)


def test_two_buffers_that_live_at_once_share_no_word() -> None:
    schedule = scheduled()
    life = lives(schedule)
    a, b = next((a, b) for a in life for b in life
                if a is not b and life[a][0] <= life[b][0] <= life[a][1])
    schedule.bases[b] = schedule.bases[a]
    with pytest.raises(AssertionError, match="live at once and share words"):
        check.check_places(schedule)


@pytest.mark.parametrize("base", [-1, TINY.scratchpad_words - 1])
def test_a_buffer_is_inside_the_scratchpad(base: int) -> None:
    schedule = scheduled()
    schedule.bases[next(iter(schedule.bases))] = base
    with pytest.raises(AssertionError, match="not inside the scratchpad"):
        check.check_places(schedule)


# ---------------------------------------------------------------------------- instructions


def without_waits(code: Code, engine: Engine, on: Engine) -> Code:
    """The instructions of one engine no longer wait for another."""
    changed: dict[str, Any] = {f"wait_{on.name.lower()}": 0}
    return dataclasses.replace(code, instructions=[
        ins.replace(**changed) if ins.engine is engine else ins for ins in code.instructions])


@pytest.mark.parametrize(("engine", "on", "says"), [
    (Engine.VEC, Engine.LOAD, "wait for its weights"),
    (Engine.MAC, Engine.LOAD, "wait for"),
    (Engine.VEC, Engine.MAC, "wait for what"),
    (Engine.MAC, Engine.VEC, "wait for what"),
    (Engine.STORE, Engine.MAC, "wait for what writes"),
    (Engine.MAC, Engine.MAC, "wait for what writes"),
])
def test_waits_that_are_missing(engine: Engine, on: Engine, says: str) -> None:
    schedule = scheduled()
    with pytest.raises(AssertionError, match=says):
        check.check_waits(schedule, without_waits(emit_code(schedule), engine, on))


def test_the_wait_for_a_ring_row_that_is_overwritten() -> None:
    """Only the wait of a ring's writer for its reader is dropped."""
    schedule = chain()
    code = emit_code(schedule)
    check.check_waits(schedule, code)
    with pytest.raises(AssertionError, match="reads the rows of 't0' it overwrites"):
        check.check_waits(schedule, without_waits(code, Engine.MAC, Engine.VEC))


def test_the_wait_for_rows_stored_before_they_are_loaded() -> None:
    schedule = scheduled(Policy(spill=1 / 16), 28)
    assert any(op.name.startswith("reload") for op in schedule.plan.ops)
    with pytest.raises(AssertionError, match="wait for the stores"):
        check.check_waits(schedule, without_waits(emit_code(schedule), Engine.LOAD, Engine.STORE))


def test_a_wait_for_a_later_instruction() -> None:
    schedule = scheduled()
    code = emit_code(schedule)
    code.instructions[0] = code.instructions[0].replace(wait_store=1)
    with pytest.raises(AssertionError, match="waits for a later one"):
        check.check_waits(schedule, code)


def test_a_region_outside_the_buffers() -> None:
    schedule = scheduled()
    code = emit_code(schedule)
    at = next(k for k, s in enumerate(code.steps) if s.emitted.instruction.engine is Engine.MAC)
    emitted = code.steps[at].emitted
    top = TINY.scratchpad_words
    far = dataclasses.replace(emitted, writes=[(Dst.SCRATCHPAD, top - 1, top)])
    code.steps[at] = dataclasses.replace(code.steps[at], emitted=far)
    with pytest.raises(AssertionError, match="outside its buffers"):
        check.check_waits(schedule, code)


def test_every_compilation_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    from falconet.compiler import compile_graph

    seen: list[str] = []
    for name in check.__all__:
        monkeypatch.setattr(check, name, lambda *a, name=name: seen.append(name))
    compile_graph(networks.two_tables(), TINY)
    assert sorted(seen) == sorted(check.__all__)


def test_operations_are_values() -> None:
    op: Op = network().ops[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        op.height = 3  # type: ignore[misc]


def test_a_group_waits_for_its_own_inputs_only() -> None:
    """Of a concat, a grouped convolution whose weights go chunk by chunk reads part by part."""
    b = networks.Builder((16, 8, 8))
    cat = b.add("concat", [b.conv("x", 64), b.conv("x", 64)])
    schedule = make_schedule(Planner(lower(b.done(b.conv(cat, 128, 3, groups=2)), TINY)).plan(
        Policy()))
    assert allocate(schedule) is None
    assert len(schedule.plan.tilings[index(schedule, "conv3")].chunks) > 2
    all_checks(schedule)
