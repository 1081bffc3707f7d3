"""Operators over the last axis: softmax, layer norm, RMS norm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.expr import (
    Expr,
    Masked,
    Norm,
    Real,
    Softmax,
    Stack,
    Value,
    View,
)
from falconet.compiler.importer.onnx.context import QUANTISE, Context, operator
from falconet.compiler.importer.onnx.handlers.reshape import placed
from falconet.compiler.importer.onnx.matrices import matrices, tokens_of
from falconet.compiler.importer.onnx.nodes import OnnxNode
from falconet.compiler.importer.onnx.roles import Role
from falconet.compiler.importer.order import pixels_of

__all__: list[str] = []

Array = NDArray[Any]


@operator("Softmax", role=Role.LAYER)
def softmax(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x, shape = args[0], ctx.model.shape(node.inputs[0], node)
    axis = int(node.attrs.get("axis", -1)) % len(shape)
    if isinstance(x, Expr) and not isinstance(x, View | Stack) and (
            axis == 1 and shape == [1, *x.shape][:len(shape)]):
        return _softmax(node, x)
    if axis != len(shape) - 1:
        node.refuse(f"a softmax along axis {axis} of {len(shape)} dimensions; only channels, or "
                    "the last axis, are supported: transpose before and after it")
    tokens = isinstance(x, View) and pixels_of(x.dims, x.inner.shape) is not None
    if tokens or math.prod(shape[:-2]) == 1:
        inner, dims = tokens_of(ctx, node, x)
        return placed(ctx, node, _softmax(node, inner), dims)
    lead, parts = matrices(ctx, node, x, 0)
    found = [_softmax(node, part, f"/head{k}") for k, part in enumerate(parts)]
    return Stack(node.name, found[0].shape, tuple(found), lead)


def _softmax(node: OnnxNode, x: Expr, part: str = "") -> Softmax:
    if isinstance(x, Masked):
        return Softmax(node.name + part, x.shape, x.tensor, x.kept)
    if not isinstance(x, Real):
        node.refuse(f"'{node.inputs[0]}' has no quantisation parameters; {QUANTISE}")
    return Softmax(node.name + part, x.shape, x.tensor, None)


@operator("LayerNormalization", "RMSNormalization", role=Role.LAYER)
def norm(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    shape = ctx.model.shape(node.inputs[0], node)
    axis = int(node.attrs.get("axis", -1)) % len(shape)
    if axis != len(shape) - 1:
        node.refuse(f"it goes over {len(shape) - axis} axes of {shape}; only the last one is "
                    "supported")
    if any(node.outputs[1:]):
        node.refuse("its outputs mean and deviation are not supported; export without them")
    inner, dims = tokens_of(ctx, node, args[0])
    if not isinstance(inner, Real):
        node.refuse(f"'{node.inputs[0]}' has no quantisation parameters; {QUANTISE}")
    gain, offset = (_vector(ctx, node, args, i, inner.shape[0]) for i in (1, 2))
    found = Norm(node.name, inner.shape, inner.tensor, node.op != "LayerNormalization",
                 float(node.attrs.get("epsilon", 1e-5)), gain, offset)
    return placed(ctx, node, found, dims)


def _vector(ctx: Context, node: OnnxNode, args: list[Value | None], index: int, channels: int
            ) -> Array:
    given = ctx.constant(node, args[index], index) if len(args) > index else None
    if given is None:
        return np.full(channels, float(index == 1))
    if given.size not in (1, channels):
        node.refuse(f"a constant of shape {list(given.shape)}; give one number per channel")
    return np.broadcast_to(given.reshape(-1), channels).astype(np.float64)
