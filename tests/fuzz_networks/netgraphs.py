"""Random legal integer graphs over all operators, every parameter out to its ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from netdraw import Axis, Draw
from numpy.typing import NDArray

from falconet.compiler.graph import Graph, Node, Tensor, output_shape
from falconet.compiler.verify import accumulator_range
from falconet.isa import Arch

Array = NDArray[Any]
QUANT = ((0.03, 0), (0.05, -7))
"""Scale and zero point that tensors claim; only moving data depends on them."""

SMALL, LARGE = 20_000, 200_000
"""Cycles of an engine, roughly, that one network may take."""


class GraphMaker:
    """Adds nodes one by one; a node that would take too long is left out."""

    def __init__(self, draw: Draw, arch: Arch, *, large: bool) -> None:
        self.draw, self.arch, self.large = draw, arch, large
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
        node = Node(op, f"{op}{len(self.graph.nodes)}", inputs, f"t{len(self.graph.nodes)}", attrs,
                    consts or {})
        shape = output_shape(node, [self.shape(i) for i in inputs])
        words = self.blocks(shape[0]) * shape[1] * shape[2]
        cost = cycles + words
        if min(shape) < 1 or cost > self.left or 2 * words > self.arch.scratchpad_words:
            return None
        self.left -= cost
        first = self.graph.tensors[inputs[0]]
        quant = (first.scale, first.zero_point) if op in ("concat", "slice", "upsample") else (
            self.draw.pick((QUANT[0],) * 7 + QUANT[1:]))
        self.graph.tensors[node.output] = Tensor(node.output, shape, *quant)
        self.graph.nodes.append(node)
        return node.output

    # ------------------------------------------------------------------ output stages

    def stage(self, low: Array, high: Array, spread: Array, *, uniform: bool = False
              ) -> tuple[dict[str, Any], dict[str, Array]]:
        """Attributes and constants of an output stage.

        ``low``, ``high``: what the accumulators can reach; ``spread``: what they mostly do. Where
        a parameter is drawn at its ends it is so for half of the channels only, so that the
        others go on to carry something.
        """
        d, n, random = self.draw, len(low), self.draw.random()
        limit = 1 << (self.arch.acc_bits - 1)
        top = (1 << self.arch.mult_bits) - 1

        def half(extreme: Any, plain: Array) -> Array:
            return np.where(random.random(n) < 0.5, extreme, plain)

        mult = random.integers(1 << 16, top + 1, n)
        kind = d.pick(("plain", "plain", "power", "zero", "one", "top"))
        if kind == "power":
            mult[:] = 1 << 16
        elif kind != "plain":
            mult = half({"zero": 0, "one": 1, "top": top}[kind], mult)
        fit = np.log2(np.maximum(spread, 1) * np.maximum(mult, 1) / d.pick((50, 100, 20, 2)))
        shift = np.clip(np.rint(fit), 0, self.arch.SHIFT_MAX).astype(int)
        kind = d.pick(("fit", "fit", "fit", "fit", "none", "most"))
        if kind != "fit":
            shift = half(0 if kind == "none" else self.arch.SHIFT_MAX, shift)
        kind = d.pick(("equal", "equal", "leaky", "zero", "any", "top"))
        neg = {"equal": mult, "leaky": mult // 8, "zero": np.zeros(n, int), "top": np.full(n, top),
               "any": random.integers(0, top + 1, n)}[kind]
        kind = d.pick(("small", "zero", "limit"))
        bias = np.zeros(n, int)
        if kind == "small":
            room = np.minimum(limit - 1 - high, limit + low)
            reach = np.minimum(room, np.rint(spread) + 1).astype(int)
            bias = random.integers(-reach, reach + 1)
        elif kind == "limit":
            bias = np.where(random.random(n) < 0.5, np.minimum(limit - 1 - high, limit - 1),
                            np.maximum(-limit - low, -limit))
        consts = {"bias": bias.astype(np.int32), "mult": mult.astype(np.uint32),
                  "mult_neg": neg.astype(np.uint32), "shift": shift.astype(np.uint8)}
        if uniform:
            for value in consts.values():
                value[:] = value[0]
            consts["bias"][:] = np.clip(bias[0], -limit - low.min(), limit - 1 - high.max())
        kind = d.pick(("plain", "plain", "plain", "any", "constant"))
        if d.chance(20):
            consts["table"] = random.integers(-128, 128, 256).astype(np.int8)
        return self.clamp(kind), consts

    def clamp(self, kind: str) -> dict[str, Any]:
        d = self.draw
        zp = d.pick((0, 3, -128, 127)) if d.chance(70) else d.number(-128, 127)
        lo, hi = -128, 127
        if kind == "any":
            lo = d.pick((zp, -127, d.number(-128, 100)))
            hi = d.number(lo, 127)
        elif kind == "constant" and d.chance(30):
            lo = hi = d.number(-128, 127)
        return {"zp": zp, "lo": lo, "hi": hi}

    # ------------------------------------------------------------------ operators

    def weight(self, *shape: int) -> Array:
        """Int8 weights whose sums stay within the accumulator."""
        random = self.draw.random()
        kind = self.draw.pick(("any", "any", "any", "ends", "positive", "few", "zero", "small"))
        w = random.integers(-127, 128, shape)
        if kind in ("ends", "positive"):
            w = random.choice([-127, 127], shape) if kind == "ends" else np.full(shape, 127)
        elif kind == "few":
            w = w * (random.random(shape) < 0.2)
        elif kind == "zero":
            w = w * (random.random((shape[0], *(1,) * (len(shape) - 1))) < 0.7)
        elif kind == "small":
            w = random.integers(-2, 3, shape)
        total = np.abs(w).reshape(len(w), -1).sum(1)
        room = ((1 << (self.arch.acc_bits - 1)) - 1) // 128
        share = np.minimum(1, room / np.maximum(total, 1)).reshape(-1, *(1,) * (len(shape) - 1))
        return np.trunc(w * share).astype(np.int8)

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
        c, h, w = self.shape(xs[0])
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

    @property
    def operators(self) -> tuple[Callable[[str], str | None], ...]:
        return (self.pointwise, self.eltwise, self.dense, self.dense, self.depthwise,
                self.depthwise, self.maxpool, self.average, self.add_two, self.add_two,
                self.grouped, self.concat, self.slice, self.upsample, self.linear)


def _all(size: int) -> Axis:
    """A window of just this size."""
    return Axis(size, 1, 1, (0, 0))


def random_graph(draw: Draw, arch: Arch) -> Graph:
    """A legal graph for ``arch`` (:func:`falconet.compiler.verify.verify`)."""
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
