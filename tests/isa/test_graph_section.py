"""The graph in a program's header: how many inputs each operation takes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from networks import zoo_of_operators

from falconet.compiler import compile_graph
from falconet.isa import FalconetError, preset
from falconet.isa.graph.ops import OPERATORS
from falconet.isa.graph.section import check_graph

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
    with pytest.raises(FalconetError, match=r"graph\.nodes.*inputs: \d+ inputs are too many"):
        check_graph(graph, header["blob"])


def _node(header: dict[str, Any], op: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A copy of the graph, and a node of it."""
    graph = copy.deepcopy(header["graph"])
    return graph, next(n for n in graph["nodes"] if n["op"] == op)


ENDS = [(op, name, i, value) for op, kind in OPERATORS.items()
        for name, a in kind.attributes().items()
        for i, (lo, hi) in enumerate(a.ranges) for value in (lo - 1, hi + 1, None, True, 0.5)]


@pytest.mark.parametrize(("op", "name", "entry", "value"), ENDS)
def test_a_number_beyond_its_range_is_refused(header: dict[str, Any], op: str, name: str,
                                              entry: int, value: Any) -> None:
    graph, node = _node(header, op)
    if isinstance(node["attrs"][name], list):
        node["attrs"][name][entry] = value
    else:
        node["attrs"][name] = value
    with pytest.raises(FalconetError, match=rf"graph\.nodes\[\d+\]\.attrs\.{name}: .* no whole"):
        check_graph(graph, header["blob"])


@pytest.mark.parametrize("op", OPERATORS)
def test_attributes_are_those_of_the_operator(header: dict[str, Any], op: str) -> None:
    for name, a in OPERATORS[op].attributes().items():
        graph, node = _node(header, op)
        if a.kind == "numbers":
            node["attrs"][name].append(1)
        elif a.kind == "number":
            del node["attrs"][name]
        else:
            node["attrs"][name] = 1
        with pytest.raises(FalconetError, match=rf"graph\.nodes\[\d+\]\.attrs\.{name}: "):
            check_graph(graph, header["blob"])
    graph, node = _node(header, op)
    node["attrs"]["of\nno one"] = 1
    with pytest.raises(FalconetError, match=rf"attrs: {op} has no attribute 'of\\nno one'"):
        check_graph(graph, header["blob"])


@pytest.mark.parametrize("op", OPERATORS)
def test_constants_are_those_of_the_operator(header: dict[str, Any], op: str) -> None:
    for c in OPERATORS[op].constants:
        for change in ("dtype", "shape", "missing"):
            graph, node = _node(header, op)
            if c.name not in node["consts"]:
                continue
            entry = node["consts"][c.name]
            if change == "dtype":
                entry["dtype"] = "uint8" if c.dtype != "uint8" else "int8"
            elif change == "shape":
                entry["shape"][-1] += 1
            elif not c.optional:
                del node["consts"][c.name]
            else:
                continue
            entry["offset"] = 0
            with pytest.raises(FalconetError, match=r"graph\.nodes.*(consts|attrs)\.\w+: "):
                check_graph(graph, header["blob"])
    graph, node = _node(header, op)
    node["consts"]["of no one"] = {"dtype": "int8", "shape": [1], "offset": 0}
    with pytest.raises(FalconetError, match=rf"consts: {op} has no constant 'of no one'"):
        check_graph(graph, header["blob"])


@pytest.mark.parametrize(("op", "name", "value", "why"), [
    ("gather", "index", [1 << 16], r"channel 65536 of \d+"), ("gather", "index", [], "0 numbers"),
    ("gather", "index", [0] * ((1 << 16) + 1), "65537 numbers"),
    ("pick", "rows", [1 << 20], r"row 1048576 of \d+"), ("pick", "columns", [0] * 4096, "4096 num"),
    ("pick", "across", 2, "are no rows of 2"),
])
def test_what_is_moved_is_there(header: dict[str, Any], op: str, name: str, value: Any, why: str
                                ) -> None:
    """So no device reads beside a tensor, whatever the file says."""
    graph, node = _node(header, op)
    node["attrs"][name] = value
    with pytest.raises(FalconetError, match=rf"graph\.nodes\[\d+\]\.attrs\.{name}: .*{why}"):
        check_graph(graph, header["blob"])


def test_tiles_of_a_picture_fit_together(header: dict[str, Any]) -> None:
    graph = copy.deepcopy(header["graph"])
    node = next(n for n in graph["nodes"] if n["op"] == "pick" and len(n["inputs"]) > 1)
    node["inputs"][1] = "x"
    with pytest.raises(FalconetError, match=r"inputs: operands of shapes .* are no tiles"):
        check_graph(graph, header["blob"])


def test_the_fields_of_the_instructions_are_the_limits() -> None:
    """In numbers, as docs/isa.md has them."""
    conv, pool = OPERATORS["conv"].attributes(), OPERATORS["maxpool"].attributes()
    for attributes in (conv, pool):
        assert attributes["kernel"].ranges == ((1, 31), (1, 31))
        assert attributes["stride"].ranges == ((1, 255), (1, 255))
        assert attributes["dilation"].ranges == ((1, 63), (1, 63))
        assert attributes["pads"].ranges[:2] == ((0, 4096), (0, 4096))
    assert OPERATORS["upsample"].attributes()["fy"].ranges == ((1, 4095),)
