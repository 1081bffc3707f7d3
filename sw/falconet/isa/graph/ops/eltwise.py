from __future__ import annotations

from dataclasses import dataclass

from falconet.isa.graph.broadcast import Broadcast
from falconet.isa.graph.operator import Constant, Cost
from falconet.isa.graph.stage import STAGE, Staged
from falconet.isa.machine.instructions import Elementwise

__all__ = ["COEF_MAX", "FUNCTIONS", "Eltwise"]

FUNCTIONS = (
    "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Celu", "Softplus", "Softsign",
    "Gelu", "Mish", "Swish", "ThresholdedRelu", "Erf", "Exp", "Log", "Sqrt", "Abs", "Neg", "Sin",
    "Cos", "Atan", "Reciprocal", "Sign", "Floor", "Ceil", "Round", "Pow", "Min", "Max", "QuickGelu",
)
"""What of ONNX is a table of its input, whatever the input."""

COEF_MAX = (1 << 16) - 1
"""Largest magnitude of a coefficient."""


@dataclass(frozen=True)
class Eltwise(Staged, Broadcast):
    """One or two tensors, weighted and added; with one, any function of its values.

    Rescaling, copies, sums, differences and constants are coefficients and bias; a function is the
    table. Channels, rows or columns of which an input has but one are repeated for the others'.
    """

    op = "eltwise"
    arity = 1, Elementwise.field("n_src").hi
    constants = (
        Constant("coef", "int32", ("n", "O"), "one an input and channel", -COEF_MAX, COEF_MAX),
        *STAGE,
    )
    products = "coef", 1
    onnx = ("Add", "Sub", "Mul", "Div", "Relu", "Clip", "LeakyRelu", "PRelu", *FUNCTIONS)
    costs = (Cost(Elementwise, "", "OB * (V + H * W * n)"),)
