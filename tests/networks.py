"""Integer graphs with random weights: every operation, awkward shapes, real topologies."""

from __future__ import annotations

from typing import Any

import numpy as np

from falconet.compiler.graph import Graph, Node, Tensor, output_shape


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
        node = Node(op, f"{op}{at}", inputs, f"t{at}", attrs or {}, consts or {})
        shape = output_shape(node, [self.shape(i) for i in inputs])
        if op == "concat":
            shape = sum(self.shape(i)[0] for i in inputs), *shape[1:]
        self.graph.tensors[node.output] = Tensor(node.output, shape, 0.03, node.attrs.get("zp", 0))
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

    def depthwise(self, x: str, k: Any = 3, s: Any = 1, **kw: Any) -> str:
        c = self.shape(x)[0]
        return self.conv(x, c, k, s, groups=c, **kw)

    def average(self, x: str) -> str:
        c, h, w = self.shape(x)
        y = self.conv(x, c, (h, w), groups=c, pads=(0, 0, 0, 0), uniform=True)
        node = self.graph.nodes[-1]
        node.attrs["pool"] = True
        node.consts["weight"][:] = 1
        return y

    def eltwise(self, *xs: str, per_channel: bool = False, **kw: Any) -> str:
        c = self.shape(xs[0])[0]
        attrs, consts = self.stage(c, 3.2e6, uniform=not per_channel, **kw)
        coef = self.random.integers(20000, 65536, (len(xs), c if per_channel else 1))
        consts["coef"] = np.broadcast_to(coef, (len(xs), c)).astype(np.int32)
        return self.add("eltwise", list(xs), attrs, consts)

    def maxpool(self, x: str, k: int = 2, s: int = 2, p: int = 0) -> str:
        c = self.shape(x)[0]
        one = np.full(c, 1 << 16, np.uint32)
        return self.add("maxpool", [x], {
            "kernel": (k, k), "stride": (s, s), "pads": (p,) * 4, "dilation": (1, 1),
            "pad": -128, "zp": 0, "lo": -128, "hi": 127}, {
            "bias": np.zeros(c, np.int32), "mult": one, "mult_neg": one,
            "shift": np.full(c, 16, np.uint8)})

    def upsample(self, x: str, fy: int = 2, fx: int = 2) -> str:
        return self.add("upsample", [x], {"fy": fy, "fx": fx})

    def done(self, *outputs: str) -> Graph:
        self.graph.outputs = list(outputs)
        return self.graph


def zoo_of_operators(seed: int = 0, size: int = 24) -> Graph:
    """Every operation once or more, with channel counts that fill no block."""
    b = Builder((3, size, size), seed)
    x = b.conv("x", 12, 3, 2, leaky=True)
    y = b.conv(b.depthwise(x), 24)
    y = b.maxpool(b.eltwise(y, b.conv(x, 24)))
    parts = [b.conv(y, 10, 3), b.depthwise(y, 5), b.conv(y, 20, (1, 3), table=True)]
    cat = b.add("concat", parts)
    q = b.conv(b.conv(cat, 18, 3, 2, 2, pads=(2, 2, 2, 2)), 12, 3, groups=3)
    part = b.add("slice", [cat], {"begin": 10, "end": 34})
    r = b.conv(b.eltwise(part, table=True, per_channel=True), 9)
    up = b.conv(b.upsample(q), 33)
    return b.done(q, r, up, b.average(up), b.maxpool(y, 3, 1, 1))


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
