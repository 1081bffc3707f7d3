"""From expressions to nodes: what a QuantizeLinear means (see :mod:`.expr`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Graph, Node, Shape, Tensor, output_shape
from falconet.compiler.importer.expr import (
    Clamp,
    Conv,
    Expr,
    Func,
    Input,
    Leaky,
    Move,
    Quantised,
    Real,
    Sum,
    Unknown,
)
from falconet.compiler.requant import Requant, identity, requantise, weighted_sum
from falconet.compiler.unary import unary_map, uniform
from falconet.isa import Arch, FalconetError

__all__ = ["Builder", "Stage"]

Array = NDArray[Any]
INT8_MIN, INT8_MAX = -128, 127


@dataclass(frozen=True, eq=False)
class Stage:
    """How a value is to be stored: the output stage in terms of the ONNX file."""

    scale: float
    zero_point: int
    lo: int = INT8_MIN
    hi: int = INT8_MAX
    alpha: Array | None = None

    def key(self) -> tuple[Any, ...]:
        alpha = None if self.alpha is None else self.alpha.tobytes()
        return self.scale, self.zero_point, self.lo, self.hi, alpha

    def to_int(self, real: float | Array) -> Array:
        """QuantizeLinear in float32, as onnxruntime computes it, limited to lo and hi."""
        with np.errstate(over="ignore"):
            steps = np.rint(np.asarray(real, np.float32) / np.float32(self.scale))
        stored: Array = np.clip(steps + self.zero_point, self.lo, self.hi).astype(np.int8)
        return stored


class Builder:
    """Grows the integer graph; every expression is quantised once per way to store it.

    Members
    -------
    sources:
        Tensor of the graph -> the ONNX value (int8 or uint8) that it equals.
    structure:
        The scales mean nothing yet: what depends on them is neither computed nor refused.
    """

    def __init__(self, name: str, arch: Arch, structure: bool = False) -> None:
        self.graph = Graph(name)
        self.structure = structure
        self.arch = arch
        self.sources: dict[str, str] = {}
        self._ranges: dict[str, tuple[int, int]] = {}
        self._origin: dict[str, tuple[str, Array]] = {}
        self._made: dict[tuple[Any, ...], tuple[Expr, str]] = {}
        self._node_names: set[str] = set()

    def tensor(self, real: Real) -> Tensor:
        return self.graph.tensors[real.tensor]

    def real_of(self, q: Quantised, name: str) -> Real:
        """The tensor that holds ``q``; ``name`` is what the ONNX file calls it."""
        stage = Stage(q.scale, q.zero_point, q.lo, q.hi)
        tensor = self.quantise(q.expr, stage, name)
        self.sources.setdefault(tensor, name)
        return Real(q.expr.node, q.expr.shape, tensor)

    def add_input(self, name: str, shape: Shape, scale: float, zero_point: int) -> str:
        """Declare graph input ``name`` with its quantisation; a second one must be the same."""
        known = self.graph.tensors.get(name)
        if known is None:
            self.graph.tensors[name] = Tensor(name, shape, scale, zero_point)
            self.graph.inputs.append(name)
            self._ranges[name] = (INT8_MIN, INT8_MAX)
        elif (known.scale, known.zero_point) != (scale, zero_point):
            raise FalconetError(f"input '{name}': it is quantised in two ways; quantise it once")
        return name

    def quantise(self, expr: Expr, stage: Stage, name: str) -> str:
        """The tensor that stores ``expr`` as ``stage`` says, making the nodes that it takes."""
        key = (id(expr), *stage.key())
        if key not in self._made:
            try:
                self._made[key] = (expr, self._quantise(expr, stage, name))
            except FalconetError as e:
                if str(e).startswith(("node ", "input ")):
                    raise
                raise FalconetError(f"node '{expr.node}': {e}") from None
        return self._made[key][1]

    def _quantise(self, expr: Expr, stage: Stage, name: str) -> str:
        if isinstance(expr, Clamp):
            if stage.alpha is not None:
                raise FalconetError("clamp and then leaky ReLU; put Q/DQ between the two")
            lo, hi = (int(stage.to_int(v)) for v in (expr.lo, expr.hi))
            return self._inner(expr, dataclasses.replace(stage, lo=lo, hi=hi), name)
        if isinstance(expr, Leaky):
            if stage.alpha is not None:
                raise FalconetError("two leaky ReLUs in a row; put Q/DQ between them")
            return self._inner(expr, dataclasses.replace(stage, alpha=expr.alpha), name)
        if isinstance(expr, Input):
            self.add_input(expr.name, expr.shape, stage.scale, stage.zero_point)
            # Brevitas keeps -128 out of a signed input: the host's quantiser may use it.
            whole = stage.hi == INT8_MAX and stage.lo in (INT8_MIN, INT8_MIN + 1)
            if whole and stage.alpha is None:
                return expr.name
            return self._sum(self._one(Real(expr.node, expr.shape, expr.name), expr.node), stage,
                             name)
        if isinstance(expr, Real):
            if self._stored_as(expr, stage):
                return expr.tensor
            label = f"{expr.node}/rescale"
            return self._sum(self._one(expr, label), stage, name)
        if isinstance(expr, Sum):
            return self._sum(expr, stage, name)
        if isinstance(expr, Func):
            return self._table(expr, stage, name)
        if isinstance(expr, Conv):
            return self._conv(expr, stage, name)
        if isinstance(expr, Move):
            return self._move(expr, stage, name)
        if isinstance(expr, Unknown):
            found = _free(name, self.graph.tensors)
            self.graph.tensors[found] = Tensor(found, expr.shape, stage.scale, stage.zero_point)
            self._ranges[found] = (stage.lo, stage.hi)
            return found
        raise TypeError(expr)

    def _inner(self, expr: Clamp | Leaky, stage: Stage, name: str) -> str:
        """What an activation is applied to, with the activation in the stage."""
        inner = expr.inner
        if isinstance(inner, Real) and not self._stored_as(inner, stage):
            return self._sum(self._one(inner, expr.node), stage, name)
        return self.quantise(inner, stage, name)

    def _stored_as(self, real: Real, stage: Stage) -> bool:
        """Whether the tensor itself is what the stage would make of it."""
        t, (lo, hi) = self.tensor(real), self._ranges[real.tensor]
        return ((t.scale, t.zero_point) == (stage.scale, stage.zero_point)
                and stage.alpha is None and stage.lo <= lo and hi <= stage.hi)

    @staticmethod
    def _one(real: Real, node: str) -> Sum:
        c = real.shape[0]
        return Sum(node, real.shape, ((real.tensor, np.ones(c)),), np.zeros(c))

    def _emit(self, op: str, node: str, inputs: list[str], output: str, stage: Stage,
              attrs: dict[str, Any], consts: dict[str, Array]) -> str:
        new = Node(op, self.node_name(node), inputs, _free(output, self.graph.tensors), attrs,
                   consts)
        shape = output_shape(new, [self.graph.tensors[i].shape for i in inputs])
        t = Tensor(new.output, shape, stage.scale, stage.zero_point)
        self.graph.tensors[t.name] = t
        self.graph.nodes.append(new)
        self._ranges[t.name] = (stage.lo, stage.hi)
        return t.name

    def node_name(self, name: str) -> str:
        """``name``, or ``name.1`` ... if it is taken; taken from now on."""
        found = _free(name, self._node_names)
        self._node_names.add(found)
        return found

    def _requantise(self, scale: Array, stage: Stage) -> Requant:
        if self.structure:
            return identity(len(scale))
        alpha = 1.0 if stage.alpha is None else stage.alpha
        return requantise(scale, alpha, bits=self.arch.mult_bits)

    def _conv(self, expr: Conv, stage: Stage, name: str) -> str:
        t = self.graph.tensors[expr.source]
        weight, scale = expr.weight, expr.scale.copy()
        per_channel = np.abs(weight.astype(np.int64)).reshape(len(weight), -1)
        scale[per_channel.sum(1) == 0] = stage.scale / t.scale / 256
        if not self.structure:
            weight, scale = self._shrink(weight, scale, expr, t, stage)
        acc_scale = t.scale * scale
        bias = np.rint(expr.bias / acc_scale)
        bias -= t.zero_point * weight.astype(np.int64).reshape(len(weight), -1).sum(1)
        if self.structure:
            bias = np.zeros(len(bias))
        consts = {
            "weight": weight, "bias": np.clip(bias, -(2.0**31), 2.0**31 - 1).astype(np.int32),
            **self._requantise(acc_scale / stage.scale, stage).consts(),
        }
        attrs = {**expr.attrs, "pad": t.zero_point, "zp": stage.zero_point, "lo": stage.lo,
                 "hi": stage.hi}
        return self._emit("conv", expr.node, [expr.source], name, stage, attrs, consts)

    def _shrink(self, weight: Array, scale: Array, expr: Conv, t: Tensor,
                stage: Stage) -> tuple[Array, Array]:
        """Coarser weights for channels whose bias in weight steps exceeds the accumulator.

        Such a channel is almost constant: its weights are tiny. It is changed only if all that
        rounding its weights can do is a quarter of an output step; else the verifier refuses it.
        """
        flat = weight.astype(np.float64).reshape(len(weight), -1)
        low, high = INT8_MIN - t.zero_point, INT8_MAX - t.zero_point
        bias = np.abs(expr.bias / (t.scale * scale))
        reach = bias + 255.0 * np.abs(flat).sum(1)
        limit = float((1 << (self.arch.acc_bits - 1)) - 1)
        many = np.flatnonzero((reach > limit) & (bias > limit / 4))
        weight, scale = weight.copy(), scale.copy()
        for o in many:
            factor = 2.0 ** np.ceil(np.log2(reach[o] / limit) + 0.01)
            coarse = np.rint(flat[o] / factor)
            error = np.abs(flat[o] - coarse * factor).sum() * max(-low, high)
            if error * t.scale * scale[o] / stage.scale <= 0.25:
                weight[o] = coarse.reshape(weight[o].shape)
                scale[o] *= factor
        return weight, scale

    def _sum(self, expr: Sum, stage: Stage, name: str) -> str:
        terms, offset = expr.terms, expr.offset
        sources = [self.graph.tensors[n] for n, _ in terms]
        ratios = np.array([s.scale * g / stage.scale for s, (_, g) in zip(sources, terms)])
        if self.structure:
            ratios, offset = np.ones_like(ratios), np.zeros_like(offset)
        coef, bias, scale = weighted_sum(
            ratios, [s.zero_point for s in sources], offset / stage.scale, self.arch)
        consts = {"coef": coef, "bias": bias, **self._requantise(scale, stage).consts()}
        attrs = {"zp": stage.zero_point, "lo": stage.lo, "hi": stage.hi}
        names = [s.name for s in sources]
        out = self._emit("eltwise", expr.node, names, name, stage, attrs, consts)
        self._note_origin(out)
        return out

    def _table(self, expr: Func, stage: Stage, name: str) -> str:
        values = expr.values
        if stage.alpha is not None:
            if np.ptp(stage.alpha):
                raise FalconetError("PRelu of a table needs one slope; put Q/DQ before it")
            values = np.where(values < 0, values * np.float32(stage.alpha.flat[0]), values)
        table = stage.to_int(values)
        c = expr.shape[0]
        consts = {"coef": np.ones((1, c), np.int32), "bias": np.zeros(c, np.int32),
                  **identity(c).consts(), "table": table}
        attrs = {"zp": 0, "lo": INT8_MIN, "hi": INT8_MAX}
        out = self._emit("eltwise", expr.node, [expr.tensor], name, stage, attrs, consts)
        self._ranges[out] = (int(table.min()), int(table.max()))
        self._note_origin(out)
        return out

    def _move(self, expr: Move, stage: Stage, name: str) -> str:
        if stage.alpha is not None and np.ptp(stage.alpha):
            raise FalconetError("PRelu here needs one slope; put Q/DQ before it")
        inputs = []
        for i, inner in enumerate(expr.inners):
            inner_stage = stage
            if stage.alpha is not None:
                inner_stage = dataclasses.replace(
                    stage, alpha=np.full(inner.shape[0], stage.alpha.flat[0]))
            inputs.append(self.quantise(inner, inner_stage, f"{name}/in{i}"))
        return self.move(expr, inputs, name)

    def move(self, expr: Move, inputs: list[str], name: str) -> str:
        """Emit a Move of tensors that share one scale."""
        t = self.graph.tensors[inputs[0]]
        attrs, consts = dict(expr.attrs), {}
        if expr.op == "maxpool":
            c = expr.shape[0]
            attrs.update(pad=INT8_MIN, zp=0, lo=INT8_MIN, hi=INT8_MAX)
            consts = {"bias": np.zeros(c, np.int32), **identity(c).consts()}
        out = self._emit(expr.op, expr.node, inputs, name, Stage(t.scale, t.zero_point), attrs,
                         consts)
        los, his = zip(*(self._ranges[i] for i in inputs))
        self._ranges[out] = (min(los), max(his))
        return out

    def _note_origin(self, tensor: str) -> None:
        """Remember a tensor that is a function of one other, so that functions compose."""
        node = self.graph.nodes[-1]
        if uniform(node):
            self._origin[tensor] = (node.inputs[0], unary_map(node))

    def functions(self, expr: Expr) -> list[tuple[str, Array]]:
        """``expr`` as a function of a tensor, of what that tensor is a function of, and so on.

        Each entry is ``(tensor, values)`` with ``values[q + 128]`` float32; empty if ``expr`` is
        none. What tensors store in between counts with its rounding.
        """
        if isinstance(expr, Real):
            t = self.tensor(expr)
            steps = np.arange(-128, 128, dtype=np.float32) - np.float32(t.zero_point)
            tensor, values = expr.tensor, steps * np.float32(t.scale)
        elif isinstance(expr, Func):
            tensor, values = expr.tensor, expr.values
        elif isinstance(expr, Clamp):
            return [(t, np.clip(v, np.float32(expr.lo), np.float32(expr.hi)))
                    for t, v in self.functions(expr.inner)]
        elif isinstance(expr, Leaky) and not np.ptp(expr.alpha):
            alpha = np.float32(expr.alpha.flat[0])
            return [(t, np.where(v < 0, v * alpha, v)) for t, v in self.functions(expr.inner)]
        else:
            return []
        found = [(tensor, values)]
        while tensor in self._origin:
            tensor, mapped = self._origin[tensor]
            values = values[mapped.astype(np.int64) + 128]
            found.append((tensor, values))
        return found


def _free(name: str, taken: Container[str]) -> str:
    found, n = name, 0
    while found in taken:
        n += 1
        found = f"{name}.{n}"
    return found
