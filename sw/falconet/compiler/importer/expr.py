"""What a float value of the ONNX graph is, seen from the integers: a small expression tree.

Between a DequantizeLinear and the next QuantizeLinear, ONNX computes with floats. The importer
does not evaluate them: it writes down *what* they are in terms of int8 tensors, and the
QuantizeLinear at the end turns the expression into nodes of the integer graph
(:mod:`falconet.compiler.importer.build`). All shapes are [C, H, W].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Shape

__all__ = ["Clamp", "Conv", "Expr", "Func", "Input", "IntInput", "Leaky", "Move", "Quantised",
           "Real", "Sum", "Unknown", "Value", "Weight"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Expr:
    """``node`` is the name of the ONNX node that made it."""

    node: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class Unknown(Expr):
    """What a refused node would have made: lets the import go on to what else is wrong."""


@dataclass(frozen=True, eq=False)
class Input(Expr):
    """The float graph input ``name``, before its QuantizeLinear."""

    name: str


@dataclass(frozen=True, eq=False)
class Real(Expr):
    """The real values of an int8 tensor of the integer graph."""

    tensor: str


@dataclass(frozen=True, eq=False)
class Conv(Expr):
    """Convolution of tensor ``source``: ``sum(weight * scale * x) + bias``.

    ``weight`` int8 [O, C / groups, ky, kx]; ``scale`` and ``bias`` float64 [O], real units.
    """

    source: str
    weight: Array
    scale: Array
    bias: Array
    attrs: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Sum(Expr):
    """``sum over terms (tensor, gain [C]) of gain * x, + offset [C]``, at most two terms."""

    terms: tuple[tuple[str, Array], ...]
    offset: Array


@dataclass(frozen=True, eq=False)
class Func(Expr):
    """Any function of one tensor: ``values[q + 128]`` is its result (float32) for stored q."""

    tensor: str
    values: Array


@dataclass(frozen=True, eq=False)
class Clamp(Expr):
    """``inner`` limited to [lo, hi] in real units."""

    inner: Expr
    lo: float
    hi: float


@dataclass(frozen=True, eq=False)
class Leaky(Expr):
    """``alpha [C] * inner`` where ``inner`` is negative, ``inner`` elsewhere."""

    inner: Expr
    alpha: Array


@dataclass(frozen=True, eq=False)
class Move(Expr):
    """maxpool, concat, slice or upsample of values: commutes with quantisation."""

    op: str
    inners: tuple[Expr, ...]
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Weight:
    """Constant integers with their scale (after DequantizeLinear); scale and zero point have the
    rank of ``q`` and broadcast against it."""

    name: str
    q: Array
    scale: Array
    zero_point: Array

    @property
    def real(self) -> Array:
        difference = self.q.astype(np.int64) - self.zero_point.astype(np.int64)
        return difference.astype(np.float32) * self.scale.astype(np.float32)


@dataclass(frozen=True)
class Quantised:
    """An expression after QuantizeLinear (and Clip): stored as int8, uint8 shifted by 128."""

    expr: Expr
    scale: float
    zero_point: int
    unsigned: bool
    lo: int = -128
    hi: int = 127


@dataclass(frozen=True)
class IntInput:
    """A graph input that is int8 or uint8 already."""

    name: str
    shape: Shape
    unsigned: bool


Value = Array | Weight | Quantised | IntInput | Expr
