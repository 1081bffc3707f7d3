"""An operator is in every room, and what it says of itself is so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import networks
import pytest
from test_layering import ROOT, imports

from falconet.compiler import compile_graph
from falconet.compiler.importer.build import STORES, stores
from falconet.compiler.importer.expr import Expr, Sum
from falconet.compiler.importer.onnx.context import operator
from falconet.compiler.importer.onnx.convert import HANDLERS
from falconet.compiler.importer.onnx.roles import AXES, ROLES, Role
from falconet.compiler.lower.ops import OPERATORS as LOWERED
from falconet.isa import preset
from falconet.isa.checks import Fields
from falconet.isa.graph.operator import NAMES, Operator
from falconet.isa.graph.ops import OPERATORS
from falconet.isa.graph.page import NO_NODE
from falconet.isa.machine.cycles import steps
from falconet_sim.golden.operator import integers
from falconet_sim.golden.ops import INTEGERS

TINY = preset("tiny")
ROOMS = ("sw/falconet/isa/graph/ops", "sw/falconet/compiler/lower/ops",
         "sim/falconet_sim/golden/ops")


def test_every_room_has_every_operator() -> None:
    assert set(OPERATORS) == set(INTEGERS) == set(LOWERED)
    for room in ROOMS:
        files = {p.stem for p in (ROOT / room).glob("*.py")} - {"__init__"}
        assert files == set(OPERATORS), room


def test_the_golden_model_is_written_by_hand() -> None:
    """Two that agree because they share a line prove nothing."""
    for path in (ROOT / "sim/falconet_sim/golden").rglob("*.py"):
        named = {module for _, module in imports(path, "falconet_sim.golden")}
        assert not [m for m in named if m.startswith("falconet.isa.graph")], path


def test_what_of_onnx_becomes_what_is_so() -> None:
    """Of every ONNX operator that is taken the page says what becomes of it, and of no other."""
    said = {name for kind in OPERATORS.values() for name in kind.onnx}
    assert said | set(NO_NODE) == set(HANDLERS)
    assert not said & set(NO_NODE)


@pytest.mark.parametrize("register", [
    lambda: integers("conv")(lambda inputs, attrs, consts: inputs[0]),
    lambda: operator("Conv", role=Role.LAYER)(lambda ctx, node, args: args[0]),
    lambda: stores(Sum)(lambda builder, expr, stage, name: name),
    lambda: type("Twice", (Operator,), {"op": "conv"}),
])
def test_a_second_of_a_name_is_a_mistake(register: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match=r"conv|Conv|Sum"):
        register()


def test_every_handler_says_what_the_quantiser_needs() -> None:
    assert set(ROLES) == set(HANDLERS)
    assert set(AXES) == {name for name, role in ROLES.items() if role is Role.WEIGHTED}


@pytest.mark.parametrize("role, axis", [(Role.WEIGHTED, None), (Role.MOVE, 0)])
def test_weights_and_nothing_else_have_an_axis(role: Role, axis: int | None) -> None:
    with pytest.raises(TypeError, match="axis"):
        operator("New", role=role, axis=axis)(lambda ctx, node, args: args[0])
    assert "New" not in HANDLERS and "New" not in ROLES


def test_every_expression_can_be_stored() -> None:
    assert set(STORES) == set(Expr.__subclasses__())


@pytest.mark.parametrize("op", OPERATORS)
def test_an_operator_is_data(op: str) -> None:
    kind = OPERATORS[op]
    assert kind.__doc__ and kind.__doc__.split("\n")[0].endswith(".")
    assert kind.onnx and 1 <= kind.arity[0] <= kind.arity[1]
    assert {c.name for c in kind.constants} >= (
        {"bias", "mult", "mult_neg", "shift", "table"} if kind.staged else set())
    for name, attribute in kind.attributes().items():
        assert attribute.doc, name
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind.of({"kernel": [1, 1]} if "kernel" in kind.attributes() else {}).op = "other"  # type: ignore[misc]


def test_a_file_keeps_all_attributes() -> None:
    seen = set()
    for attrs in [node.attrs for node in networks.zoo_of_operators().nodes]:
        seen.add(attrs.op)
        assert type(attrs).read(Fields(attrs.to_dict(), "attrs")) == attrs
    assert seen == set(OPERATORS)


LAYERS: dict[str, tuple[Callable[[networks.Builder], str], int]] = {
    "pointwise": (lambda b: b.conv("x", 10), 0),
    "dense": (lambda b: b.conv("x", 10, 3, 2), 0),
    "a pixel": (lambda b: b.conv("x", 10, (5, 4), pads=(0, 0, 0, 0)), 0),
    "depthwise": (lambda b: b.depthwise("x", 3, d=2), 1),
    "sliding": (lambda b: b.depthwise("x", 3, 2), 2),
    "sliding, 5 wide": (lambda b: b.depthwise("x", (3, 5), table=True), 3),
    "sliding by phases": (lambda b: b.depthwise("x", (3, 5), 2, pads=(0, 4, 0, 4), table=True), 4),
    "maximum": (lambda b: b.maxpool("x", 3, 2, 1), 0),
    "copy": (lambda b: b.eltwise("x"), 0),
    "sum": (lambda b: b.eltwise("x", "x"), 0),
    "phases": (lambda b: b.transposed("x", 5), 0),
    "depthwise phases": (lambda b: b.transposed("x", 12, groups=12), 1),
    "stacked": (lambda b: b.stackpool("x", 3, 2, 2), 0),
    "average": (lambda b: b.averagepool("x", 4, 1, 0), 0),
    "between both": (lambda b: b.bilinear("x", (3, 3), (2, 2), (1, 1), (2, 2)), 0),
    "between": (lambda b: b.interpolate("x", 2, 4, 2, 4), 0),
    "product": (lambda b: b.product("x", "x"), 0),
    "repetition": (lambda b: b.upsample("x", 2, 3), 0),
    "channels again": (lambda b: b.gather("x", [0, 11, 11, 5, 0, 9, 3, 8, 1, 10]), 0),
    "every other pixel": (lambda b: b.pick(["x"], range(0, 5, 2), range(3, -1, -2)), 0),
}
"""A layer small enough to be computed in one piece, and which of its operator's costs it has."""


