"""Integer graphs with random weights: every operation, awkward shapes, real topologies."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from falconet.compiler.graph import Graph, Node, Tensor, output_shape
from falconet.isa.graph.ops import operator
from falconet.isa.graph.ops.conv import Conv


class Builder:
    """Adds nodes one by one; every call returns the name of the new tensor."""

    def __init__(self, shape: tuple[int, int, int], seed: int = 0) -> None:
        self.graph = Graph("random")
        self.random = np.random.default_rng(seed)
        self.graph.tensors["x"] = Tensor("x", shape, 0.02, 3)
        self.graph.inputs = ["x"]

    def shape(self, name: str) -> tuple[int, int, int]:
        return self.graph.tensors[name].shape

    def add(self, op: str, inputs: list[str], attrs: dict[str, Any] | None = None,
            consts: dict[str, Any] | None = None) -> str:
        at = len(self.graph.nodes)
        attributes = operator(op).of(attrs or {})
        node = Node(attributes, f"{op}{at}", inputs, f"t{at}", consts or {})
        shape = output_shape(node, [self.shape(i) for i in inputs])
        zero_point = (attrs or {}).get("zp", 0)
        self.graph.tensors[node.output] = Tensor(node.output, shape, 0.03, zero_point)
        self.graph.nodes.append(node)
        return node.output

    def stage(self, channels: int, spread: float, *, table: bool = False, leaky: bool = False,
              uniform: bool = False) -> tuple[dict[str, int], dict[str, Any]]:
        """An output stage that maps accumulators of this spread onto int8."""
        r = self.random
        mult = r.integers(1 << 16, 1 << 17, channels).astype(np.uint32)
        consts = {
            "bias": r.integers(-1000, 1000, channels).astype(np.int32),
            "mult": mult, "mult_neg": (mult // 8 if leaky else mult).astype(np.uint32),
            "shift": np.full(channels, int(16 + np.log2(max(spread, 40) / 40)), np.uint8),
        }
        if uniform:
            for value in consts.values():
                value[:] = value[0]
        if table:
            consts["table"] = r.integers(-128, 128, 256).astype(np.int8)
        return {"zp": int(r.integers(-20, 20)), "lo": -120, "hi": 125}, consts

    def small_stage(self, channels: int, spread: float) -> tuple[dict[str, int], dict[str, Any]]:
        """One for accumulators of few addends: no bias that exceeds them."""
        attrs, consts = self.stage(channels, spread)
        consts["bias"] = (consts["bias"] * spread / 4000).astype(np.int32)
        return attrs, consts

    def conv(self, x: str, out: int, k: Any = 1, s: Any = 1, d: Any = 1, groups: int = 1,
             pads: tuple[int, ...] | None = None, **kw: Any) -> str:
        k, s, d = ((v, v) if isinstance(v, int) else v for v in (k, s, d))
        if pads is None:
            pads = ((k[0] - 1) * d[0] // 2, (k[1] - 1) * d[1] // 2) * 2
        w = self.random.integers(-127, 128, (out, self.shape(x)[0] // groups, *k)).astype(np.int8)
        attrs, consts = self.stage(out, 4900 * w[0].size ** 0.5, **kw)
        return self.add("conv", [x], {
            "kernel": k, "stride": s, "pads": pads, "dilation": d, "groups": groups,
            "pad": 3, **attrs}, {"weight": w, **consts})

    def transposed(self, x: str, out: int, k: int = 2, s: int = 2, crop: int = 0, groups: int = 1,
                   **kw: Any) -> str:
        """Twice the size or so: as large as stride and crop make it."""
        _, h, w = self.shape(x)
        shape = out, self.shape(x)[0] // groups, k, k
        weight = self.random.integers(-127, 128, shape).astype(np.int8)
        attrs, consts = self.stage(out, 4900 * (weight[0].size / s**2) ** 0.5, **kw)
        return self.add("conv_transpose", [x], {
            "kernel": (k, k), "stride": (s, s), "crop": (crop, crop), "groups": groups, "pad": 3,
            "size": tuple((n - 1) * s + k - 2 * crop for n in (h, w)), **attrs},
            {"weight": weight, **consts})

    def depthwise(self, x: str, k: Any = 3, s: Any = 1, **kw: Any) -> str:
        c = self.shape(x)[0]
        return self.conv(x, c, k, s, groups=c, **kw)

    def average(self, x: str) -> str:
        c, h, w = self.shape(x)
        y = self.conv(x, c, (h, w), groups=c, pads=(0, 0, 0, 0), uniform=True)
        node = self.graph.nodes[-1]
        node.attrs = dataclasses.replace(node.of(Conv), pool=True)
        node.consts["weight"][:] = 1
        return y

    def eltwise(self, *xs: str, per_channel: bool = False, **kw: Any) -> str:
        c = max(self.shape(x)[0] for x in xs)
        attrs, consts = self.stage(c, 3.2e6, uniform=not per_channel, **kw)
        coef = self.random.integers(20000, 65536, (len(xs), c if per_channel else 1))
        consts["coef"] = np.broadcast_to(coef, (len(xs), c)).astype(np.int32)
        return self.add("eltwise", list(xs), attrs, consts)

    def product(self, a: str, b: str, zeros: tuple[int, int] = (3, -7), **kw: Any) -> str:
        c = max(self.shape(a)[0], self.shape(b)[0])
        attrs, consts = self.stage(c, 5500, **kw)
        return self.add("product", [a, b], {"zeros": zeros, **attrs}, consts)

    def maxpool(self, x: str, k: int = 2, s: int = 2, p: int = 0) -> str:
        c = self.shape(x)[0]
        one = np.full(c, 1 << 16, np.uint32)
        return self.add("maxpool", [x], {
            "kernel": (k, k), "stride": (s, s), "pads": (p,) * 4, "dilation": (1, 1),
            "pad": -128, "zp": 0, "lo": -128, "hi": 127}, {
            "bias": np.zeros(c, np.int32), "mult": one, "mult_neg": one,
            "shift": np.full(c, 16, np.uint8)})

    def stackpool(self, x: str, stack: int, k: int = 1, s: int = 1, *, maximum: bool = False
                  ) -> str:
        size = self.shape(x)[0] // stack
        attrs, consts = self.small_stage(size, 74 * (1 if maximum else (stack * k * k) ** 0.8))
        return self.add("stackpool", [x], {
            "stack": stack, "kernel": (k, k), "stride": (s, s), "maximum": maximum,
            **attrs}, consts)

    def averagepool(self, x: str, k: int = 3, s: int = 1, p: int = 1) -> str:
        """Padding is not counted."""
        c, h, w = self.shape(x)
        inside = [[sum(0 <= o * s - p + t < n for t in range(k))
                   for o in range((n + 2 * p - k) // s + 1)] for n in (h, w)]
        share = 0.7 / np.outer(*inside)
        shift = np.floor(17 - np.log2(share)).astype(np.uint8) - 1
        mult = np.rint(share * 2.0**shift).astype(np.uint32)
        return self.add("averagepool", [x], {
            "kernel": (k, k), "stride": (s, s), "pads": (p,) * 4, "pad": 3, "zp": 5, "lo": -120,
            "hi": 125}, {"bias": np.full(c, -3 * k * k, np.int32), "mult": mult,
                         "mult_neg": mult.copy(), "shift": shift})

    def interpolate(self, x: str, size: int, step: int, first: int, unit: int, **flags: bool
                    ) -> str:
        c = self.shape(x)[0]
        attrs, consts = self.small_stage(c, 74 * (1 if flags.get("nearest") else unit))
        for value in consts.values():
            value[:] = value[0]
        return self.add("interpolate", [x], {
            "size": size, "step": step, "first": first, "unit": unit, **flags, **attrs}, consts)

    def bilinear(self, x: str, size: tuple[int, int], step: tuple[int, int],
                 first: tuple[int, int], unit: tuple[int, int]) -> str:
        c = self.shape(x)[0]
        attrs, consts = self.small_stage(c, 74 * unit[0] * unit[1])
        return self.add("bilinear", [x], {
            "size": size, "step": step, "first": first, "unit": unit, **attrs}, consts)

    def upsample(self, x: str, fy: int = 2, fx: int = 2) -> str:
        return self.add("upsample", [x], {"fy": fy, "fx": fx})

    def gather(self, x: str, index: Sequence[int], fill: int = 0) -> str:
        return self.add("gather", [x], {"index": tuple(index), "fill": fill})

    def pick(self, xs: list[str], rows: Sequence[int], columns: Sequence[int], **kw: Any) -> str:
        return self.add("pick", xs, {"rows": tuple(rows), "columns": tuple(columns), **kw})

    def done(self, *outputs: str) -> Graph:
        self.graph.outputs = list(outputs)
        return self.graph


def zoo_of_operators(seed: int = 0, size: int = 24) -> Graph:
    """Every operation once or more, with channel counts that fill no block."""
    b = Builder((3, size, size), seed)
    x = b.conv("x", 12, 3, 2, leaky=True)
    y = b.conv(b.depthwise(x), 24)
    y = b.maxpool(b.eltwise(y, b.conv(x, 24)))
    excited = b.product(y, b.conv(b.average(y), 24))
    masked = b.product(b.conv(excited, 1), excited, table=True)
    parts = [b.conv(y, 10, 3), b.depthwise(y, 5), b.conv(y, 20, (1, 3), table=True)]
    cat = b.add("concat", parts)
    q = b.conv(b.conv(cat, 18, 3, 2, 2, pads=(2, 2, 2, 2)), 12, 3, groups=3)
    part = b.add("slice", [cat], {"begin": 10, "end": 34})
    r = b.conv(b.eltwise(part, table=True, per_channel=True), 9)
    up = b.conv(b.upsample(q), 33)
    large = b.transposed(b.transposed(q, 10, 4, 2, 1), 10, 3, 2, 1, groups=10, leaky=True)
    turned = b.interpolate(b.interpolate(q, 7, 2, -1, 4, columns=True), 5, 1, 0, 2)
    smooth = b.bilinear(turned, (9, 7), (2, 1), (-1, 0), (4, 1))
    most = b.stackpool(b.averagepool(y), 24, maximum=True)
    return b.done(q, r, up, b.average(up), b.maxpool(y, 3, 1, 1), masked, large, smooth, most,
                  b.stackpool(y, 3, 2, 2), *moves(b, y))


def moves(b: Builder, y: str) -> list[str]:
    """Channels, rows and columns of ``y`` in another order, in each way that lowers differently."""
    c, h, w = b.shape(y)
    shuffled = b.gather(y, [i % 2 * (c // 2) + i // 2 for i in range(c)])
    odd = b.pick([y], range(1, h, 2), range(w - 1, -1, -2))
    around = b.pick([y], [-1, -1, *range(h), -1], [0, *range(w), w - 1], fill=-9)
    turned = b.pick([y], range(w - 1, -1, -1), range(h), swap=True)
    tiles = [y, b.conv(shuffled, c), b.depthwise(shuffled), b.eltwise(y, shuffled)]
    woven = b.pick(tiles, [i % 2 * h + i // 2 for i in range(2 * h)],
                   [i % 2 * w + i // 2 for i in range(2 * w)], across=2)
    more = b.gather(y, [-1, *range(c), c - 1, 0], fill=17)
    return [shuffled, odd, b.conv(around, 9, 3), turned, woven, more]


def two_tables(seed: int = 0) -> Graph:
    """Layers with tables one behind the other, so that each engine's table is loaded over again."""
    b = Builder((3, 12, 12), seed)
    y = b.conv(b.conv("x", 9, 3, table=True), 20, table=True)
    y = b.eltwise(b.eltwise(y, table=True), table=True)
    return b.done(b.conv(y, 9, table=True), b.eltwise(y, table=True))


