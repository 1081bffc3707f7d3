"""What can never start: an order that ends stuck is a try like any other, a graph whose shapes do
not go together is refused before."""

from __future__ import annotations

import dataclasses
import re

import networks
import pytest

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph
from falconet.compiler.lower.network import lower
from falconet.compiler.schedule.plan import Plan
from falconet.compiler.schedule.planner import Planner
from falconet.compiler.schedule.policy import Policy
from falconet.compiler.schedule.search import POLICIES, STRIPED, TIGHT, Try, search
from falconet.compiler.schedule.simulate import Stuck, make_schedule
from falconet.isa import FalconetError, preset

TINY = preset("tiny")
SAYS = (r"node 'conv1': in the order that was tried it waits for what finds no room in the "
        r"memories of 'tiny'; use a smaller input or a larger preset")


def two_layers() -> Graph:
    """Each of more than half the weights that the memory holds."""
    b = networks.Builder((64, 8, 8))
    return b.done(b.conv(b.conv("x", 136), 80))


def crossed(plan: Plan) -> Plan:
    """The plan with its two layers in one group and in the wrong order: the weights of the second
    are loaded first and keep the memory from those of the first, for which it waits."""
    made = dataclasses.replace(plan, ops=list(plan.ops), tilings=list(plan.tilings),
                               group_of=[0] * len(plan.ops))
    first, second = (i for i, op in enumerate(plan.ops) if op.memory is not None)
    for row in (made.ops, made.tilings):
        row[first], row[second] = row[second], row[first]
    for i in (first, second):
        made.tilings[i] = dataclasses.replace(made.tilings[i], chunks=((0, made.ops[i].blocks),))
    made.index()
    return made


def test_weights_that_wait_for_each_other_are_stuck() -> None:
    plan = Planner(lower(two_layers(), TINY)).plan(POLICIES[0])
    assert make_schedule(plan).cycles > 0
    with pytest.raises(Stuck, match=f"^{SAYS}$"):
        make_schedule(crossed(plan))


@pytest.mark.parametrize("bad", [{POLICIES[0]}, set(POLICIES), {*POLICIES, *STRIPED, *TIGHT}],
                         ids=["one", "a round", "all"])
def test_the_search_goes_on_after_an_order_that_ends_stuck(
        bad: set[Policy], monkeypatch: pytest.MonkeyPatch) -> None:
    net, plan_of, tries = lower(two_layers(), TINY), Planner.plan, list[Try]()

    def plan(planner: Planner, policy: Policy) -> Plan:
        made = plan_of(planner, policy)
        return crossed(made) if policy in bad else made

    monkeypatch.setattr(Planner, "plan", plan)
    if TIGHT[-1] in bad:
        with pytest.raises(FalconetError, match=SAYS):
            search(net, tried=tries.append)
    else:
        assert search(net, tried=tries.append).plan.policy not in bad
    stuck = [t.policy for t in tries if re.fullmatch(SAYS, t.failure)]
    assert set(stuck) == bad
    assert all((t.cycles is None) == (t.policy in bad) for t in tries)


@pytest.mark.parametrize("size", [64, 128])
def test_no_order_of_a_real_network_ends_stuck(size: int) -> None:
    planner = Planner(lower(networks.retinaface(size=size), TINY))
    ended = 0
    for policy in (*POLICIES, *STRIPED, *TIGHT):
        try:
            plan = planner.plan(policy)
        except FalconetError:
            continue
        ended += make_schedule(plan).cycles > 0
    assert ended >= len(STRIPED)


def test_a_sum_of_sizes_that_differ_is_refused() -> None:
    """At 112 pixels a detector's levels have 4, 7 and 14 rows, and twice 4 are not 7."""
    graph = networks.retinaface(size=112)
    with pytest.raises(FalconetError, match=r"^node 'eltwise31': operands of shapes "
                                            r"\[\[64, 7, 7\], \[64, 8, 8\]\]; make their sides"):
        compile_graph(graph, TINY)


def test_a_tensor_of_another_shape_than_is_computed_is_refused() -> None:
    graph = two_layers()
    name = graph.nodes[0].output
    graph.tensors[name] = dataclasses.replace(graph.tensors[name], shape=(136, 9, 8))
    with pytest.raises(FalconetError, match=r"^node 'conv0': its output 't0' is described as "
                                            r"\[136, 9, 8\], and \[136, 8, 8\] is computed; mend"):
        compile_graph(graph, TINY)
