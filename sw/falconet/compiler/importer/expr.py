"""What a float value of the ONNX graph is, seen from the integers: a small expression tree.

Between a DequantizeLinear and the next QuantizeLinear, ONNX computes with floats. The importer
does not evaluate them: it writes down *what* they are in terms of int8 tensors, and the
QuantizeLinear at the end turns the expression into nodes of the integer graph
(:mod:`falconet.compiler.importer.store`). All shapes are [C, H, W].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Shape
from falconet.compiler.importer.order import Dims
from falconet.isa.graph.operator import Operator
from falconet.isa.graph.ops import conv
from falconet.isa.graph.ops.averagepool import AveragePool
from falconet.isa.graph.ops.conv_transpose import ConvTranspose
from falconet.isa.graph.ops.gather import Gather
from falconet.isa.graph.ops.interpolate import Interpolate
from falconet.isa.graph.ops.pick import Pick

__all__ = ["Average", "Clamp", "Conv", "Expr", "Filled", "Func", "Input", "IntInput",
           "Interpolated", "Leaky", "Move", "Product", "Quantised", "Real", "Slopes", "Sum",
           "TwoSided", "Unknown", "Value", "View", "Weight", "scaled"]

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
    """Convolution of tensor ``source``, a transposed one too: ``sum(weight * scale * x) + bias``.

    ``weight`` int8, or int16 if that does not hold it, [O, C / groups, ky, kx]; ``scale`` and
    ``bias`` float64 [O], real units. ``attrs``: the window and groups; the rest is not known yet.
    """

    source: str
    weight: Array
    scale: Array
    bias: Array
    attrs: conv.Conv | ConvTranspose


@dataclass(frozen=True, eq=False)
class Average(Expr):
    """Sums over windows of tensor ``source``, each over ``divisor`` [H, W] of its pixel.

    ``attrs``: the window; the rest of it is not known yet.
    """

    source: str
    attrs: AveragePool
    divisor: Array


@dataclass(frozen=True, eq=False)
class Interpolated(Expr):
    """Tensor ``source`` between its pixels: one step an axis; what is stored is not known yet."""

    source: str
    steps: tuple[Interpolate, ...]


@dataclass(frozen=True, eq=False)
class Sum(Expr):
    """``sum over terms (tensor, gain [C]) of gain * x, + offset [C]``, at most two terms; sides of
    1 are repeated."""

    terms: tuple[tuple[str, Array], ...]
    offset: Array


@dataclass(frozen=True, eq=False)
class Product(Expr):
    """Two tensors, multiplied value by value; sides of 1 are repeated."""

    tensors: tuple[str, str]


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
class TwoSided(Expr):
    """``above + below``, of which one is 0 wherever the other is not."""

    above: Expr
    below: Expr


@dataclass(frozen=True, eq=False)
class Slopes(Expr):
    """A function of one tensor (as :class:`Func`), times ``alpha [C]`` where it is negative."""

    tensor: str
    values: Array
    alpha: Array


@dataclass(frozen=True, eq=False)
class Move(Expr):
    """An operator that only compares or moves values (maxpool, concat): commutes with
    quantisation."""

    attrs: Operator
    inners: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class Filled(Expr):
    """``inner`` with more around it that is ``value`` in real units: a gather or pick whose
    ``fill`` is not known yet."""

    inner: Expr
    attrs: Gather | Pick
    value: float


@dataclass(frozen=True, eq=False)
class View(Expr):
    """The values of ``inner`` in another order (:mod:`falconet.compiler.importer.order`).

    ``shape`` is that of the tensor which it would be stored as, or that of ``inner`` if it is none;
    ``op`` is the ONNX operator of ``node``, ``stored`` the ONNX integers that hold just this.
    """

    inner: Expr
    dims: Dims
    op: str
    stored: str = ""


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
        """As float32, in which integers of 8 and 16 bits are exact."""
        exact = np.float32 if self.q.dtype.itemsize <= 2 else np.int64
        real = self.q.astype(exact)
        np.subtract(real, self.zero_point.astype(exact), out=real)
        found: Array = real.astype(np.float32, copy=False)
        return np.multiply(found, self.scale.astype(np.float32), out=found)


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


def scaled(real: Real, node: str) -> Sum:
    """A tensor as the sum of itself alone: what ``node`` stores in another way."""
    c = real.shape[0]
    return Sum(node, real.shape, ((real.tensor, np.ones(c)),), np.zeros(c))
