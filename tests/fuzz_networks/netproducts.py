"""Random matrix products, what they need, and what is made of all channels of a pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from falconet.isa.graph.ops.matmul import MatMul

if TYPE_CHECKING:
    from netgraphs import GraphMaker

__all__ = ["PRODUCTS"]


def constant(maker: GraphMaker, x: str) -> str | None:
    """Of the shape of another tensor, so that others can meet it, or a row of any length."""
    d, shape = maker.draw, maker.shape(x)
    if d.chance(50):
        shape = shape[0], 1, d.pick((maker.arch.lanes, 1, d.number(2, 40)))
    value = d.random().integers(-128, 128, shape)
    if d.chance(20):
        value = d.random().choice([-128, 127], shape)
    return maker.add("constant", [], {}, {"value": value.astype(np.int8)})


def row(maker: GraphMaker, x: str) -> str | None:
    """A tensor of one row with the channels of ``x``."""
    d, (c, h, w) = maker.draw, maker.shape(x)
    fits = [t for t in maker.graph.tensors if maker.shape(t)[:2] == (c, 1)]
    if fits and d.chance(60):
        return d.pick(fits[::-1])
    if d.chance(30):
        return constant(maker, x)
    if h == 1:
        return maker.pointwise(x, c)
    return maker.add("pick", [x], {"across": 1, "rows": [d.number(0, h - 1)],
                                   "columns": list(range(w)), "fill": 0}, None,
                     w * maker.blocks(c))


def matmul(maker: GraphMaker, x: str) -> str | None:
    """Zero points at their ends, of either operand; itself by itself; an operand in any lanes."""
    d, arch = maker.draw, maker.arch
    other = row(maker, x)
    if other is None:
        return None
    shapes = [maker.shape(x), maker.shape(other)]
    (k, h, w), (_, _, n) = shapes
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
    d, (c, h, w) = maker.draw, maker.shape(x)
    if h > 1:
        made = maker.add("pick", [x], {"across": 1, "rows": [d.number(0, h - 1)],
                                       "columns": list(range(w)), "fill": 0}, None,
                         w * maker.blocks(c))
        if made is None:
            return None
        x = made
    return maker.add("transpose", [x], {}, None, c * maker.blocks(c) * maker.blocks(w))


PRODUCTS = {"constant": constant, "matmul": matmul, "transpose": transpose}
"""By the operator's name."""
