"""Operators of ONNX that move values, against onnxruntime: not one LSB, and what they become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx_nets import ARCH, Net, agree

from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.passes import optimise
from falconet.isa import FalconetError

F = np.float32
Body = Callable[[Net, str], str]
MOST = np.iinfo(np.int64).max


def _views(*steps: tuple[str, list[int]]) -> Body:
    """Reshapes and transposes, each stored."""
    def body(n: Net, x: str) -> str:
        for op, numbers in steps:
            x = (n.op("Transpose", x, perm=numbers) if op == "T"
                 else n.op("Reshape", x, np.array(numbers)))
        return x
    return body


def _quantised_views(n: Net, x: str) -> str:
    """A channel shuffle whose inner values are all stored."""
    x = n.q(n.op("Reshape", x, np.array([1, 2, 4, 12, 10])))
    x = n.q(n.op("Transpose", x, perm=[0, 2, 1, 3, 4]))
    return str(n.op("Reshape", x, np.array([1, 8, 12, 10])))


def _seen(shape: list[int]) -> Body:
    """A view that somebody minds."""
    return lambda n, x: n.op("MaxPool", n.op("Reshape", x, np.array(shape)), kernel_shape=[1, 2])


def _slice(*cuts: tuple[int, int, int, int]) -> Body:
    """Of (axis, start, end, step)."""
    axes, starts, ends, steps = (np.array(v) for v in zip(*cuts))
    return lambda n, x: n.op("Slice", x, starts, ends, axes, steps)


def _pad(pads: list[int], value: float | None = None, mode: str = "constant") -> Body:
    return lambda n, x: n.op("Pad", x, np.array(pads), None if value is None else np.array(
        value, F), mode=mode)


def _focus(n: Net, x: str) -> str:
    parts = [_slice((2, i, MOST, 2), (3, j, MOST, 2))(n, x) for j in (0, 1) for i in (0, 1)]
    return str(n.op("Concat", *(n.q(p) for p in parts), axis=1))


def _halves(n: Net, x: str) -> str:
    """The first way in which ShuffleNetV2 was written: two halves of rank 5."""
    x = n.op("Reshape", x, np.array([4, 2, 120]))
    x = n.op("Reshape", n.op("Transpose", x, perm=[1, 0, 2]), np.array([2, 1, 4, 12, 10]))
    a, b = (n.op("Gather", x, np.array(i), axis=0) for i in (0, 1))
    return str(n.op("Concat", n.q(b), n.q(a), axis=1))


def _flat(perm: list[int]) -> Body:
    """Values before a matrix product in another order than that of the tensor."""
    def body(n: Net, x: str) -> str:
        x = n.op("Transpose", x, perm=perm)
        return str(n.op("Gemm", n.op("Flatten", x), n.weight(7, 960), n.bias(7), transB=1))
    return body


TAKEN: dict[str, tuple[Body, dict[str, int]]] = {  # and the nodes that they become
    "shuffle": (_views(("R", [1, 2, 4, 12, 10]), ("T", [0, 2, 1, 3, 4]), ("R", [1, 8, 12, 10])),
                {"gather": 1}),
    "shuffle, stored": (_quantised_views, {"gather": 1}),
    "shuffle of flat pictures": (
        _views(("R", [4, 2, 120]), ("T", [1, 0, 2]), ("R", [1, 8, 12, 10])), {"gather": 1}),
    "halves": (_halves, {"gather": 2, "concat": 1}),
    "reversed": (_slice((1, -1, -MOST, -1)), {"gather": 1}),
    "steps of channels": (_slice((1, 1, MOST, 3)), {"gather": 1}),
    "chosen channels": (lambda n, x: n.op("Gather", x, np.array([5, 0, -1, 5]), axis=1),
                        {"gather": 1}),
    "chosen columns": (lambda n, x: n.op("Gather", x, np.array([5, 0, -1, 5]), axis=3),
                       {"pick": 1}),
    "the first group": (lambda n, x: n.op("Gather", n.op("Reshape", x, np.array(
        [1, 2, 4, 12, 10])), np.array(0), axis=1), {"slice": 1}),
    "odd rows": (_slice((2, 1, MOST, 2)), {"pick": 1}),
    "a part": (_slice((1, 2, 7, 1), (2, 3, 9, 1), (3, 1, 10, 2)), {"slice": 1, "pick": 1}),
    "flipped": (_slice((2, -1, -MOST, -1), (3, -2, -MOST, -2)), {"pick": 1}),
    "rows split": (lambda n, x: n.op("Concat", *(n.q(y) for y in n.op(
        "Split", x, np.array([5, 7]), outputs=2, axis=2)[::-1]), axis=2), {"pick": 3}),
    "side by side": (lambda n, x: n.op("Concat", x, n.q(n.conv(x, 8)), x, axis=3),
                     {"conv": 1, "pick": 1}),
    "depth to space": (lambda n, x: n.op("DepthToSpace", x, blocksize=2), {"slice": 4, "pick": 1}),
    "pixel shuffle": (lambda n, x: n.op("DepthToSpace", x, blocksize=2, mode="CRD"),
                      {"gather": 4, "pick": 1}),
    "pixel shuffle by views": (
        _views(("R", [1, 2, 2, 2, 12, 10]), ("T", [0, 1, 4, 2, 5, 3]), ("R", [1, 2, 24, 20])),
        {"gather": 4, "pick": 1}),
    "space to depth": (lambda n, x: n.op("SpaceToDepth", x, blocksize=2),
                       {"pick": 4, "concat": 1}),
    "pixel unshuffle": (
        _views(("R", [1, 8, 6, 2, 5, 2]), ("T", [0, 1, 3, 5, 2, 4]), ("R", [1, 32, 6, 5])),
        {"pick": 4, "concat": 1, "gather": 1}),
    "focus": (_focus, {"pick": 4, "concat": 1}),
    "rows for columns": (_views(("T", [0, 1, 3, 2])), {"pick": 1}),
    "turned": (lambda n, x: _slice((2, -1, -MOST, -1))(n, n.op("Transpose", x, perm=[0, 1, 3, 2])),
               {"pick": 1}),
    "there and back": (lambda n, x: n.op("Transpose", n.op("Relu", n.op(
        "Transpose", x, perm=[0, 2, 3, 1])), perm=[0, 3, 1, 2]), {"eltwise": 1}),
    "channels last, flat": (_flat([0, 2, 3, 1]), {"conv": 1}),
    "columns first, flat": (_flat([0, 3, 1, 2]), {"conv": 1}),
    "rows into channels": (_seen([1, 16, 6, 10]),
                           {"pick": 2, "concat": 1, "gather": 1, "maxpool": 1}),
    "channels into rows": (_seen([1, 4, 24, 10]), {"gather": 2, "pick": 1, "maxpool": 1}),
    "zeros": (_pad([0, 0, 1, 2, 0, 0, 0, 3]), {"conv": 1}),
    "more channels": (_pad([0, 1, 0, 0, 0, 3, 0, 0]), {"gather": 1}),
    "more of all": (_pad([0, 1, 2, 0, 0, 3, 0, 1]), {"gather": 1, "pick": 1}),
    "ones": (_pad([0, 0, 1, 2, 0, 0, 0, 3], 1.0), {"pick": 1}),
    "beyond the scale": (_pad([0, 0, 1, 2, 0, 0, 0, 3], -1e6), {"pick": 1}),
    "reflected": (_pad([0, 0, 1, 2, 0, 0, 0, 3], mode="reflect"), {"pick": 1}),
    "edges": (_pad([0, 0, 1, 2, 0, 0, 0, 3], mode="edge"), {"pick": 1}),
    "cropped": (_pad([0, 0, -1, -2, 0, 0, 0, -3]), {"pick": 1}),
    "cropped and padded": (_pad([0, 0, -1, 2, 0, 0, 1, -3]), {"pick": 1}),
    "tiles": (lambda n, x: n.op("Tile", x, np.array([1, 2, 1, 3])), {"gather": 1, "pick": 1}),
    "expanded": (lambda n, x: n.op("Expand", n.q(n.op("GlobalAveragePool", x)),
                                   np.array([1, 8, 3, 5])), {"conv": 1, "pick": 1}),
}


def _model(name: str, *, scale: float = 0.04, zero_point: int = 7) -> onnx.ModelProto:
    """What is moved has the input's scale, as the quantiser writes it, unless one is given."""
    n = Net()
    x = n.q("x", 0.04, 7)
    q = n.q
    n.q = lambda x, s=0.04, z=7, **kw: q(x, s, z, **kw)  # type: ignore[assignment, method-assign]
    y = TAKEN[name][0](n, x)
    return n.model(q(y, scale, zero_point))


