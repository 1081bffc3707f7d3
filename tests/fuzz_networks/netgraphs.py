"""Random legal integer graphs over all operators, every parameter out to its ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from netdraw import Axis, Draw
from netspatial import SPATIAL
from netstages import StageMaker
from numpy.typing import NDArray

from falconet.compiler.graph import Graph, Node, Tensor, output_shape
from falconet.compiler.passes.verify import accumulator_range
from falconet.isa import Arch
from falconet.isa.graph.operator import Operator
from falconet.isa.graph.ops import OPERATORS, operator

Array = NDArray[Any]
QUANT = ((0.03, 0), (0.05, -7))
"""Scale and zero point that tensors claim; only moving data depends on them."""

WITH_METHOD = ("conv", "maxpool", "eltwise", "product", "concat", "slice", "upsample", "gather",
               "pick", *SPATIAL)
"""Operators of which there is more to draw than they say of themselves."""

SMALL, LARGE, HEAVY = 20_000, 200_000, 150_000
"""Cycles of an engine, roughly, that one network may take; of a layer of many weights alone."""


class GraphMaker(StageMaker):
    """Adds nodes one by one; a node that would take too long is left out."""

    def __init__(self, draw: Draw, arch: Arch, *, large: bool) -> None:
        super().__init__(draw, arch)
        self.large = large
        self.graph = Graph("random")
        self.left = LARGE if large else SMALL
        self.closed: set[str] = set()  # inputs that nobody else is to read

    # ------------------------------------------------------------------ tensors

    def shape(self, name: str) -> tuple[int, int, int]:
        return self.graph.tensors[name].shape

    def input(self, name: str) -> None:
        """An input; an image often goes to dense convolutions of one geometry alone."""
        image = self.draw.pick((False, True))
        c = self.draw.number(1, 4) if image else self.draw.channels(self.arch)
        h, w = self.draw.size(self.arch, large=self.large)
        c = min(c, self.arch.scratchpad_words // (2 * h * w) * self.arch.lanes)
        shape = c, h, w
        zero_point = self.draw.pick((0, 3, -128, 127))
        self.graph.tensors[name] = Tensor(name, shape, QUANT[0][0], zero_point)
        self.graph.inputs.append(name)
        if image and self.draw.chance(60):
            y, z = self.draw.axis(h), self.draw.axis(w)
            for _ in range(self.draw.number(1, 2)):
                out = self.draw.channels(self.arch)
                made = self.convolution(name, self.weight(out, c, y.kernel, z.kernel), (y, z), 1)
                if made is not None:
                    self.closed.add(name)

    def some(self) -> str:
        """A tensor, the newest ones most often."""
        names = [t for t in self.graph.tensors if t not in self.closed] or list(self.graph.tensors)
        return names[-1 - min(self.draw.pick((0, 0, 0, 1, 2, 3, 5, 8)), len(names) - 1)]

    def blocks(self, channels: int) -> int:
        return -(-channels // self.arch.lanes)

    def add(self, op: str, inputs: list[str], attrs: dict[str, Any],
            consts: dict[str, Array] | None = None, cycles: int = 0) -> str | None:
        at = len(self.graph.nodes)
        node = Node(operator(op).of(attrs), f"{op}{at}", inputs, f"t{at}", consts or {})
        shapes = [self.shape(i) for i in inputs]
        if any(node.attrs.faults(shapes, node.given)):
            return None
        shape = output_shape(node, shapes)
        words = self.blocks(shape[0]) * shape[1] * shape[2]
        cost = cycles + words
        if cost > self.left or words > self.arch.scratchpad_words:
            return None
        self.left -= cost
        first = self.graph.tensors[inputs[0]]
        quant = (self.draw.pick((QUANT[0],) * 7 + QUANT[1:]) if node.attrs.staged
                 else (first.scale, first.zero_point))
        self.graph.tensors[node.output] = Tensor(node.output, shape, *quant)
        self.graph.nodes.append(node)
        return node.output

    # ------------------------------------------------------------------ operators

    def convolution(self, x: str, weight: Array, axes: tuple[Axis, Axis], groups: int, *,
                    pool: bool = False) -> str | None:
        c, h, w = self.shape(x)
        o = len(weight)
        y, z = axes
        pixels = max(0, y.size(h)) * max(0, z.size(w))
        depthwise = groups == o == c
        inner = 1 if depthwise else self.blocks(c)
        if not depthwise and inner * y.kernel * z.kernel > self.arch.weight_words - 2:
            return None
        flat = weight.astype(float).reshape(o, -1)
        attrs, consts = self.stage(*accumulator_range(weight), 74 * np.sqrt((flat**2).sum(1)),
                                   uniform=pool)
        attrs = {
            "kernel": [y.kernel, z.kernel], "stride": [y.stride, z.stride],
            "pads": [y.pads[0], z.pads[0], y.pads[1], z.pads[1]],
            "dilation": [y.dilation, z.dilation], "groups": groups,
            "pad": self.graph.tensors[x].zero_point if x in self.graph.inputs
            else self.draw.pick((0, 3, -128, 127)), **attrs, **({"pool": True} if pool else {}),
        }
        return self.add("conv", [x], attrs, {"weight": weight, **consts},
                        pixels * y.kernel * z.kernel * self.blocks(o) * inner)

    def dense(self, x: str) -> str | None:
        c, h, w = self.shape(x)
        y, z = self.draw.axis(h), self.draw.axis(w)
        return self.convolution(
            x, self.weight(self.draw.channels(self.arch), c, y.kernel, z.kernel), (y, z), 1)

    def pointwise(self, x: str, out: int | None = None) -> str | None:
        c = self.shape(x)[0]
        weight = self.weight(out or self.draw.channels(self.arch), c, 1, 1)
        return self.convolution(x, weight, (_all(1), _all(1)), 1)

    def heavy(self, x: str) -> str | None:
        """Two layers, the second of more weights than their memory holds; together their tensors
        are often more than the scratchpad does."""
        c, h, w = self.shape(x)
        thin = Axis(1, math.ceil(math.sqrt(h * w / 160)), 1, (0, 0))
        self.left = max(self.left, 2 * HEAVY)
        inner = self.draw.number(4, 14)
        made = self.convolution(x, self.weight(inner * self.arch.lanes, c, 1, 1), (thin, thin), 1)
        if made is None:
            return None
        axis = self.draw.pick((_all(1), _all(1), Axis(3, 1, 1, (1, 1)), Axis(3, 2, 1, (1, 0))))
        pixels = max(1, axis.size(thin.size(h)) * axis.size(thin.size(w)))
        block = axis.kernel ** 2 * inner * self.arch.word_steps
        least = self.arch.weight_words // (block + self.arch.weight_param_words) + 1
        most = min(40, self.arch.scratchpad_words // pixels, HEAVY // (block * pixels))
        if least > most:
            return made
        out = self.draw.number((least + most) // 2, most) * self.arch.lanes
        weight = self.weight(out - self.draw.number(0, 3), self.shape(made)[0], axis.kernel,
                             axis.kernel)
        return self.convolution(made, weight, (axis, axis), 1)

    def grouped(self, x: str) -> str | None:
        """Also depthwise with more than one output per channel."""
        c, h, w = self.shape(x)
        groups = self.draw.pick([g for g in range(2, c + 1) if c % g == 0] or [1])
        out = groups * self.draw.number(1, max(1, 40 // groups))
        y, z = self.draw.axis(h), self.draw.axis(w)
        return self.convolution(x, self.weight(out, c // groups, y.kernel, z.kernel), (y, z),
                                groups)

    def depthwise(self, x: str) -> str | None:
        c, h, w = self.shape(x)
        y, z = self.draw.axis(h), self.draw.axis(w)
        return self.convolution(x, self.weight(c, 1, y.kernel, z.kernel), (y, z), c)

    def whole(self, x: str) -> tuple[Axis, Axis] | None:
        """A window that is the whole input; None if that is too large."""
        _, h, w = self.shape(x)
        return (_all(h), _all(w)) if max(h, w) <= 31 else None

    def linear(self, x: str) -> str | None:
        c, h, w = self.shape(x)
        axes = self.whole(x)
        if axes is None or self.blocks(c) * h * w > self.arch.weight_words - 2:
            return None
        return self.convolution(x, self.weight(self.draw.channels(self.arch), c, h, w), axes, 1)

    def average(self, x: str) -> str | None:
        """Over a window, or over everything."""
        c, h, w = self.shape(x)
        axes = self.whole(x) if self.draw.chance(50) else (self.draw.axis(h), self.draw.axis(w))
        if axes is None:
            return None
        ones = np.ones((c, 1, axes[0].kernel, axes[1].kernel), np.int8)
        return self.convolution(x, ones, axes, c, pool=True)

    def maxpool(self, x: str) -> str | None:
        c, h, w = self.shape(x)
        y, z = self.draw.axis(h), self.draw.axis(w)
        attrs: dict[str, Any] = {"zp": 0, "lo": -128, "hi": 127}
        one = np.full(c, 1 << 16, np.uint32)
        consts: dict[str, Array] = {"bias": np.zeros(c, np.int32), "mult": one,
                                    "mult_neg": one.copy(), "shift": np.full(c, 16, np.uint8)}
        if self.draw.chance(30):
            attrs, consts = self.stage(np.full(c, -128), np.full(c, 127), np.full(c, 74.0),
                                       uniform=self.draw.chance(50))
        attrs = {"kernel": [y.kernel, z.kernel], "stride": [y.stride, z.stride],
                 "pads": [y.pads[0], z.pads[0], y.pads[1], z.pads[1]],
                 "dilation": [y.dilation, z.dilation], "pad": -128, **attrs}
        pixels = max(0, y.size(h)) * max(0, z.size(w))
        return self.add("maxpool", [x], attrs, consts,
                        pixels * y.kernel * z.kernel * self.blocks(c))

    def eltwise(self, *xs: str) -> str | None:
        c, h, w = (max(sides) for sides in zip(*map(self.shape, xs)))
        random, uniform = self.draw.random(), not self.draw.chance(40)
        kind = self.draw.pick(("large", "any", "ends", "small"))
        most = 65535
        coef = {
            "large": random.integers(20000, most + 1, (len(xs), c)),
            "any": random.integers(-most, most + 1, (len(xs), c)),
            "ends": random.choice([-most, 0, most], (len(xs), c)),
            "small": random.integers(-3, 4, (len(xs), c)),
        }[kind].astype(np.int32)
        if uniform:
            coef[:] = coef[:, :1]
        low, high = accumulator_range(coef.T)
        if max(-low.min(), high.max()) >= 1 << (self.arch.acc_bits - 1):
            coef //= 2  # two at their ends are one too many
            low, high = accumulator_range(coef.T)
        spread = 74 * np.sqrt((coef.astype(float) ** 2).sum(0))
        attrs, consts = self.stage(low, high, spread, uniform=uniform)
        return self.add("eltwise", list(xs), attrs, {"coef": coef, **consts},
                        len(xs) * h * w * self.blocks(c))

    def add_two(self, x: str) -> str | None:
        """A sum of two, in either order, that need not keep their channels in the same lanes."""
        fits = [t for t in self.graph.tensors if self.shape(t) == self.shape(x)]
        other = self.draw.pick(fits)
        if other == x and self.draw.chance(80):
            made = self.pointwise(x, self.shape(x)[0])
            if made is None:
                return None
            other = made
        return self.eltwise(*((x, other) if self.draw.chance(50) else (other, x)))

    def smaller(self, x: str) -> str | None:
        """A tensor that x can meet: of its shape, or with one channel, row or column for all."""
        c, h, w = self.shape(x)
        kind = self.draw.pick(("any", "any", "gate", "mask", "rows", "columns"))
        if kind == "mask":
            return self.pointwise(x, 1)
        if kind != "any" and max(h, w) <= 31:
            axes = (_all(1 if kind == "rows" else h), _all(1 if kind == "columns" else w))
            weight = self.weight(c, 1, axes[0].kernel, axes[1].kernel)
            return self.convolution(x, weight, axes, c)
        fits = [t for t in self.graph.tensors
                if all(m in (1, n) for m, n in zip(self.shape(t), (c, h, w)))]
        return self.draw.pick(fits[::-1])

    def sum_or_product(self, x: str) -> str | None:
        """Of two, in either order, of which the other may be smaller."""
        other = self.smaller(x)
        if other is None:
            return None
        pair = (x, other) if self.draw.chance(50) else (other, x)
        return self.eltwise(*pair) if self.draw.chance(30) else self.product(*pair)

    def product(self, a: str, b: str) -> str | None:
        c, h, w = (max(sides) for sides in zip(self.shape(a), self.shape(b)))
        zeros = [self.draw.pick((0, 3, -128, 127, self.draw.number(-128, 127))) for _ in "ab"]
        low, high = operator("product").of({"zeros": zeros}).sums()
        attrs, consts = self.stage(np.full(c, low), np.full(c, high), np.full(c, 74.0 * 74),
                                   uniform=not self.draw.chance(40))
        return self.add("product", [a, b], {"zeros": zeros, **attrs}, consts,
                        2 * h * w * self.blocks(c))

    def concat(self, x: str) -> str | None:
        t = self.graph.tensors[x]
        names = [x]
        for _ in range(self.draw.number(1, 3)):
            if self.draw.chance(30):
                self.pointwise(x)
            fits = [v.name for v in self.graph.tensors.values() if v.shape[1:] == t.shape[1:]
                    and (v.scale, v.zero_point) == (t.scale, t.zero_point)]
            names.append(self.draw.pick(fits[::-1]))
        if self.draw.chance(50):
            names.reverse()
        words = sum(self.blocks(self.shape(n)[0]) for n in names) * t.shape[1] * t.shape[2]
        if 4 * words > self.arch.scratchpad_words:  # copies of it may be needed whole
            return None
        return self.add("concat", names, {})

    def slice(self, x: str) -> str | None:
        c = self.shape(x)[0]
        begin = self.draw.number(0, c - 1)
        if self.draw.chance(30):
            begin -= begin % self.arch.lanes
        return self.add("slice", [x], {"begin": begin, "end": self.draw.number(begin + 1, c)})

    def upsample(self, x: str) -> str | None:
        fy, fx = self.draw.number(1, 4), self.draw.number(1, 4)
        c, h, w = self.shape(x)
        return self.add("upsample", [x], {"fy": fy, "fx": fx}, None,
                        fy * fx * h * w * self.blocks(c))

    def gather(self, x: str) -> str | None:
        """A shuffle, some channels in any order, some of them again, or with others between."""
        c, h, w = self.shape(x)
        kind, random = self.draw.pick(("shuffle", "some", "again", "filled")), self.draw.random()
        if kind == "shuffle":
            groups = self.draw.pick([g for g in range(1, c + 1) if c % g == 0])
            index = np.arange(c).reshape(groups, -1).T.reshape(-1)
        elif kind == "some":
            index = random.permutation(c)[:self.draw.number(1, c)]
        else:
            least = -1 if kind == "filled" else 0
            index = random.integers(least, c, self.draw.number(1, c + 9))
        cost = self.blocks(len(index)) * self.blocks(c) * h * w
        return self.add("gather", [x], {"index": index.tolist(), "fill": self.fill()}, None, cost)

    def fill(self) -> int:
        return self.draw.pick((0, 3, -128, 127))

    def pick(self, x: str) -> str | None:
        """Of one tensor, or of several side by side and below each other."""
        t, d = self.graph.tensors[x], self.draw
        alike = [v.name for v in self.graph.tensors.values() if v.shape == t.shape
                 and (v.scale, v.zero_point) == (t.scale, t.zero_point)]
        down, across = d.pick((1, 1, 2)), d.pick((1, 1, 2, 3))
        inputs = [x, *(d.pick(alike[::-1]) for _ in range(down * across - 1))]
        c, h, w = t.shape
        swap = d.chance(25)
        sides = (w, h) if swap else (h, w)
        rows, columns = self.places(down, sides[0]), self.places(across, sides[1])
        pieces = min(len(rows), 6) * min(len(columns), 6)
        cost = self.blocks(c) * (len(rows) * len(columns) + 8 * pieces)
        if 4 * len(inputs) * self.blocks(c) * h * w > self.arch.scratchpad_words:
            return None
        attrs = {"across": across, "rows": rows, "columns": columns, "fill": self.fill()}
        return self.add("pick", inputs, {**attrs, **({"swap": True} if swap else {})}, None, cost)

    def places(self, parts: int, size: int) -> list[int]:
        """Rows, or columns, of ``parts`` pictures of ``size`` behind each other."""
        d, n = self.draw, parts * size
        kind = d.pick(("steps", "steps", "back", "woven", "padded", "edges", "again", "any"))
        if kind in ("steps", "back"):
            found = np.arange(d.number(0, n - 1), n, d.number(1, 3))
            found = found[::-1] if kind == "back" else found
        elif kind == "woven":
            found = np.arange(n).reshape(parts, size).T.reshape(-1)
        elif kind == "padded":
            found = np.pad(np.arange(n), (d.number(0, 3), d.number(0, 3)), constant_values=-1)
        elif kind == "edges":
            found = np.pad(np.arange(n), (d.number(0, 3), d.number(0, 3)), mode="edge")
        elif kind == "again":
            found = np.arange(n).repeat(d.number(1, 3))
        else:
            found = d.random().integers(-1, n, d.number(1, min(n, 9)))
        return [int(v) for v in found]

    def plain(self, kind: type[Operator], x: str) -> str | None:
        """An operator by what it says of itself: inputs of one shape, small attributes."""
        d, t = self.draw, self.graph.tensors[x]
        alike = [v.name for v in self.graph.tensors.values() if v.shape == t.shape and (
            kind.staged or (v.scale, v.zero_point) == (t.scale, t.zero_point))]
        least, most = kind.arity
        inputs = [x, *(d.pick(alike[::-1]) for _ in range(d.number(least, min(most, 3)) - 1))]
        attrs: dict[str, Any] = {
            name: d.chance(50) if a.kind == "flag" else [
                d.number(lo, min(lo + 3, hi)) for lo, hi in a.ranges]
            for name, a in kind.attributes().items()}
        attrs = {k: v[0] if kind.attributes()[k].kind == "number" else v for k, v in attrs.items()}
        consts: dict[str, Array] = {}
        if kind.staged:
            c = self.shape(x)[0]
            stage, consts = self.stage(np.full(c, -128), np.full(c, 127), np.full(c, 74.0),
                                       uniform=d.chance(50))
            attrs.update(stage)
        return self.add(kind.op, inputs, attrs, consts, math.prod(t.shape))

    @property
    def operators(self) -> tuple[Callable[[str], str | None], ...]:
        """What is drawn: by a method, and what has none as it describes itself."""
        return (self.pointwise, self.eltwise, self.dense, self.dense, self.heavy, self.heavy,
                self.depthwise,
                self.depthwise, self.maxpool, self.average, self.add_two, self.add_two,
                self.sum_or_product, self.sum_or_product,
                self.grouped, self.concat, self.slice, self.upsample, self.linear, self.gather,
                self.pick,
                *(partial(draw, self) for draw in SPATIAL.values()),
                *(partial(self.plain, kind) for op, kind in OPERATORS.items()
                  if op not in WITH_METHOD))


def _all(size: int) -> Axis:
    """A window of just this size."""
    return Axis(size, 1, 1, (0, 0))


def random_graph(draw: Draw, arch: Arch) -> Graph:
    """A legal graph for ``arch`` (:func:`falconet.compiler.passes.verify.verify`)."""
    maker = GraphMaker(draw, arch, large=draw.chance(30))
    for i in range(1 + draw.chance(20)):
        maker.input(("x", "other")[i])
    for _ in range(draw.number(1, 13)):
        draw.pick(maker.operators)(maker.some())
    graph = maker.graph
    if not graph.nodes:  # all of them would have taken too long
        maker.left = math.inf  # type: ignore[assignment]
        maker.eltwise("x")
    read = {i for n in graph.nodes for i in n.inputs}
    graph.outputs = [n.output for n in graph.nodes if n.output not in read]
    inner = [n.output for n in graph.nodes if n.output in read]
    if inner and draw.chance(30):
        graph.outputs.append(draw.pick(inner))
    return graph