@pytest.mark.parametrize("name", LAYERS)
def test_cycles_are_those_of_the_instructions(name: str) -> None:
    make, which = LAYERS[name]
    b = networks.Builder((12, 5, 4))
    graph = b.done(make(b))
    (node,) = graph.nodes
    cost = node.attrs.costs[which]
    (c, *_), (o, h, w) = graph.shapes(node)[0], graph.tensors[node.output].shape
    names = {"H": h, "W": w, "OB": -(-o // TINY.lanes), "IB": -(-c // TINY.lanes),
             "n": len(node.inputs), "P": TINY.weight_param_words, "S": TINY.word_steps,
             "V": TINY.vector_param_words, "T": TINY.taps}
    assert names.keys() == NAMES.keys()
    attrs = node.attrs.to_dict()
    if "kernel" in attrs:
        (sy, sx), (ky, kx) = attrs["stride"], attrs["kernel"]
        attrs |= {"ky": ky, "kx": kx, "sy": sy, "sx": sx}
    taken = sum(steps(ins, TINY) for ins in compile_graph(graph, TINY).instructions()
                if isinstance(ins, cost.instruction))
    assert taken == eval(cost.cycles, {"max": max}, {**names, **attrs}) > 0


def test_every_cost_is_tried() -> None:
    tried: dict[str, set[int]] = {}
    for make, which in LAYERS.values():
        b = networks.Builder((12, 5, 4))
        make(b)
        tried.setdefault(b.graph.nodes[-1].op, set()).add(which)
    assert tried == {op: set(range(len(kind.costs))) for op, kind in OPERATORS.items()
                     if kind.costs}
