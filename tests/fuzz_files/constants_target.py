"""ONNX files that compute constants, as the compiler and ``falconet quantize`` take them in."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx_nets import Net

from falconet.compiler import compile_model
from falconet.isa import FalconetError, preset
from falconet_models.ptq.prepare import load_float

__all__ = ["good", "make_constants", "take_constants"]

TINY = preset("tiny")
F, I = np.float32, np.int64
SIZES = (0, 1, 1, 2, 2, 3, 8, 8, 8, 64, -1, 1000, 1 << 15, 1 << 20, 1 << 26, 1 << 31, 1 << 40,
         (1 << 63) - 1, -(1 << 63))

# What each operator takes: v any constant or result, s a vector of sizes, a axes, n a number,
# i an integer, b a truth, f a picture [1, 8, h, w] of floats, w kernels, t texts, - nothing.
KINDS = {
    "ConstantOfShape": "s", "Expand": "vs", "Tile": "vs", "Reshape": "vs", "Range": "nnn",
    "OneHot": "vin", "Pad": "vsn", "MatMul": "vv", "Gemm": "vv", "Gather": "vv",
    "GatherElements": "vv", "Concat": "vvv", "Transpose": "v", "Unsqueeze": "va", "Squeeze": "va",
    "Slice": "vsss", "Split": "vs", "CumSum": "vi", "Where": "bvv", "NonZero": "v", "Unique": "v",
    "TopK": "vs", "Cast": "v", "Einsum": "vv", "EyeLike": "v", "HannWindow": "i",
    "BlackmanWindow": "i", "HammingWindow": "i", "DFT": "vi", "STFT": "vii",
    "MelWeightMatrix": "iiinn", "Sin": "v", "Exp": "v", "Log": "v", "Sqrt": "v", "Neg": "v",
    "Pow": "vv", "Mul": "vv", "Add": "vv", "Div": "vv", "Mod": "vv", "BitShift": "vv",
    "ReduceProd": "v", "ReduceSum": "va", "ReduceMax": "v", "ArgMax": "v", "Size": "v",
    "Shape": "v", "SpaceToDepth": "f", "DepthToSpace": "f", "Conv": "fw", "ConvTranspose": "fw",
    "MaxPool": "f", "AveragePool": "f", "GlobalAveragePool": "f", "MaxUnpool": "fvs",
    "Resize": "f-n", "Upsample": "fv", "Trilu": "vi", "Compress": "vb", "ScatterND": "vvv",
    "ScatterElements": "vvv", "RandomNormal": "", "RandomUniform": "", "RandomNormalLike": "v",
    "Bernoulli": "v", "Multinomial": "v", "Dropout": "v", "Clip": "vnn", "Identity": "v",
    "QuantizeLinear": "vn", "DequantizeLinear": "vn", "SequenceEmpty": "",
    "SequenceConstruct": "vv", "ConcatFromSequence": "v", "SplitToSequence": "vi",
    "SequenceAt": "vi", "Optional": "v",
    "StringNormalizer": "t", "StringSplit": "t", "StringConcat": "tt", "Loop": "ibv", "If": "b",
    "Scan": "v", "GridSample": "fv", "RoiAlign": "fvv", "NonMaxSuppression": "vvnnn",
    "ReverseSequence": "vv", "LSTM": "vvv", "Det": "v", "Softmax": "v", "LayerNormalization": "vv",
    "CenterCropPad": "vs", "Col2Im": "vss", "AffineGrid": "vs", "Nothing": "v", "CastLike": "vv",
    "IsNaN": "v", "Not": "b", "Equal": "vv", "Max": "vv", "Mean": "vvv", "Erf": "v", "Hardmax": "v",
}


def _attributes(rng: random.Random, kind: str) -> dict[str, Any]:
    few = [rng.choice(SIZES) for _ in range(rng.choice((1, 2, 2, 2, 3, 4)))]
    named: dict[str, dict[str, Any]] = {
        "Concat": {"axis": rng.choice((0, 0, 0, 1, -1, 3))}, "ConcatFromSequence": {"axis": 0},
        "Cast": {"to": rng.randrange(1, 24)},
        "Transpose": {"perm": rng.sample(range(4), rng.randrange(5))},
        "Einsum": {"equation": rng.choice(("ij,jk->ik", "i,j->ij", "ii", "...i,...j->...ij", ""))},
        "RandomNormal": {"shape": few}, "RandomUniform": {"shape": few},
        "SpaceToDepth": {"blocksize": rng.choice(SIZES)},
        "DepthToSpace": {"blocksize": rng.choice(SIZES)},
        "MaxPool": {"kernel_shape": few}, "AveragePool": {"kernel_shape": few},
        "MaxUnpool": {"kernel_shape": few}, "Multinomial": {"sample_size": rng.choice(SIZES)},
        "BitShift": {"direction": rng.choice(("LEFT", "RIGHT", ""))},
        "ReduceProd": {"axes": few[:2], "keepdims": rng.randrange(2)},
        "LSTM": {"hidden_size": rng.choice(SIZES)}, "Scan": {"num_scan_inputs": 1},
    }
    found = named.get(kind, {})
    if kind in ("Conv", "ConvTranspose", "MaxPool", "AveragePool") and rng.randrange(2):
        key = rng.choice(("strides", "pads", "dilations", "kernel_shape", "output_shape"))
        found[key] = [rng.choice(SIZES) for _ in range(4 if key == "pads" else 2)]
    if kind == "ConvTranspose" and rng.randrange(3) == 0:
        found["group"] = rng.choice(SIZES)
    if kind in ("If", "Loop", "Scan"):
        bodies = ("then_branch", "else_branch") if kind == "If" else ("body",)
        found |= {name: _body(rng, name) for name in bodies}
    if kind in ("Split", "CumSum", "Softmax") or rng.randrange(40) == 0:
        found["axis"] = rng.choice(SIZES)
    return {k: v for k, v in found.items() if v != []}


def _body(rng: random.Random, name: str) -> onnx.GraphProto:
    n = Net()
    n.count = 1000 + rng.randrange(1000)
    last = _chain(rng, n, rng.randint(1, 2), ("ConstantOfShape", "Expand", "Range", "Tile", "Sin"))
    return helper.make_graph(n.nodes, name, [], [helper.make_tensor_value_info(last, 1, None)],
                             n.initialisers)


def _given(rng: random.Random, n: Net, letter: str, made: list[str]) -> str | None:
    """An input of this kind: something made, or something new."""
    if made and letter in "vsfnb" and rng.random() < (0.6 if letter == "v" else 0.15):
        return rng.choice(made)
    if letter == "-":
        return "" if rng.randrange(8) else None
    if letter == "t":
        n.count += 1
        n.initialisers.append(helper.make_tensor(f"k{n.count}", TensorProto.STRING, [2],
                                                 [b"a b", rng.randbytes(3)]))
        return f"k{n.count}"
    shape = [rng.choice((1, 1, 2, 3, 8)) for _ in range(rng.randrange(4))]
    kind = rng.choice((F, F, F, I, np.int8, np.float64, np.uint8, bool))
    value: Any
    if letter == "s":
        value = np.array([rng.choice(SIZES) for _ in range(rng.choice((1, 1, 2, 2, 4, 4, 8)))], I)
    elif letter == "a":
        value = np.array([rng.randrange(-1, 4)], I)
    elif letter == "i":
        value = np.array(rng.choice(SIZES), I)
        if rng.randrange(4) == 0:
            value = value.astype(np.int32)
    elif letter == "n":
        value = np.array(rng.choice((0, 1, 1, 2, -1, 0.5, 1e9, 1e30, np.nan, np.inf)), F)
        value = value if rng.randrange(3) else np.array(rng.choice(SIZES), I)
    elif letter == "b":
        value = np.full(rng.choice(((), (1,), (8,))), rng.randrange(2), bool)
    elif letter == "f":
        value = np.ones((1, 8, rng.choice((1, 4, 6)), 6), F)
    elif letter == "w":
        value = np.ones((8, 8, rng.choice((1, 3)), 3), F)
    else:
        value = np.full(shape, rng.choice((0, 1, 1, 2, 3, -1))).astype(kind)
    return n.constant(value, value.dtype)


def _chain(rng: random.Random, n: Net, length: int, kinds: tuple[str, ...]) -> str:
    """Adds nodes that make constants of constants; returns the last one's name.

    Most are such as onnx takes: of others, which are refused at the door, ten are drawn again.
    """
    made: list[str] = []
    for _ in range(length):
        for left in reversed(range(rng.choice((1, 10, 10, 10)))):
            nodes, held, kind = len(n.nodes), len(n.initialisers), rng.choice(kinds)
            given = [_given(rng, n, letter, made) for letter in KINDS[kind]]
            count = {"TopK": 2, "Split": 2, "Unique": rng.choice((0, 4))}.get(kind, 0)
            out = n.op(kind, *given, outputs=count, **_attributes(rng, kind))
            if not left or _fits(n):
                break
            del n.nodes[nodes:], n.initialisers[held:]
        made += out if count else [out]
    return made[-1]


def _fits(n: Net) -> bool:
    """Whether onnx takes the nodes so far."""
    graph = helper.make_graph(n.nodes, "some", n.inputs, [], n.initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", n.opset)], ir_version=9)
    try:
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        onnx.checker.check_model(model)
    except Exception:  # onnx raises classes of its own
        return False
    return True


def _used(rng: random.Random, n: Net, x: str, constant: str) -> str:
    """The network's output, that the constant has a part in."""
    way = rng.randrange(14)
    if way == 0:
        return str(n.op("Reshape", x, constant))
    if way == 1:
        return str(n.op("Resize", x, None, None, constant, mode="nearest"))
    if way == 2:
        return str(n.op("Conv", x, constant))
    if way == 3:
        return str(n.op("Pad", x, constant))
    if way == 4:
        return str(n.op("Expand", x, constant))
    if way == 5:
        return str(n.op("Concat", x, constant, axis=1))
    if way > 6:  # any becomes one number
        constant = n.op("ReduceMax", n.op("Cast", constant, to=TensorProto.FLOAT), keepdims=0)
    return str(n.op(rng.choice(("Add", "Mul")), x, constant))


