"""Random QDQ ONNX networks, as onnxruntime and as Brevitas write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from netdraw import Axis, Draw
from onnx_nets import Net

from falconet.isa import Arch

CYCLES = 15_000
"""Of an engine, roughly, that one network may take."""

ACTIVATIONS = ("", "", "Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "Sigmoid", "Tanh")


@dataclass(frozen=True)
class Value:
    """A dequantised tensor: its name, shape [C, H, W], scale and zero point."""

    name: str
    shape: tuple[int, int, int]
    scale: float
    zero_point: int


class OnnxMaker:
    """Adds operators one by one; one that would take too long is left out."""

    def __init__(self, draw: Draw, arch: Arch) -> None:
        self.draw, self.arch = draw, arch
        image = draw.chance(40)
        c = draw.number(1, 4) if image else draw.channels(arch)
        shape = (c, *draw.size(arch, large=False))
        self.net = Net((1, *shape), style=draw.pick(("qdq", "qcdq")), unsigned=draw.chance(50),
                       seed=draw.number(0, 2**32 - 1))
        self.left = CYCLES
        self.values: list[Value] = []
        self.read: set[str] = set()
        self.ends: list[str] = []  # results of matrix products
        self.moved: set[str] = set()  # values whose channels may lie anywhere
        self.store("x", shape, draw.pick((0.02, 0.1)))

    def store(self, x: str, shape: tuple[int, int, int], scale: float,
              zero_point: int | None = None) -> Value:
        """Quantise and dequantise ``x``."""
        d = self.draw
        if zero_point is None:
            zero_point = d.pick((0, -128, 127, 5, -30))
        clip = (-127, 127) if self.net.style == "qcdq" and x != "x" and d.chance(30) else None
        value = Value(self.net.q(x, scale, zero_point, clip=clip), shape, scale, zero_point)
        self.values.append(value)
        return value

    def some(self) -> Value:
        back = min(self.draw.pick((0, 0, 0, 1, 2, 4)), len(self.values) - 1)
        return self.values[-1 - back]

    def afford(self, shape: tuple[int, ...], inner: int = 1) -> bool:
        c, h, w = shape
        cost = -(-c // self.arch.lanes) * h * w * (1 + inner)
        if min(shape) < 1 or cost > self.left:
            return False
        self.left -= cost
        return True

    def next_scale(self, scale: float) -> float:
        return float(np.clip(scale * self.draw.pick((1.0, 0.5, 2.0, 0.77, 0.1, 10.0)), 2e-3, 0.5))

    def activate(self, x: str, shape: tuple[int, int, int]) -> str:
        kind = self.draw.pick(ACTIVATIONS)
        op = self.net.op
        if kind == "":
            return x
        if kind == "Clip":
            return str(op("Clip", x, np.float32(0), np.float32(6)))
        if kind == "LeakyRelu":
            return str(op(kind, x, alpha=self.draw.pick((0.1, 0.01, 1.5))))
        if kind == "PRelu":
            linear = self.net.nodes[-1].op_type in ("Conv", "BatchNormalization")
            slopes = self.net.random.uniform(0, 1, (shape[0] if linear else 1, 1, 1)).astype(
                np.float32)  # those of a table are all one
            return str(op(kind, x, slopes))
        if kind in ("HardSwish", "Sigmoid", "Tanh"):  # a table needs a stored operand
            stored = self.store(x, shape, self.draw.pick((0.05, 0.02)))
            self.read.add(stored.name)
            x = stored.name
        return str(op(kind, x))

    # ------------------------------------------------------------------ operators

    def window(self, v: Value, y: Axis, z: Axis) -> tuple[dict[str, Any], tuple[int, int]]:
        attrs = {"strides": [y.stride, z.stride], "dilations": [y.dilation, z.dilation],
                 "pads": [y.pads[0], z.pads[0], y.pads[1], z.pads[1]]}
        return attrs, (y.size(v.shape[1]), z.size(v.shape[2]))

    def conv(self, v: Value) -> None:
        d, n = self.draw, self.net
        c = v.shape[0]
        y, z = (d.axis(size, inside=True) for size in v.shape[1:])
        attrs, size = self.window(v, y, z)
        kind = d.pick(("dense", "depthwise", "grouped"))
        groups = {"dense": 1, "depthwise": c}.get(kind) or d.pick(
            [g for g in range(1, c + 1) if c % g == 0])
        out = c if kind == "depthwise" else groups * d.number(1, max(1, 30 // groups))
        taps = y.kernel * z.kernel
        inner = 1 if kind == "depthwise" else -(-c // self.arch.lanes)
        fits = taps * inner <= self.arch.weight_words - 2
        if not fits or not self.afford((out, *size), taps * inner):
            return
        weight = n.weight(out, c // groups, y.kernel, z.kernel, per_channel=d.chance(80))
        bias = n.bias(out) if d.chance(80) else None
        x = n.op("Conv", v.name, weight, *([bias] if bias else []), group=groups, **attrs)
        if d.chance(20):
            gain, shift, mean = (n.random.normal(1, 0.3, out).astype(np.float32) for _ in "123")
            var = n.random.uniform(0.5, 2, out).astype(np.float32)
            x = n.op("BatchNormalization", x, gain, shift, mean, var)
        self.finish(v, x, (out, *size))

    def finish(self, v: Value, x: str, shape: tuple[int, int, int]) -> None:
        self.read.add(v.name)
        self.store(self.activate(x, shape), shape, self.next_scale(v.scale))

    def linear(self, v: Value) -> None:
        n, out = self.net, self.draw.number(1, 30)
        size = int(np.prod(v.shape))
        words = -(-v.shape[0] // self.arch.lanes) * v.shape[1] * v.shape[2]
        fits = words <= self.arch.weight_words - 2 and max(v.shape[1:]) <= 31
        if not fits or not self.afford((out, 1, 1), words):
            return
        flat = n.op("Flatten", v.name)
        if self.draw.chance(50):
            x = n.op("Gemm", flat, n.weight(out, size), n.bias(out), transB=1)
        else:
            x = n.op("MatMul", flat, n.weight(size, out, axis=1))
        self.read.add(v.name)
        self.ends.append(n.q(x, self.next_scale(v.scale), self.draw.pick((0, -128, 9))))

    def pool(self, v: Value) -> None:
        d, n = self.draw, self.net
        kind = d.pick(("AveragePool", "MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean"))
        if kind in ("MaxPool", "AveragePool"):
            y, z = (d.axis(size, inside=True) for size in v.shape[1:])
            if kind == "AveragePool":
                y, z = (Axis(a.kernel, a.stride, 1, a.pads) for a in (y, z))
            attrs, size = self.window(v, y, z)
            if kind == "AveragePool":
                attrs.pop("dilations")
                attrs["count_include_pad"] = 1
            if not self.afford((v.shape[0], *size), y.kernel * z.kernel):
                return
            x = n.op(kind, v.name, kernel_shape=[y.kernel, z.kernel], **attrs)
            shape = (v.shape[0], *size)
            if kind == "MaxPool" and d.chance(70):
                self.read.add(v.name)
                self.store(x, shape, v.scale, v.zero_point)
                return
        else:
            if max(v.shape[1:]) > 31 or not self.afford(v.shape):
                return
            attrs = {} if kind == "GlobalAveragePool" else {"axes": [2, 3], "keepdims": 1}
            x, shape = n.op(kind, v.name, **attrs), (v.shape[0], 1, 1)
        self.finish(v, x, shape)

    def add(self, v: Value) -> None:
        """Of two tensors that are not cut or joined (their lanes differ), or of a constant."""
        d, n = self.draw, self.net
        if not self.afford(v.shape):
            return
        others = [o for o in self.values if o.shape == v.shape and o.name not in self.moved]
        kind = d.pick(("Add", "Sub", "Mul", "constant", "smaller"))
        if kind == "smaller":
            self.repeat(v)
            return
        if kind in ("Mul", "constant"):
            spread = d.pick(((), (v.shape[0], 1, 1)))
            constant = n.random.uniform(0.2, 1.5, spread).astype(np.float32)
            x = n.op("Mul" if kind == "Mul" else "Add", v.name, constant)
        elif v.name in self.moved or not others:
            return
        else:
            other = d.pick(others)
            self.read.add(other.name)
            x = n.op(kind, v.name, other.name)
        self.finish(v, x, v.shape)

    def repeat(self, v: Value) -> None:
        """Of two tensors, of which one may have one channel, row or column for all; their product
        most often."""
        d, n, (c, h, w) = self.draw, self.net, v.shape
        if v.name in self.moved:
            return
        kind = d.pick(("gate", "mask", "any"))
        if kind == "gate" and max(h, w) <= 31:
            self.store(n.op("GlobalAveragePool", v.name), (c, 1, 1), v.scale / 2)
        elif kind == "mask":
            self.store(n.conv(v.name, 1, c, k=1), (1, h, w), self.next_scale(v.scale))
        others = [o for o in self.values[1:] or self.values if o.name not in self.moved
                  and all(m in (1, s) for m, s in zip(o.shape, v.shape))]
        if not others:
            return
        other = others[-1] if kind != "any" else d.pick(others)
        if other.name == v.name:  # a function of one tensor
            return
        self.read |= {v.name, other.name}
        names = (v.name, other.name) if d.chance(50) else (other.name, v.name)
        op = d.pick(("Mul", "Mul", "Add", "Sub"))
        scale = v.scale * other.scale * 60 if op == "Mul" else v.scale
        x = n.op(op, *names)
        self.store(self.activate(x, v.shape), v.shape, self.next_scale(scale))

    def move(self, v: Value) -> None:
        d, n = self.draw, self.net
        c, h, w = v.shape
        kind = d.pick(("Concat", "Split", "Slice", "Resize", "Pad", "Identity"))
        if kind == "Concat":
            others = [o for o in self.values if o.shape[1:] == v.shape[1:]]
            chosen = [v, *(d.pick(others) for _ in range(d.number(1, 2)))]
            shape = (sum(o.shape[0] for o in chosen), h, w)
            if self.afford(shape):
                self.read.update(o.name for o in chosen)
                made = self.store(n.op(kind, *(o.name for o in chosen), axis=1), shape,
                                  v.scale, v.zero_point)
                self.moved.add(made.name)
        elif kind in ("Split", "Slice") and c > 1:
            at = d.number(1, c - 1)
            if kind == "Split":
                parts = n.op(kind, v.name, np.array([at, c - at]), outputs=2, axis=1)
                sizes = [at, c - at]
            else:
                parts = [n.op(kind, v.name, np.array([at]), np.array([c]), np.array([1]))]
                sizes = [c - at]
            self.read.add(v.name)
            for part, size in zip(parts, sizes):
                made = self.store(part, (size, h, w), v.scale, v.zero_point)
                self.moved.add(made.name)
        elif kind == "Resize":
            fy, fx = d.number(1, 3), d.number(1, 3)
            if self.afford((c, h * fy, w * fx)):
                factors = np.array([1, 1, fy, fx], np.float32)
                x = n.op(kind, v.name, None, factors, mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric")
                self.finish_move(v, x, (c, h * fy, w * fx))
        elif kind == "Pad":
            top, left, bottom, right = (d.number(0, 3) for _ in range(4))
            shape = (c, h + top + bottom, w + left + right)
            if self.afford(shape):
                pads = np.array([0, 0, top, left, 0, 0, bottom, right])
                self.finish_move(v, n.op(kind, v.name, pads), shape)
        elif kind == "Identity":
            self.finish_move(v, n.op(kind, v.name), v.shape)

    def reorder(self, v: Value) -> None:
        """Channels, rows and columns in another order, in the ways that exporters write it."""
        d, n = self.draw, self.net
        c, h, w = v.shape
        even, fours = h % 2 == w % 2 == 0, c % 4 == 0
        kind = d.pick((*["SpaceToDepth"] * 3 * even, *["DepthToSpace"] * 2 * fours, "Gather",
                       "Slice", "Transpose", "shuffle", "Tile", "Pad"))
        mode, g = d.pick(("DCR", "CRD")), d.pick([g for g in (1, 2, 3, 4) if c % g == 0])
        shapes = {"Gather": (c, h, w), "Slice": (c, (h + 1) // 2, (w + 1) // 2),
                  "Transpose": (c, w, h), "shuffle": (c, h, w), "Tile": (c, 2 * h, w),
                  "DepthToSpace": (c // 4, 2 * h, 2 * w), "SpaceToDepth": (4 * c, h // 2, w // 2),
                  "Pad": (c + 3, h + 1, w)}
        if not self.afford(shapes[kind], 2):
            return
        if kind == "Gather":
            x = n.op(kind, v.name, n.random.permutation(c), axis=1)
        elif kind == "Slice":
            first, step = d.pick(((0, 2), (-1, -2)))
            end = np.iinfo(np.int64).max if step > 0 else -np.iinfo(np.int64).max
            x = n.op(kind, v.name, np.array([first] * 2), np.array([end] * 2), np.array([2, 3]),
                     np.array([step] * 2))
        elif kind == "Transpose":
            x = n.op(kind, v.name, perm=[0, 1, 3, 2])
        elif kind == "shuffle":
            x = n.op("Reshape", v.name, np.array([1, g, c // g, h, w]))
            x = n.op("Reshape", n.op("Transpose", x, perm=[0, 2, 1, 3, 4]),
                     np.array([1, c, h, w]))
        elif kind == "Tile":
            x = n.op(kind, v.name, np.array([1, 1, 2, 1]))
        elif kind == "Pad":
            x = n.op(kind, v.name, np.array([0, 1, 0, 0, 0, 2, 1, 0]))
        else:
            more = {"mode": mode} if kind == "DepthToSpace" else {}
            x = n.op(kind, v.name, blocksize=2, **more)
        self.read.add(v.name)
        self.moved.add(self.store(x, shapes[kind], v.scale, v.zero_point).name)

    def finish_move(self, v: Value, x: str, shape: tuple[int, int, int]) -> None:
        self.read.add(v.name)
        made = self.store(x, shape, v.scale, v.zero_point)
        if v.name in self.moved:
            self.moved.add(made.name)


def random_model(draw: Draw, arch: Arch) -> tuple[onnx.ModelProto, tuple[int, int, int]]:
    """A model with one input ``x``, and the shape [C, H, W] of that."""
    maker = OnnxMaker(draw, arch)
    operators: tuple[Callable[[Value], None], ...] = (
        maker.conv, maker.conv, maker.conv, maker.pool, maker.pool, maker.add, maker.add,
        maker.move, maker.move, maker.linear, maker.reorder, maker.reorder,
        maker.reorder)
    for _ in range(draw.number(1, 8)):
        draw.pick(operators)(maker.some())
    first, *rest = maker.values
    outputs = maker.ends + [v.name for v in rest if v.name not in maker.read]
    if not outputs:
        x = maker.net.op("Relu", first.name)
        outputs = [maker.store(x, first.shape, first.scale).name]
    return maker.net.model(*outputs), first.shape
