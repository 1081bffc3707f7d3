"""Operators that move data, and those that do nothing."""

from __future__ import annotations

from falconet.compiler.graph import Shape
from falconet.compiler.importer.expr import Expr, Value
from falconet.compiler.importer.onnx.context import Context, operator
from falconet.compiler.importer.onnx.nodes import OnnxNode
from falconet.compiler.importer.onnx.roles import Role
from falconet.isa.graph.operator import Operator

__all__ = ["moved"]


def moved(ctx: Context, node: OnnxNode, attrs: Operator, inners: list[Expr], shape: Shape,
          output: int = 0) -> Expr:
    """See :meth:`Context.moved`."""
    return ctx.moved(node, attrs, inners, shape, output)


@operator("Identity", "Dropout", role=Role.VIEW)
def identity(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    assert args[0] is not None
    return args[0]
