"""What an operator's handler sees, and the table of handlers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Shape
from falconet.compiler.importer.arrange import arranged
from falconet.compiler.importer.build import Builder
from falconet.compiler.importer.expr import (
    Expr,
    IntInput,
    Move,
    Quantised,
    Real,
    Value,
    View,
    Weight,
)
from falconet.compiler.importer.onnx.limits import Budget
from falconet.compiler.importer.onnx.model import Model
from falconet.compiler.importer.onnx.nodes import OnnxNode, evaluate
from falconet.compiler.importer.onnx.roles import AXES, ROLES, Axis, Role
from falconet.compiler.importer.order import Dims, reshaped, whole
from falconet.compiler.importer.store.move import of_tensors
from falconet.isa.graph.operator import Operator

__all__ = ["HANDLERS", "QUANTISE", "Context", "chw", "operator"]

Array = NDArray[Any]
QUANTISE = "run 'falconet quantize' on the float model"

Handler = Callable[["Context", OnnxNode, list["Value | None"]], "Value | list[Value]"]
HANDLERS: dict[str, Handler] = {}


def operator(*names: str, role: Role, axis: Axis | None = None) -> Callable[[Handler], Handler]:
    """Register a handler: ``handler(context, node, inputs) -> value`` or a list of values.

    Parameters
    ----------
    role:
        What the operators are for the quantiser.
    axis:
        Of weights (role WEIGHTED alone): that of the output channels, or how attributes tell it.
    """
    def add(handler: Handler) -> Handler:
        for name in names:
            if name in HANDLERS:
                raise TypeError(f"two handlers take {name}")
            if (axis is None) == (role is Role.WEIGHTED):
                raise TypeError(f"{name}: weights, and nothing else, have an axis")
            HANDLERS[name], ROLES[name] = handler, role
            if axis is not None:
                AXES[name] = axis
        return handler
    return add


def chw(shape: list[int]) -> Shape | None:
    """[1, C, H, W] or [1, C] as (C, H, W), else None."""
    if shape[:1] != [1] or len(shape) not in (2, 4):
        return None
    c, h, w = (*shape[1:], 1, 1)[:3]
    return c, h, w


@dataclass
class Context:
    """The model, the graph so far, what every ONNX value is, and what views became."""

    model: Model
    builder: Builder
    values: dict[str, Value] = field(default_factory=dict)
    made: dict[int, tuple[View, Expr]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        held = sum(a.nbytes for a in self.model.constants.values())
        self.budget = Budget(held, self.model.opset)

    def fold(self, node: OnnxNode, inputs: list[Array | None]) -> list[Array]:
        """What a node makes of constants, if that is not too much."""
        given = {n: a for n, a in zip(node.inputs, inputs) if a is not None}
        self.budget.take(node.proto, f"node '{node.name}' ({node.op})", given)
        return evaluate(node, inputs, self.model.opset)

    def image(self, node: OnnxNode, value: Value | None, index: int = 0) -> Expr:
        """Input ``index`` as an expression whose ONNX shape is that of its tensor."""
        expr = self.expr(node, value, index)
        shape = self.model.shape(node.inputs[index], node)
        found = chw(shape)
        if found == expr.shape:
            return expr
        dims = reshaped(whole(expr.shape), shape)
        if found is None or dims is None:
            node.refuse(f"shape {shape} of '{node.inputs[index]}' regroups channels; only "
                        "[1, C, H, W] and flattening for a Gemm are supported")
        return self.arranged(node, View(node.name, found, expr, dims, node.op))

    def expr(self, node: OnnxNode, value: Value | None, index: int = 0) -> Expr:
        """Input ``index``, which must be a float activation."""
        name = node.inputs[index] if index < len(node.inputs) else f"input {index}"
        if isinstance(value, Quantised | IntInput):
            node.refuse(f"'{name}' is an integer tensor; put DequantizeLinear before it")
        if not isinstance(value, Expr):
            node.refuse(f"'{name}' must be an activation, not a constant; simplify the model")
        return self.arranged(node, value) if isinstance(value, View) else value

    def arranged(self, node: OnnxNode, view: View) -> Expr:
        """A view as a tensor of its own, made for ``node`` or another one before it."""
        named = dataclasses.replace(node, name=view.node)

        def make(attrs: Operator, inners: list[Expr], shape: Shape) -> Expr:
            return self.moved(named, attrs, inners, shape, part=f"/{attrs.op}")

        if id(view) not in self.made:
            self.made[id(view)] = view, arranged(make, view)
        found = self.made[id(view)][1]
        if view.stored and isinstance(found, Real):
            self.builder.sources.setdefault(found.tensor, view.stored)
        return found

    def moved(self, node: OnnxNode, attrs: Operator, inners: list[Expr], shape: Shape,
              output: int = 0, part: str = "") -> Expr:
        """Move tensors of one scale at once, anything else when it is quantised. ``part``: behind
        the tensor's name, where several operators make the node's output."""
        name = node.name if output == 0 else f"{node.name}/{output}"
        expr = Move(name, shape, attrs, tuple(inners))
        reals = [x for x in inners if isinstance(x, Real)]
        scales = {(t.scale, t.zero_point) for t in map(self.builder.tensor, reals)}
        if len(reals) == len(inners) and len(scales) == 1:
            tensor = of_tensors(self.builder, expr, [x.tensor for x in reals],
                                node.outputs[output] + part)
            return Real(name, shape, tensor)
        return expr

    def dims(self, node: OnnxNode, x: Expr, index: int = 0) -> tuple[Expr, Dims]:
        """Input ``index`` as what it is another order of, and that order in its ONNX shape."""
        if isinstance(x, View):
            return x.inner, x.dims
        shape = self.model.shape(node.inputs[index], node)
        found = reshaped(whole(x.shape), shape)
        if found is None:
            node.refuse(f"shape {shape} of '{node.inputs[index]}' regroups channels; reshape it "
                        "after the network")
        return x, found

    def real(self, node: OnnxNode, value: Value | None, index: int = 0) -> Real:
        """Input ``index``, which must come from a DequantizeLinear."""
        expr = self.expr(node, value, index)
        if not isinstance(expr, Real):
            node.refuse(f"'{node.inputs[index]}' has no quantisation parameters; {QUANTISE}")
        return expr

    def constant(self, node: OnnxNode, value: Value | None, index: int) -> Array | None:
        """Input ``index`` as a constant array; None where the optional input is absent."""
        if value is None:
            return None
        array = self.maybe_constant(value)
        if array is None:
            node.refuse(f"'{node.inputs[index]}' must be a constant; simplify the model")
        return array

    def whole(self, node: OnnxNode, value: Value | None, index: int) -> Array | None:
        """Input ``index`` as constant integers, int64; None where the optional input is absent."""
        array = self.constant(node, value, index)
        if array is not None and array.dtype.kind not in "iu":
            node.refuse(f"'{node.inputs[index]}' must be integers, not {array.dtype}; export the "
                        "model again")
        return None if array is None else array.astype(np.int64)

    @staticmethod
    def maybe_constant(value: Value | None) -> Array | None:
        if isinstance(value, Weight):
            return value.real
        return value if isinstance(value, np.ndarray) else None

    def evaluate(self, node: OnnxNode, inputs: list[Array | None]) -> list[Array]:
        return evaluate(node, inputs, self.model.opset)

    def per_channel(self, node: OnnxNode, array: Array, shape: Shape, rank: int) -> Array:
        """A constant that broadcasts against [1, C, H, W] (or [1, C]) as float64 [C]."""
        dims = [1] * (rank - array.ndim) + list(array.shape)
        if array.size == 1:
            return np.full(shape[0], float(array.reshape(-1)[0]))
        if len(dims) != rank or dims[1] != shape[0] or array.size != shape[0]:
            node.refuse(f"a constant of shape {list(array.shape)} is neither scalar nor one per "
                        "channel; fold it into the layer before")
        return array.reshape(-1).astype(np.float64)