def mobilenet_v2(seed: int = 0, size: int = 224, width: float = 1.0) -> Graph:
    """The topology of MobileNetV2 (Sandler et al. 2018, table 2)."""
    b = Builder((3, size, size), seed)

    def channels(c: int) -> int:
        return max(8, int(c * width + 4) // 8 * 8)

    def block(x: str, expand: int, out: int, s: int) -> str:
        y = b.conv(x, b.shape(x)[0] * expand) if expand > 1 else x
        y = b.conv(b.depthwise(y, 3, s), out)
        return b.eltwise(x, y) if b.shape(x) == b.shape(y) else y

    x = b.conv("x", channels(32), 3, 2)
    for expand, c, n, s in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
                            (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for i in range(n):
            x = block(x, expand, channels(c), s if i == 0 else 1)
    return b.done(b.conv(b.average(b.conv(x, channels(1280))), 1000))


def retinaface(seed: int = 0, size: int = 320) -> Graph:
    """The topology of RetinaFace on MobileNetV1-0.25: FPN, context modules, nine heads."""
    b = Builder((3, size, size), seed)

    def separable(x: str, out: int, s: int) -> str:
        return b.conv(b.depthwise(x, 3, s, leaky=True), out, leaky=True)

    x, levels = b.conv("x", 8, 3, 2, leaky=True), []
    for stage in (((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)), ((128, 2),) + ((128, 1),) * 5,
                  ((256, 2), (256, 1))):
        for out, s in stage:
            x = separable(x, out, s)
        levels.append(b.conv(x, 64, leaky=True))
    for i in (1, 0):
        levels[i] = b.conv(b.eltwise(levels[i], b.upsample(levels[i + 1])), 64, 3, leaky=True)
    outputs = []
    for level in levels:
        wide = b.conv(level, 16, 3, leaky=True)
        cat = b.add("concat", [b.conv(level, 32, 3), b.conv(wide, 16, 3),
                               b.conv(b.conv(wide, 16, 3, leaky=True), 16, 3)])
        outputs += [b.conv(cat, c) for c in (8, 4, 20)]
    return b.done(*outputs)
