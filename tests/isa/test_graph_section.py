"""The graph in a program's header: how many inputs each operation takes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from networks import zoo_of_operators

from falconet.compiler import compile_graph
from falconet.isa import FalconetError, preset
from falconet.isa.graph_section import check_graph

MOST = {"conv": 1, "maxpool": 1, "slice": 1, "upsample": 1, "eltwise": 2}
"""As docs/arithmetic.md has it: a sum has two operands, a copy one."""


@pytest.fixture(scope="module")
def header() -> dict[str, Any]:
    """Of a program that uses all of them."""
    program = compile_graph(zoo_of_operators(0), preset("tiny"))
    graph = json.loads(json.dumps(program.header["graph"]))  # as it is in the file
    blob = len(program.code) - program.header["graph_offset"]
    check_graph(graph, blob)
    return {"graph": graph, "blob": blob}


@pytest.mark.parametrize("op", MOST)
@pytest.mark.parametrize("more", [1, 97])
def test_one_input_too_many_is_refused(header: dict[str, Any], op: str, more: int) -> None:
    graph = copy.deepcopy(header["graph"])
    node = next(n for n in graph["nodes"] if n["op"] == op)
    node["inputs"] = [node["inputs"][0]] * (MOST[op] + more)
    if op == "eltwise":  # nothing else is wrong with it
        coef = node["consts"]["coef"]
        coef["shape"] = [MOST[op] + more, coef["shape"][1]]
        coef["offset"] = 0
    with pytest.raises(FalconetError, match=r"graph\.nodes.*inputs: too many"):
        check_graph(graph, header["blob"])
