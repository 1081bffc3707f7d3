"""The policy of the schedule: what is tried, what is taken, and what estimates are worth."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import networks
import numpy as np
import pytest

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph, Tensor
from falconet.compiler.lower.network import lower
from falconet.compiler.machine import cost
from falconet.compiler.schedule.allocate import allocate
from falconet.compiler.schedule.planner import Planner
from falconet.compiler.schedule.policy import Order, Policy
from falconet.compiler.schedule.search import POLICIES, STRIPED, TIGHT, Try, search
from falconet.compiler.schedule.simulate import Schedule, make_schedule
from falconet.isa import Engine, FalconetError, preset
from falconet_sim.compare.hazards import required_waits

TINY = preset("tiny")
RECORDED = json.loads((Path(__file__).parents[1] / "sim/cycles.json").read_text())


def scheduled(graph: Graph, policy: Policy) -> Schedule:
    schedule = make_schedule(Planner(lower(graph, TINY)).plan(policy))
    assert allocate(schedule) is None
    return schedule


# ---------------------------------------------------------------------------- the search


@pytest.mark.parametrize("graph", [
    networks.zoo_of_operators(), networks.zoo_of_operators(3, 28), networks.retinaface(size=64)],
    ids=["operators", "operators 28", "retinaface"])
def test_the_fastest_try_is_taken(graph: Graph) -> None:
    """Of all policies, each scheduled here by itself."""
    expected: dict[Policy, int] = {}
    for policy in POLICIES:
        schedule = make_schedule(Planner(lower(graph, TINY)).plan(policy))
        if allocate(schedule) is None:
            expected[policy] = schedule.tasks[-1].start
    tries: list[Try] = []
    best = search(lower(graph, TINY), tried=tries.append)
    assert {t.policy: t.cycles for t in tries if t.cycles is not None} == expected
    assert [t.policy for t in tries] == list(POLICIES)
    assert len(set(expected.values())) > 2
    assert best.tasks[-1].start == min(expected.values()) == best.cycles


def test_tensors_go_through_ddr_only_where_nothing_fits_without() -> None:
    graph = networks.mobilenet_v2(size=64)
    tries: list[Try] = []
    program = compile_graph(graph, TINY, tried=tries.append)
    rounds = [POLICIES, STRIPED, TIGHT]
    assert [t.policy for t in tries] in [
        [p for r in rounds[:n] for p in r] for n in (2, 3)]
    assert all(t.cycles is None and "scratchpad" in t.failure for t in tries[:len(POLICIES)])
    last = tries[-1].policy
    assert any(t.cycles is not None for t in tries if (t.policy in TIGHT) == (last in TIGHT))
    assert program.header["segments"]["work"] > 0


def test_both_orders_and_both_tiles_are_tried() -> None:
    every = (*POLICIES, *STRIPED, *TIGHT)
    assert len(set(every)) == len(every) == len({str(p) for p in every})
    assert {p.order for p in POLICIES} == set(Order)
    assert len({p.tile for p in POLICIES}) > 1


# ---------------------------------------------------------------------------- the order


def two_deep(rows: int = 96) -> Graph:
    """Two convolutions of the array one after the other, row by row through a ring."""
    b = networks.Builder((16, rows, 16))
    return b.done(b.conv(b.conv("x", 16), 16))


def choices(schedule: Schedule) -> list[tuple[int, set[int]]]:
    """Each time that MAC starts a tile: of which operation, and which could have started.

    Worked out anew: a tile is done its cycles and the drain after its start; the second layer wants
    the rows of the first, and the first wants room in the ring.
    """
    plan = schedule.plan
    first, second = (i for i, op in enumerate(plan.ops) if op.engine is Engine.MAC)
    load = next(i for i, op in enumerate(plan.ops) if op.engine is Engine.LOAD)
    tiles: dict[int, list[tuple[int, int, int]]] = {load: [], first: [], second: []}
    for t in schedule.tasks:
        if t.tile is not None and t.op in tiles:
            end = t.start + plan.ops[t.op].cycles(t.tile) + cost.DRAIN
            tiles[t.op].append((t.start, end, t.tile.y1))
    weights = {t.op: t.start + cost.weights(t.load.size) + cost.DRAIN
               for t in schedule.tasks if t.load is not None}

    def rows(op: int, now: int) -> int:
        return max((y1 for _, end, y1 in tiles[op] if end <= now), default=0)

    def ring(op: int) -> int:
        output = plan.ops[op].output
        assert output is not None
        return schedule.rings[output.buffer]

    found = []
    for op in (first, second):
        for now, _, _ in tiles[op]:
            ready = set()
            for k, source in ((first, load), (second, first)):
                left = [y1 for start, _, y1 in tiles[k] if start >= now]
                room = k == second or (left and left[0] - ring(first) <= rows(second, now))
                if left and room and weights[k] <= now and rows(source, now) >= left[0]:
                    ready.add(k)
            assert op in ready
            found.append((op, ready))
    return found


@pytest.mark.parametrize("order", Order)
def test_an_engine_takes_the_deepest_that_is_ready_or_the_shallowest(order: Order) -> None:
    found = choices(scheduled(two_deep(), Policy(2, 2, order=order)))
    contested = [(op, ready) for op, ready in found if len(ready) > 1]
    assert len(contested) > 5
    take = max if order is Order.DEEPEST else min
    assert all(op == take(ready) for op, ready in contested)


def test_mobilenet_is_faster_shallowest_first() -> None:
    """By 1.5 % on the RTL at 224 pixels; deepest first keeps MAC from its next layer's rows."""
    graph = networks.mobilenet_v2(size=160)
    tries: list[Try] = []
    search(lower(graph, preset("pynq-z2")), tried=tries.append)
    best = {order: min(t.cycles for t in tries if t.cycles and t.policy.order is order)
            for order in Order}
    assert best[Order.SHALLOWEST] < best[Order.DEEPEST]


