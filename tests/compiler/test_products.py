"""Products and sums of tensors of which one is smaller: onnxruntime, and all devices alike."""

from __future__ import annotations

from collections.abc import Callable

import networks
import numpy as np
import onnx
import pytest
from devices import run_all
from onnx_nets import ARCH, Net, agree
from programs import random_inputs

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph, Tensor
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.passes import optimise
from falconet.compiler.passes.verify import verify
from falconet.isa import Elementwise, FalconetError, Mac, preset
from falconet.isa.graph.ops.product import Product

F = np.float32
TINY = preset("tiny")


def squeeze_and_excite(n: Net, x: str, *, gate: str = "HardSigmoid") -> str:
    mean = n.q(n.op("GlobalAveragePool", x), 0.01, 3)
    small = n.q(n.op("Relu", n.conv(mean, 4, k=1)), 0.02, -128)
    wide = n.q(n.conv(small, 8, 4, k=1), 0.05, 7)
    return n.op("Mul", x, n.q(n.op(gate, wide), 1 / 255, -128))


def spatial_gate(n: Net, x: str) -> str:
    mask = n.q(n.op("Sigmoid", n.q(n.conv(x, 1, k=7), 0.05, -3)), 1 / 256, -128)
    return n.op("Mul", mask, x)


def coordinate_attention(n: Net, x: str) -> str:
    rows, columns = (
        n.q(n.op("Sigmoid", n.q(n.op("Conv", x, n.weight(8, 8, *k), n.bias(8)), 0.05)), 1 / 256,
            -128) for k in ((1, 10), (12, 1)))
    return n.op("Mul", n.q(n.op("Mul", rows, columns), 1 / 256, -128), x)


BODIES: dict[str, Callable[[Net, str], str]] = {
    "two of one shape": lambda n, x: n.op("Mul", x, n.q(n.conv(x, 8), 0.03, 17)),
    "squeeze and excitation": squeeze_and_excite,
    "its gate first": lambda n, x: n.op(
        "Mul", n.q(n.conv(n.q(n.op("GlobalAveragePool", x), 0.01), 8, k=1), 0.01, -100), x),
    "a mask of one channel": spatial_gate,
    "rows times columns": coordinate_attention,
    "then ReLU": lambda n, x: n.op("Relu", n.op("Mul", x, n.q(n.conv(x, 8), 0.03, -5))),
    "then a slope": lambda n, x: n.op(
        "LeakyRelu", n.op("Mul", x, n.q(n.conv(x, 8), 0.03, -5)), alpha=0.1),
    "a gate per channel added": lambda n, x: n.op(
        "Add", x, n.q(n.conv(n.q(n.op("GlobalAveragePool", x), 0.01, 3), 8, k=1), 0.02)),
    "a map subtracted": lambda n, x: n.op("Sub", n.q(n.conv(x, 1), 0.03, -4), x),
    "by a reciprocal": lambda n, x: n.op("Mul", x, n.q(n.op("Reciprocal", n.op(
        "Clip", n.q(n.conv(x, 8), 0.03), np.array(0.5, F), np.array(8, F))), 0.01, -128)),
}


@pytest.mark.parametrize("style", ["qdq", "qcdq"])
@pytest.mark.parametrize("name", BODIES)
def test_as_onnxruntime_within_a_step(name: str, style: str) -> None:
    n = Net(style=style, seed=len(name))
    x = n.q("x", 0.03, 3)
    agree(n.model(n.q(BODIES[name](n, x), 0.0213, -9)))


def test_a_function_that_is_not_stored_is_a_tensor_of_its_own() -> None:
    """HardSigmoid and Mul without quantisation between: onnxruntime runs it."""
    n = Net()
    x = n.q("x", 0.03, 3)
    g = n.q(n.conv(n.q(n.op("GlobalAveragePool", x), 0.01, 3), 8, k=1), 0.03, 5)
    model = n.model(n.q(n.op("Mul", x, n.op("HardSigmoid", g)), 0.03))
    agree(model, rate=0.3)
    kinds = [type(node.attrs) for node in optimise(import_onnx(model), ARCH).nodes]
    assert kinds.count(Product) == 1


def test_a_function_of_the_same_tensor_stays_a_table() -> None:
    n = Net()
    x = n.q("x", 0.03, 3)
    model = n.model(n.q(n.op("Mul", x, n.op("Sigmoid", x)), 0.03))
    assert [node.op for node in import_onnx(model).nodes] == ["eltwise"]


@pytest.mark.parametrize(("make", "said"), [
    (lambda n, x: n.op("Div", x, n.q(n.conv(x, 8), 0.03)), "no divider; divide by a constant"),
    (lambda n, x: n.op("Mul", x, n.conv(x, 8)), "a factor .* has no quantisation parameters"),
    (lambda n, x: n.op("Mul", x, n.op("Flatten", n.q(n.op("GlobalAveragePool", n.conv(
        x, 10)), 0.1))), "different ranks"),
    (lambda n, x: n.op("Mul", n.op("Reshape", x, np.array([1, 960, 1], np.int64)),
                       n.op("Reshape", x, np.array([1, 1, 960], np.int64))), "regroups channels"),
])
def test_what_is_refused(make: Callable[[Net, str], str], said: str) -> None:
    n = Net()
    model = n.model(n.q(make(n, n.q("x", 0.03)), 0.03))
    with pytest.raises(FalconetError, match=said):
        import_onnx(model)