def make_constants(rng: random.Random) -> bytes:
    n = Net((1, 8, 6, 6), style=rng.choice(("qdq", "qcdq")),
            opset=rng.choice((17, 17, 21, 21, 13, 18)))
    quantised = rng.randrange(2)
    x = n.q(n.conv(n.q("x"), 8)) if quantised else n.op("Conv", "x", np.ones((8, 8, 3, 3), F))
    last = _used(rng, n, x, _chain(rng, n, rng.choice((1, 1, 2, 3, 5)), tuple(KINDS)))
    return _model(n, n.q(last) if quantised else last)


def _model(n: Net, output: str) -> bytes:
    """Without shapes inferred: that is the reader's to do."""
    graph = helper.make_graph(n.nodes, "net", n.inputs, [helper.make_tensor_value_info(
        output, TensorProto.FLOAT, [None] * 4)], n.initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", n.opset)],
                              ir_version=9)
    return bytes(model.SerializeToString())


def take_constants(data: bytes) -> None:
    """By the compiler and by the float side; refused if both refuse it."""
    problems = []
    for take in (lambda m: compile_model(m, TINY), load_float):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                take(onnx.ModelProto.FromString(data))
        except FalconetError as e:
            problems.append(e)
    if len(problems) == 2:
        raise problems[0]


def good() -> list[bytes]:
    """One for each reader."""
    made = []
    for quantised in (False, True):
        n = Net((1, 8, 6, 6))
        x = n.q(n.conv(n.q("x"), 8)) if quantised else n.op("Conv", "x", np.ones((8, 8, 3, 3), F))
        most = n.op("ReduceMax", n.op("ConstantOfShape", np.array([4, 4])), keepdims=0)
        last = n.op("Add", x, most)
        made.append(_model(n, n.q(last) if quantised else last))
    return made
