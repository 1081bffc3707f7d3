"""From expressions to nodes: what a QuantizeLinear means (see :mod:`.expr`).

How a kind of expression is stored is a function in a file of `falconet.compiler.importer.store`.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Graph, Node, Tensor, output_shape
from falconet.compiler.importer.expr import Clamp, Expr, Func, Leaky, Quantised, Real
from falconet.compiler.importer.requant import Requant, identity, requantise
from falconet.compiler.importer.stage import Stage
from falconet.compiler.unary import unary_map, uniform
from falconet.isa import Arch, FalconetError
from falconet.isa.graph.operator import Operator
from falconet.isa.graph.tensor import HI, LO, Shape

__all__ = ["STORES", "Builder", "stores"]

Array = NDArray[Any]
Store = Callable[["Builder", Any, Stage, str], str]

STORES: dict[type[Expr], Store] = {}
"""How an expression is stored: (builder, expression, stage, name) -> the tensor that holds it."""


def stores(kind: type[Expr]) -> Callable[[Store], Store]:
    """Register a function of :data:`STORES`."""
    def add(function: Store) -> Store:
        if kind in STORES:
            raise TypeError(f"{kind.__name__} is stored in two ways")
        STORES[kind] = function
        return function
    return add


class Builder:
    """Grows the integer graph; every expression is quantised once per way to store it.

    Members
    -------
    sources:
        Tensor of the graph -> the ONNX value (int8 or uint8) that it equals.
    structure:
        The scales mean nothing yet: what depends on them is neither computed nor refused.
    ranges:
        Least and greatest stored value of each tensor.
    """

    def __init__(self, name: str, arch: Arch, structure: bool = False) -> None:
        self.graph = Graph(name)
        self.structure = structure
        self.arch = arch
        self.sources: dict[str, str] = {}
        self.ranges: dict[str, tuple[int, int]] = {}
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
            self.ranges[name] = (LO, HI)
        elif (known.scale, known.zero_point) != (scale, zero_point):
            raise FalconetError(f"input '{name}': it is quantised in two ways; quantise it once")
        return name

    def quantise(self, expr: Expr, stage: Stage, name: str) -> str:
        """The tensor that stores ``expr`` as ``stage`` says, making the nodes that it takes."""
        key = (id(expr), *stage.key())
        if key not in self._made:
            try:
                self._made[key] = (expr, STORES[type(expr)](self, expr, stage, name))
            except FalconetError as e:
                if str(e).startswith(("node ", "input ")):
                    raise
                raise FalconetError(f"node '{expr.node}': {e}") from None
        return self._made[key][1]

    def stored_as(self, real: Real, stage: Stage) -> bool:
        """Whether the tensor itself is what the stage would make of it."""
        t, (lo, hi) = self.tensor(real), self.ranges[real.tensor]
        return ((t.scale, t.zero_point) == (stage.scale, stage.zero_point)
                and stage.alpha is None and stage.lo <= lo and hi <= stage.hi)

    def emit(self, attrs: Operator, node: str, inputs: list[str], output: str, stage: Stage,
             consts: dict[str, Array]) -> str:
        """Append a node; its tensor is called ``output``, or the like if that is taken."""
        new = Node(attrs, self.node_name(node), inputs, self.free(output), consts)
        shape = output_shape(new, [self.graph.tensors[i].shape for i in inputs])
        t = Tensor(new.output, shape, stage.scale, stage.zero_point)
        self.graph.tensors[t.name] = t
        self.graph.nodes.append(new)
        self.ranges[t.name] = (stage.lo, stage.hi)
        if uniform(new):  # so that functions compose
            self._origin[t.name] = (new.inputs[0], unary_map(new))
        return t.name

    def free(self, name: str) -> str:
        """A name for a tensor: this one, or one like it."""
        return _free(name, self.graph.tensors)

    def node_name(self, name: str) -> str:
        """``name``, or ``name.1`` ... if it is taken; taken from now on."""
        found = _free(name, self._node_names)
        self._node_names.add(found)
        return found

    def requantise(self, scale: Array, stage: Stage) -> Requant:
        """``scale`` [C]: accumulator to steps of the output."""
        if self.structure:
            return self.unit(len(scale))
        alpha = 1.0 if stage.alpha is None else stage.alpha
        return requantise(scale, alpha, bits=self.arch.mult_bits)

    def unit(self, channels: int) -> Requant:
        """Multiplication by exactly 1."""
        return identity(channels, bits=self.arch.mult_bits)

    def functions(self, expr: Expr) -> list[tuple[str, Array]]:
        """``expr`` as a function of a tensor, of what that tensor is a function of, and so on.

        Each entry is ``(tensor, values)`` with ``values[q + 128]`` float32; empty if ``expr`` is
        none. What tensors store in between counts with its rounding. A value that a tensor cannot
        hold gives what the nearest one gives that it can.
        """
        if isinstance(expr, Real):
            t = self.tensor(expr)
            stored = np.clip(np.arange(LO, HI + 1), *self.ranges[expr.tensor])
            steps = stored.astype(np.float32) - np.float32(t.zero_point)
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
