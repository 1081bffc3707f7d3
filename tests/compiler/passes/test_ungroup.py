from __future__ import annotations

import networks
import pytest
from shuffles import TINY, finished, grouped, same

from falconet.compiler.passes import optimise
from falconet.compiler.passes.ungroup import split_groups


@pytest.mark.parametrize("first", [1, 3])
def test_groups_of_a_shuffle_read_what_is_theirs(first: int) -> None:
    graph = grouped(first)
    same(graph, better := optimise(graph, TINY))
    convs = [n for n in better.nodes if n.op == "conv"]
    assert all(n.attrs.to_dict()["groups"] in (1, n.consts["weight"].shape[0]) for n in convs)
    assert len(convs) == (9 if first == 3 else 3) + 3 + 3


def test_groups_that_others_read_between_stay() -> None:
    graph = grouped(read_again=True)
    assert split_groups(graph).to_dict() == graph.to_dict()
    same(graph, optimise(graph, TINY))


def test_groups_that_do_not_cross_stay() -> None:
    b = networks.Builder((36, 6, 5), 3)
    graph = finished(b, b.conv(b.depthwise(b.conv("x", 54, groups=3)), 36, groups=3))
    assert split_groups(graph).to_dict() == graph.to_dict()