# ---------------------------------------------------------------------------- estimates


@pytest.mark.parametrize(("engine", "low", "high"), [
    (Engine.MAC, 0.98, 1.01), (Engine.VEC, 0.87, 1.0), (Engine.LOAD, 0.85, 1.0),
    (Engine.STORE, 0.9, 1.5)])
@pytest.mark.parametrize("network", [0, 1])
def test_estimates_are_what_the_rtl_was_busy_for(network: int, engine: Engine, low: float,
                                                 high: float) -> None:
    graph = (networks.zoo_of_operators(), networks.zoo_of_operators(3, 28))[network]
    schedule = search(lower(graph, TINY))
    estimate = sum(
        cost.weights(t.load.size) if t.load is not None
        else schedule.plan.work(t.op).cycles[schedule.plan.work(t.op).tiles.index(t.tile)]
        for t in schedule.tasks if t.engine is engine)
    busy = RECORDED["usual"][f"network {network}"][engine.name]
    assert low <= estimate / busy <= high


@pytest.mark.parametrize("network", [0, 1])
def test_the_whole_estimate_is_near_the_rtl(network: int) -> None:
    graph = (networks.zoo_of_operators(), networks.zoo_of_operators(3, 28))[network]
    cycles = search(lower(graph, TINY)).cycles
    assert 0.97 <= cycles / RECORDED["usual"][f"network {network}"]["cycles"] <= 1.01


# ---------------------------------------------------------------------------- groups


def test_groups_are_not_cut_for_nothing() -> None:
    """Two networks in one, between which no tensor crosses: a cut there would cost no words."""
    b = networks.Builder((16, 24, 8))
    first = b.conv(b.conv("x", 16), 16)
    b.graph.tensors["y"] = Tensor("y", (16, 24, 8), 0.02, 3)
    b.graph.inputs.append("y")
    graph = b.done(first, b.conv(b.conv("y", 16), 16))
    assert Planner(lower(graph, TINY)).plan(Policy()).n_groups == 1


def test_groups_are_cut_where_least_crosses() -> None:
    """Behind the pooling, where a sixteenth of the words is left."""
    b = networks.Builder((8, 32, 32))
    y = b.maxpool(b.conv("x", 64, 3), 4, 4)
    for _ in range(3):
        y = b.conv(y, 64, 3)
    plan = Planner(lower(b.done(y), TINY)).plan(Policy())
    assert plan.n_groups > 1
    pool = next(i for i, op in enumerate(plan.ops) if op.name.startswith("maxpool"))
    assert plan.group_of[pool] == plan.group_of[pool - 1] == 0 < plan.group_of[pool + 1]


# ---------------------------------------------------------------------------- waits


@pytest.mark.parametrize(("graph", "surplus"), [
    (networks.zoo_of_operators(1, 28), 0.025), (networks.two_tables(), 0),
    (networks.retinaface(size=64), 0.01)], ids=["operators", "tables", "retinaface"])
def test_no_wait_is_superfluous(graph: Graph, surplus: float) -> None:
    """None waits for more than the words that the instruction-set simulator saw it touch, but for a
    few of whose regions padding leaves a part unread."""
    program = compile_graph(graph, TINY)
    random = np.random.default_rng(0)
    needed = required_waits(program, {
        t["name"]: random.integers(-128, 128, t["shape"]).astype(np.int8)
        for t in program.header["inputs"]})
    waits = [[getattr(ins, f"wait_{e.name.lower()}") for e in Engine]
             for ins in program.instructions()]
    found, least = np.array(waits[:len(needed)]), np.array(needed)
    assert (found >= least).all()
    assert (found > least).sum() <= surplus * (found > 0).sum()


# ---------------------------------------------------------------------------- refusals


def test_a_refusal_names_the_node_that_does_not_fit() -> None:
    """Not the input before it, which would go through DDR in rows."""
    b = networks.Builder((3, 96, 96))
    y = b.conv("x", 16, 3, 2)
    huge = b.conv(b.depthwise(y), 1024)
    graph = b.done(b.eltwise(huge, b.conv(y, 1024)))
    with pytest.raises(FalconetError, match=r"^node 'conv\d': .*scratchpad of 'tiny'"):
        compile_graph(graph, TINY)


def test_a_policy_is_a_value() -> None:
    assert dataclasses.replace(Policy(), spill=1 / 4) == Policy(spill=1 / 4)
    assert "through DDR" in str(Policy(spill=1 / 4)) and "through DDR" not in str(Policy())