# ---------------------------------------------------------------------------- the machine

def attention(seed: int, channels: int = 20) -> Graph:
    """All shapes that meet, either order, zero points at their ends, chained."""
    b = networks.Builder((12, 9, 10), seed)

    def product(x: str, y: str, **kw: bool) -> str:
        zeros = b.random.choice([-128, 127, 0, 5, -60], 2)
        return b.product(x, y, (int(zeros[0]), int(zeros[1])), **kw)

    x = b.conv("x", channels, 3)
    gate = b.conv(b.average(x), channels, table=True)
    y = product(x, gate)
    mask = b.conv(y, 1, 3, table=True)
    z = product(mask, y, uniform=True)
    rows = b.conv(z, channels, (1, 10), pads=(0, 0, 0, 0))
    columns = b.conv(z, channels, (9, 1), pads=(0, 0, 0, 0))
    whole = product(product(z, rows), columns)
    w = product(b.eltwise(mask, mask), whole)  # a mask that no convolution makes
    t = b.eltwise(b.conv(w, 1), w, per_channel=True)
    return b.done(product(rows, columns), product(t, whole), product(gate, mask),
                  product(mask, mask), b.eltwise(w, gate))


@pytest.mark.parametrize("seed", range(4))
def test_every_device_repeats_the_smaller_operand(seed: int) -> None:
    graph = attention(seed, (20, 5, 8, 33)[seed])
    program = compile_graph(optimise(graph, TINY) if seed % 2 else graph, TINY)
    run_all(program, random_inputs(program, seed))


@pytest.mark.parametrize("zeros", [(-128, -128), (127, 127), (-128, 127), (3, -5)])
def test_all_pairs_of_stored_values(zeros: tuple[int, int]) -> None:
    """256 rows times 256 columns, by the contract's words."""
    b = networks.Builder((1, 256, 1))
    b.graph.tensors["z"] = Tensor("z", (1, 1, 256), 0.02, 3)
    b.graph.inputs.append("z")
    graph = b.done(b.product("x", "z", zeros))
    k = graph.nodes[0].consts
    k["bias"][:], k["mult"][:], k["mult_neg"][:], k["shift"][:] = 1000, 1 << 16, 1 << 16, 25
    every = np.arange(-128, 128)
    inputs = {"x": every.astype(np.int8).reshape(1, 256, 1),
              "z": every.astype(np.int8).reshape(1, 1, 256)}
    program = compile_graph(graph, TINY)
    found = run_all(program, inputs).outputs[graph.outputs[0]]
    exact = np.multiply.outer(every - zeros[0], every - zeros[1]) + 1000
    zp = graph.nodes[0].of(Product).zp
    expected = np.clip(np.rint(exact / 512) + zp, -120, 125)
    np.testing.assert_array_equal(found[0], expected)


def test_a_mask_costs_no_more_than_its_convolution() -> None:
    """The one channel is in all lanes from the beginning: no copy, and one block is read."""
    b = networks.Builder((24, 6, 6))
    program = compile_graph(b.done(b.product(b.conv("x", 1, 3), "x")), TINY)
    gate = [i for i in program.instructions() if isinstance(i, Mac)]
    products = [i for i in program.instructions() if isinstance(i, Elementwise)]
    assert sum(i.n_y * i.n_ob for i in gate) == 6
    assert {(i.a_b_step, i.product) for i in products} == {(0, 1)}


def test_an_accumulator_that_a_bias_pushes_over_is_refused() -> None:
    b = networks.Builder((8, 3, 3))
    graph = b.done(b.product("x", "x", (127, 127)))
    graph.nodes[0].consts["bias"][2] = (1 << 24) - 65025
    with pytest.raises(FalconetError, match=r"product0.*accumulator and bias of channel 2"):
        verify(graph, TINY)
    graph.nodes[0].consts["bias"][2] -= 1
    verify(graph, TINY)


def test_shapes_that_do_not_meet_are_refused() -> None:
    b = networks.Builder((8, 4, 4))
    graph = b.done(b.product("x", b.maxpool("x")))
    with pytest.raises(FalconetError, match=r"make their sides equal, or 1"):
        verify(graph, TINY)


def test_a_model_with_a_gate_runs_on_every_device() -> None:
    n = Net((1, 8, 12, 10))
    x = n.q("x", 0.03, 3)
    y = n.q(spatial_gate(n, n.q(squeeze_and_excite(n, x), 0.02, 4)), 0.02, -9)
    model: onnx.ModelProto = n.model(y)
    program = compile_graph(optimise(import_onnx(model, arch=TINY), TINY), TINY)
    run_all(program, random_inputs(program))