@pytest.mark.parametrize("name", TAKEN)
def test_it_is_what_onnxruntime_computes(name: str) -> None:
    model = _model(name)
    layers = agree(model)
    assert not any(v.max_lsb for v in layers if v.op in ("gather", "pick", "slice", "concat"))
    nodes = Counter(n.op for n in import_onnx(model).nodes)
    assert nodes == TAKEN[name][1], name


@pytest.mark.parametrize("name", TAKEN)
def test_it_is_stored_in_another_scale(name: str) -> None:
    agree(_model(name, scale=0.057, zero_point=-11), rate=0.05)


@pytest.mark.parametrize("name", ["shuffle", "pixel shuffle", "focus", "ones", "edges"])
def test_of_a_layer_that_is_not_stored(name: str) -> None:
    n = Net()
    y = TAKEN[name][0](n, n.conv(n.q("x"), 8)) if name != "focus" else n.op(
        "SpaceToDepth", n.conv(n.q("x"), 8), blocksize=2)
    model = n.model(n.q(n.op("LeakyRelu", y, alpha=0.1), 0.05, 3))
    agree(model)
    optimise(import_onnx(model), ARCH)


REFUSED: dict[str, tuple[Body, str]] = {
    "channels last": (_views(("T", [0, 2, 3, 1])), "(Transpose): it moves data, [8, 40, 10]"),
    "rows of another width": (_seen([1, 8, 15, 8]), "(MaxPool): it moves data"),
    "empty": (_slice((2, 5, 5, 1)), "is empty"),
    "infinite": (_pad([0, 0, 1, 1, 0, 0, 1, 1], -np.inf), "no scale holds"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    n = Net((1, 8, 40, 10) if name == "channels last" else (1, 8, 12, 10))
    model = n.model(n.q(REFUSED[name][0](n, n.q("x"))))
    with pytest.raises(FalconetError) as caught:
        import_onnx(model)
    assert REFUSED[name][1] in str(caught.value) and "\n" not in str(caught.value)
