"""What an operator's handler sees, and the table of handlers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Shape
from falconet.compiler.importer.build import Builder
from falconet.compiler.importer.expr import Expr, IntInput, Quantised, Real, Value, Weight
from falconet.compiler.importer.limits import Budget
from falconet.compiler.importer.model import Model
from falconet.compiler.importer.nodes import OnnxNode, evaluate

__all__ = ["HANDLERS", "QUANTISE", "Context", "chw", "operator"]

Array = NDArray[Any]
QUANTISE = "run 'falconet quantize' on the float model"

Handler = Callable[["Context", OnnxNode, list["Value | None"]], "Value | list[Value]"]
HANDLERS: dict[str, Handler] = {}


def operator(*names: str) -> Callable[[Handler], Handler]:
    """Register a handler: ``handler(context, node, inputs) -> value`` or a list of values."""
    def add(handler: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = handler
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
    """The model, the graph so far, and what every ONNX value is."""

    model: Model
    builder: Builder
    values: dict[str, Value] = field(default_factory=dict)

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
        if chw(shape) != expr.shape:
            node.refuse(f"shape {shape} of '{node.inputs[index]}' regroups channels; only "
                        "[1, C, H, W] and flattening for a Gemm are supported")
        return expr

    def expr(self, node: OnnxNode, value: Value | None, index: int = 0) -> Expr:
        """Input ``index``, which must be a float activation."""
        name = node.inputs[index] if index < len(node.inputs) else f"input {index}"
        if isinstance(value, Quantised | IntInput):
            node.refuse(f"'{name}' is an integer tensor; put DequantizeLinear before it")
        if not isinstance(value, Expr):
            node.refuse(f"'{name}' must be an activation, not a constant; simplify the model")
        return value

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
