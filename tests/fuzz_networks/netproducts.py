"""Random matrix products, what they need, and what is made of all channels of a pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa.graph.ops.matmul import MatMul
from falconet.isa.machine.channels import exponentials, norm_stage, softmax_scale

if TYPE_CHECKING:
    from netgraphs import GraphMaker

__all__ = ["PRODUCTS"]

Array = NDArray[Any]


def constant(maker: GraphMaker, x: str) -> str | None:
    """Of the shape of another tensor, so that others can meet it, or a row of any length."""
    d, shape = maker.draw, maker.shape(x)
    if d.chance(50):
        shape = shape[0], 1, d.pick((maker.arch.lanes, 1, d.number(2, 40)))
    value = d.random().integers(-128, 128, shape)
    if d.chance(20):
        value = d.random().choice([-128, 127], shape)
    return maker.add("constant", [], {}, {"value": value.astype(np.int8)})


def second(maker: GraphMaker, x: str) -> str | None:
    """A tensor with the channels of ``x``, of rows or of one row."""
    d, (c, h, w) = maker.draw, maker.shape(x)
    fits = [t for t in maker.graph.tensors if maker.shape(t)[0] == c]
    if d.chance(50):
        return d.pick(fits[::-1])
    if d.chance(40):
        return constant(maker, x)
    if h == 1 or d.chance(40):
        return maker.pointwise(x, c)
    return maker.add("pick", [x], {"across": 1, "rows": [d.number(0, h - 1)],
                                   "columns": list(range(w)), "fill": 0}, None,
                     w * maker.blocks(c))


def matmul(maker: GraphMaker, x: str) -> str | None:
    """Zero points at their ends, of either operand; itself by itself; an operand in any lanes."""
    d, arch = maker.draw, maker.arch
    other = second(maker, x)
    if other is None:
        return None
    shapes = [maker.shape(x), maker.shape(other)]
    (k, h, w), (_, *side) = shapes
    n = side[0] * side[1]
    zeros = [0 if d.chance(40) else d.pick((3, -128, 127, d.number(-128, 127))) for _ in "ab"]
    a, limit = MatMul(zeros=(zeros[0], zeros[1])), 1 << (arch.acc_bits - 1)
    (low, high), folded = a.sums(shapes), a.folded(shapes)
    sets = 1 + sum((z != 0) + (z == -128) for z in zeros)
    words = arch.weight_param_words + sets * maker.blocks(k) * arch.word_steps
    if max(abs(v - f) for v in (low, high) for f in (0, folded)) >= limit or (
            words > arch.weight_words):
        return None
    attrs, consts = maker.stage(np.full(n, low), np.full(n, high), np.full(n, 74.0**2 * k**0.5))
    return maker.add("matmul", [x, other], {"zeros": zeros, **attrs}, consts,
                     maker.blocks(n) * h * w * maker.blocks(k) * sets)


def transpose(maker: GraphMaker, x: str) -> str | None:
    c, h, w = maker.shape(x)
    return maker.add("transpose", [x], {}, None, c * maker.blocks(c) * maker.blocks(h * w))


def softmax(maker: GraphMaker, x: str) -> str | None:
    """Of any scale: from all alike to the largest alone."""
    d, (c, h, w) = maker.draw, maker.shape(x)
    step = d.pick((0.05, 1e-4, 0.5, 4.0, 1 / 64))
    scale, shift = softmax_scale(d.pick((1 / 256, 1 / 256, 1 / 16, 1 / 1000, 1.0)))
    attrs: dict[str, Any] = {"scale": scale, "shift": shift, "masked": d.chance(50)}
    return maker.add("softmax", [x], {**attrs, **_clamp(maker)}, {
        "exponential": np.array(exponentials(step), np.uint32), **_table(maker)},
        h * w * (3 * maker.blocks(c) + 25))


def norm(maker: GraphMaker, x: str) -> str | None:
    """Gammas of either sign and of 0; an epsilon at its end."""
    d, (c, h, w), arch = maker.draw, maker.shape(x), maker.arch
    if arch.vector_param_words * maker.blocks(c) > arch.vector_words:
        return None
    random = d.random()
    gamma, beta = random.normal(0, d.pick((1.0, 0.01, 10.0)), c), random.normal(0, 1, c)
    gamma[random.random(c) < 0.1] = 0
    stages = [norm_stage(g, b, 0.03, acc_bits=arch.acc_bits) for g, b in zip(gamma, beta)]
    bias, mult, shift = (np.array(v) for v in zip(*stages))
    attrs: dict[str, Any] = {"rms": d.chance(50), "zero_in": d.pick((0, 3, -128, 127)),
                             "epsilon": d.pick((0, 1, 1 << 16, (1 << 40) - 1))}
    return maker.add("norm", [x], {**attrs, **_clamp(maker)}, {
        "bias": bias.astype(np.int32), "gamma": mult.astype(np.int32),
        "shift": shift.astype(np.uint8), **_table(maker)}, h * w * (2 * maker.blocks(c) + 52))


def _clamp(maker: GraphMaker) -> dict[str, Any]:
    return maker.clamp(maker.draw.pick(("plain", "plain", "any", "constant")))


def _table(maker: GraphMaker) -> dict[str, Array]:
    if maker.draw.chance(80):
        return {}
    return {"table": maker.draw.random().integers(-128, 128, 256).astype(np.int8)}


PRODUCTS = {"constant": constant, "matmul": matmul, "transpose": transpose, "softmax": softmax,
            "norm": norm}
"""By the operator's name."""
