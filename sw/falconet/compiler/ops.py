"""Machine operations: what lowering makes of a graph, one class per way of using an engine.

An operation writes the rows of one tensor, in order, tile by tile. A tile is a range of output
rows and of channel blocks; ``emit`` turns it into instructions (without waits) and the regions of
memory that they touch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from falconet.compiler import pack
from falconet.isa import (
    Arch,
    Dst,
    Elementwise,
    Engine,
    Instruction,
    Load,
    LoadImage,
    Mac,
    Segment,
    Store,
    Window,
)

__all__ = [
    "TILE_CYCLES", "Buffer", "CopyOp", "DdrTensor", "EltwiseOp", "Emitted", "ImageOp", "LoadOp",
    "MacOp", "Memory", "Op", "OutputStage", "Region", "Slot", "StoreOp", "Tile", "WindowOp",
    "tile_rows",
]

Array = NDArray[Any]
Memory = Dst | str  # an on-chip memory, or the name of a tensor in DDR
Region = tuple[Memory, int, int]  # memory, first unit, one past the last
MASK = 0xFFFF
TILE_CYCLES = 600  # an instruction should keep its engine busy at least this long


@dataclass
class Buffer:
    """Rows of the scratchpad: ``[row][block][column]`` words, ``ring`` rows of them at a time."""

    name: str
    height: int
    width: int
    blocks: int
    ring: int = 0
    base: int = -1

    def __post_init__(self) -> None:
        self.ring = self.ring or self.height

    @property
    def row_words(self) -> int:
        return self.blocks * self.width

    @property
    def words(self) -> int:
        return self.ring * self.row_words

    @property
    def whole(self) -> bool:
        return self.ring >= self.height

    def rows(self, n: int) -> int:
        """Address difference of ``n`` rows, as the machine wants it (modulo the ring)."""
        return n * self.row_words % (MASK + 1 if self.whole else self.words)


@dataclass
class Slot:
    """A tensor's place: some blocks of a buffer, and the position of each channel in them."""

    buffer: Buffer
    block0: int
    blocks: int
    lane_of: Array
    name: str = ""  # of the tensor

    def regions(self, y0: int, y1: int, b0: int = 0, b1: int | None = None) -> list[Region]:
        """Word ranges of rows ``[y0, y1)`` and blocks ``[b0, b1)`` of the tensor."""
        buf = self.buffer
        if y0 == y1:  # a window that sees nothing but padding
            return []
        b1 = self.blocks if b1 is None else b1
        lo = buf.base + (self.block0 + b0) * buf.width
        n = (b1 - b0) * buf.width
        if n == buf.row_words and (y0 % buf.ring) + y1 - y0 <= buf.ring:
            start = buf.base + (y0 % buf.ring) * buf.row_words
            return [(Dst.SCRATCHPAD, start, start + (y1 - y0) * buf.row_words)]
        starts = [lo + (y % buf.ring) * buf.row_words for y in range(y0, y1)]
        return [(Dst.SCRATCHPAD, s, s + n) for s in starts]

    def view(self, prefix: str, y: int, b: int = 0, *, y_step: int = 1, x_step: int = 1,
             x: int = 0) -> dict[str, int]:
        """Fields of an instruction's view that starts at row ``y``, column ``x``, block ``b``."""
        buf = self.buffer
        return {
            f"{prefix}_base": (buf.base + (self.block0 + b) * buf.width + x) & MASK,
            f"{prefix}_row": buf.rows(y),
            f"{prefix}_ring": 0 if buf.whole else buf.words,
            f"{prefix}_y_step": buf.rows(y_step),
            f"{prefix}_x_step": x_step,
            f"{prefix}_b_step": buf.width,
        }


@dataclass(frozen=True)
class Tile:
    """Output rows ``[y0, y1)`` and blocks ``[b0, b1)``; ``chunk`` is the piece of weights."""

    y0: int
    y1: int
    b0: int
    b1: int
    chunk: int = 0


@dataclass
class Emitted:
    """An instruction and the regions that it reads and writes."""

    instruction: Instruction
    reads: list[Region]
    writes: list[Region]


@dataclass
class Op:
    """Base. ``layer`` is the index of the graph node (-1: data movement)."""

    name: str
    layer: int
    inputs: list[Slot]
    output: Slot | None
    height: int
    row_step: int = 0  # rows per tile, set by the plan
    chunks: list[tuple[int, int]] = field(default_factory=list)  # block ranges, set by the plan
    after: list[Op] = field(default_factory=list, repr=False)  # what must be done, beside inputs

    at_once: ClassVar[bool] = False  # one tile, all rows of all inputs
    engine: ClassVar[Engine] = Engine.LOAD
    memory: ClassVar[Dst | None] = None  # where weights go
    table: bytes | None = None

    @property
    def blocks(self) -> int:
        return self.output.blocks if self.output else self.inputs[0].blocks

    def needs(self, y0: int, y1: int) -> list[tuple[int, int]]:
        """For each input, the rows that output rows ``[y0, y1)`` read (clipped)."""
        return [(y0, y1) for _ in self.inputs]

    def tiles(self) -> list[Tile]:
        return [
            Tile(y, min(y + self.row_step, self.height), b0, b1, c)
            for c, (b0, b1) in enumerate(self.chunks)
            for y in range(0, self.height, self.row_step)
        ]

    def block_words(self, block: int) -> int:
        """Weight words (of this op's weight memory) of one output block."""
        return 0

    def weights(self, b0: int, b1: int) -> bytes:
        return b""

    def cycles(self, tile: Tile) -> int:
        raise NotImplementedError

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        """Instructions of a tile; ``w_base``: word of the tile's chunk in the weight memory."""
        raise NotImplementedError


@dataclass
class OutputStage:
    """Constants of the output stage, per lane position of the output tensor."""

    zp: int
    lo: int
    hi: int
    bias: Array
    mult: Array
    mult_neg: Array
    shift: Array
    table: bytes | None = None

    def fields(self) -> dict[str, int]:
        return {"zp": self.zp, "lo": self.lo, "hi": self.hi, "table": self.table is not None}

    def params(self, lanes: slice) -> bytes:
        return pack.parameters(self.bias[lanes], self.mult[lanes], self.mult_neg[lanes],
                               self.shift[lanes])


def _window_rows(y0: int, y1: int, stride: int, dil: int, k: int, top: int, h: int
                 ) -> tuple[int, int]:
    lo = y0 * stride - top
    hi = (y1 - 1) * stride - top + (k - 1) * dil + 1
    return max(0, min(lo, h)), max(0, min(hi, h))


@dataclass
class _Spatial(Op):
    """An operation with a window; x geometry as the machine sees it."""

    arch: Arch = None  # type: ignore[assignment]
    stage: OutputStage = None  # type: ignore[assignment]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad: int = 0
    width: int = 0  # of the output

    def needs(self, y0: int, y1: int) -> list[tuple[int, int]]:
        h = self.inputs[0].buffer.height
        return [_window_rows(y0, y1, self.stride[0], self.dilation[0], self.kernel[0],
                             self.pads[0], h)]

    @property
    def _ix0(self) -> int:
        """Input column of the first read."""
        return -self.pads[1]

    def _window_fields(self, tile: Tile) -> dict[str, int]:
        src = self.inputs[0]
        buf = src.buffer
        sy, dy = self.stride[0], self.dilation[0]
        iy0 = tile.y0 * sy - self.pads[0]
        return {
            **src.view("in", iy0, y_step=sy if tile.y1 - tile.y0 > 1 else 0, x=self._ix0),
            "in_ky_step": buf.rows(dy) if self.kernel[0] > 1 else 0,
            "iy0": iy0, "in_h": buf.height, "stride_y": sy, "dil_y": dy,
            "pad": self.pad, "n_y": tile.y1 - tile.y0, "n_ky": self.kernel[0],
            **self.stage.fields(),
        }


@dataclass
class MacOp(_Spatial):
    """A dense, pointwise or grouped convolution on the MAC array.

    ``weight``: int8 [output lanes, input lanes, ky, kx], zero where there is nothing.
    ``image_group``: for a first layer on im2col words, columns of words that one kx spans;
    0 otherwise.
    """

    weight: Array = None  # type: ignore[assignment]
    in_range: list[tuple[int, int]] = field(default_factory=list)  # input blocks per output block
    image_group: int = 0

    engine = Engine.MAC
    memory = Dst.WEIGHTS

    def __post_init__(self) -> None:
        self.table = self.stage.table

    @property
    def _ix0(self) -> int:
        return 0 if self.image_group else super()._ix0

    def block_words(self, block: int) -> int:
        b0, b1 = self.in_range[block]
        return self.arch.weight_param_words + self.kernel[0] * self.kernel[1] * (b1 - b0)

    def weights(self, b0: int, b1: int) -> bytes:
        n, parts = self.arch.lanes, []
        for b in range(b0, b1):
            lo, hi = self.in_range[b]
            rows = slice(b * n, (b + 1) * n)
            parts.append(pack.mac_block(self.arch, self.weight[rows, lo * n:hi * n],
                                        self.stage.params(rows)))
        return b"".join(parts)

    def cycles(self, tile: Tile) -> int:
        pixels = (tile.y1 - tile.y0) * self.width
        p = self.arch.weight_param_words
        return 12 + sum(p + pixels * (self.block_words(b) - p) for b in range(tile.b0, tile.b1))

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        src, dst = self.inputs[0], self.output
        assert dst is not None
        sx, dx = self.stride[1], self.dilation[1]
        if self.image_group:
            x = {"in_x_step": 1, "in_kx_step": self.image_group if self.kernel[1] > 1 else 0,
                 "in_w": 1}
        else:
            x = {"in_x_step": sx, "in_kx_step": dx if self.kernel[1] > 1 else 0,
                 "in_w": src.buffer.width, "ix0": self._ix0, "stride_x": sx, "dil_x": dx}
        rows = self.needs(tile.y0, tile.y1)[0]
        b = tile.b0
        while b < tile.b1:
            lo, hi = self.in_range[b]
            end = b + 1
            while end < tile.b1 and self.in_range[end] == (lo, hi):
                end += 1
            words = sum(self.block_words(i) for i in range(b, end))
            window = self._window_fields(tile)
            window["in_base"] = (window["in_base"] + lo * src.buffer.width) & MASK
            ins = Mac(
                **{**window, **x, **dst.view("out", tile.y0, b)},
                n_ob=end - b, n_x=self.width, n_kx=self.kernel[1], n_ib=hi - lo,
                w_base=w_base % self.arch.weight_words,
            )
            yield Emitted(
                ins,
                src.regions(*rows, lo, hi) + _wrapped(Dst.WEIGHTS, w_base, words,
                                                      self.arch.weight_words)
                + ([(Dst.MAC_TABLE, 0, 1)] if self.table else []),
                dst.regions(tile.y0, tile.y1, b, end),
            )
            w_base += words
            b = end


@dataclass
class WindowOp(_Spatial):
    """Depthwise convolution or pooling. ``weight``: int8 [lanes, ky, kx]; None: maximum."""

    weight: Array | None = None
    shared: bool = False  # all blocks have the same weights and parameters

    engine = Engine.VEC
    memory = Dst.VECTOR

    def __post_init__(self) -> None:
        self.table = self.stage.table

    @property
    def sliding(self) -> bool:
        return (self.weight is not None and 1 < self.kernel[1] <= self.arch.taps
                and self.dilation[1] == 1 and self.stride[1] < self.kernel[1])

    @property
    def columns(self) -> int:
        return ((self.width - 1) * self.stride[1] + self.kernel[1] if self.sliding else self.width)

    @property
    def _uniform(self) -> bool:
        """One tap word serves the whole window."""
        return self.weight is None or (not self.sliding and bool(np.all(self.weight == 1)))

    def _tap_words(self) -> int:
        if self._uniform:
            return 1
        return self.kernel[0] if self.sliding else self.kernel[0] * self.kernel[1]

    def block_words(self, block: int) -> int:
        words = self.arch.vector_param_words + self._tap_words()
        return words if not self.shared or block == 0 else 0

    def weights(self, b0: int, b1: int) -> bytes:
        n, taps, parts = self.arch.lanes, self.arch.taps, []
        for b in range(b0, b0 + 1 if self.shared else b1):
            lanes = slice(b * n, (b + 1) * n)
            words = np.zeros((self._tap_words(), taps, n), np.int8)
            if self._uniform:
                words[:, -1] = 1
            elif self.sliding:
                assert self.weight is not None
                kw = self.kernel[1]
                words[:, taps - kw:] = self.weight[lanes].transpose(1, 2, 0)
            else:
                assert self.weight is not None
                words[:, -1] = self.weight[lanes].transpose(1, 2, 0).reshape(-1, n)
            parts.append(pack.vector_words(self.arch, words, self.stage.params(lanes)))
        return b"".join(parts)

    def cycles(self, tile: Tile) -> int:
        per_column = self.kernel[0] * (1 if self.sliding else self.kernel[1])
        reads = (tile.y1 - tile.y0) * self.columns * per_column
        return 12 + (tile.b1 - tile.b0) * (self.arch.vector_param_words + reads)

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        src, dst = self.inputs[0], self.output
        assert dst is not None
        window = self._window_fields(tile)
        window["in_base"] = (window["in_base"] + tile.b0 * src.buffer.width) & MASK
        sx, dx, kw = self.stride[1], self.dilation[1], self.kernel[1]
        taps = self.arch.taps
        if self.sliding:
            x = {"in_x_step": 1, "stride_x": 1, "dil_x": 1, "n_kx": 1,
                 "fresh": 1 << (taps - kw), "skip": kw - 1, "every": sx}
        else:
            x = {"in_x_step": sx, "stride_x": sx, "dil_x": dx, "n_kx": kw,
                 "in_kx_step": dx if kw > 1 else 0,
                 "fresh": 1 << (taps - 1), "skip": 0, "every": 1}
        step = self.block_words(0)
        nb = tile.b1 - tile.b0
        # a tap list too long for w_b_step goes block by block
        pieces = [(0, nb)] if self.shared or step < 64 else [(i, i + 1) for i in range(nb)]
        rows = self.needs(tile.y0, tile.y1)[0]
        for p0, p1 in pieces:
            base = (w_base + (0 if self.shared else p0 * step)) % self.arch.vector_words
            ins = Window(
                **{**window, **x, **dst.view("out", tile.y0, tile.b0 + p0),
                   "in_base": (window["in_base"] + p0 * src.buffer.width) & MASK},
                in_w=src.buffer.width, ix0=self._ix0, n_b=p1 - p0, n_x=self.columns,
                op=self.weight is None, w_base=base,
                w_b_step=0 if self.shared or p1 - p0 == 1 else step,
                w_k_step=not self._uniform,
            )
            words = step if self.shared else (p1 - p0) * step
            yield Emitted(
                ins,
                src.regions(*rows, tile.b0 + p0, tile.b0 + p1)
                + _wrapped(Dst.VECTOR, base, words, self.arch.vector_words)
                + ([(Dst.VEC_TABLE, 0, 1)] if self.table else []),
                dst.regions(tile.y0, tile.y1, tile.b0 + p0, tile.b0 + p1),
            )


@dataclass
class EltwiseOp(Op):
    """Scaled sum, rescaling or look-up. ``coef``: int32 [n_src, lanes]."""

    arch: Arch = None  # type: ignore[assignment]
    stage: OutputStage = None  # type: ignore[assignment]
    coef: Array = None  # type: ignore[assignment]
    width: int = 0
    shared: bool = True

    engine = Engine.VEC
    memory = Dst.VECTOR

    def __post_init__(self) -> None:
        self.table = self.stage.table

    def block_words(self, block: int) -> int:
        words = self.arch.vector_param_words + len(self.inputs)
        return words if not self.shared or block == 0 else 0

    def weights(self, b0: int, b1: int) -> bytes:
        n, parts = self.arch.lanes, []
        for b in range(b0, b0 + 1 if self.shared else b1):
            lanes = slice(b * n, (b + 1) * n)
            words = pack.coefficient_taps(self.arch, self.coef[:, lanes])
            parts.append(pack.vector_words(self.arch, words, self.stage.params(lanes)))
        return b"".join(parts)

    def cycles(self, tile: Tile) -> int:
        reads = (tile.y1 - tile.y0) * self.width * len(self.inputs)
        return 12 + (tile.b1 - tile.b0) * (self.arch.vector_param_words + reads)

    def _views(self, tile: Tile) -> dict[str, int]:
        views = self.inputs[0].view("a", tile.y0, tile.b0)
        return {**views, **self.inputs[-1].view("b", tile.y0, tile.b0)}

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        dst = self.output
        assert dst is not None
        step = self.block_words(0)
        ins = Elementwise(
            **self._views(tile), **dst.view("out", tile.y0, tile.b0), **self.stage.fields(),
            n_src=len(self.inputs), n_b=tile.b1 - tile.b0, n_y=tile.y1 - tile.y0,
            n_x=self.width, w_base=w_base % self.arch.vector_words,
            w_b_step=0 if self.shared else step,
        )
        words = step if self.shared else (tile.b1 - tile.b0) * step
        reads = [r for s in self.inputs for r in s.regions(tile.y0, tile.y1, tile.b0, tile.b1)]
        yield Emitted(
            ins,
            reads + _wrapped(Dst.VECTOR, w_base % self.arch.vector_words, words,
                             self.arch.vector_words)
            + ([(Dst.VEC_TABLE, 0, 1)] if self.table else []),
            dst.regions(tile.y0, tile.y1, tile.b0, tile.b1),
        )


@dataclass
class CopyOp(EltwiseOp):
    """Pixel repetition: the input is written ``fy * fx`` times, each time at another phase.

    ``width`` is the input's; ``height`` the output's; tiles are multiples of ``fy`` rows.
    """

    fy: int = 1
    fx: int = 1

    def needs(self, y0: int, y1: int) -> list[tuple[int, int]]:
        return [(y0 // self.fy, -(-y1 // self.fy))]

    def cycles(self, tile: Tile) -> int:
        inner = Tile(tile.y0 // self.fy, tile.y1 // self.fy, tile.b0, tile.b1)
        return self.fy * self.fx * super().cycles(inner)

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        dst = self.output
        assert dst is not None
        y0, y1 = tile.y0 // self.fy, tile.y1 // self.fy
        inner = Tile(y0, y1, tile.b0, tile.b1)
        base = next(super().emit(inner, w_base))
        for py in range(self.fy):
            for px in range(self.fx):
                view = dst.view("out", tile.y0 + py, tile.b0, y_step=self.fy, x_step=self.fx, x=px)
                yield Emitted(base.instruction.replace(**view), base.reads,
                              dst.regions(tile.y0, tile.y1, tile.b0, tile.b1))


@dataclass
class DdrTensor:
    """A tensor in DDR: rows of ``[block][column][lane]`` bytes, or of interleaved pixels."""

    name: str
    segment: Segment
    offset: int
    pitch: int
    height: int

    def regions(self, y0: int, y1: int) -> list[Region]:
        return [(self.name, y0, y1)]


def _ring_pieces(buf: Buffer, y0: int, y1: int) -> Iterator[tuple[int, int]]:
    """Split rows where the ring closes."""
    y = y0
    while y < y1:
        end = min(y1, (y // buf.ring + 1) * buf.ring)
        yield y, end
        y = end


@dataclass
class LoadOp(Op):
    """Rows of a tensor from DDR into the scratchpad."""

    source: DdrTensor = None  # type: ignore[assignment]
    lanes: int = 16

    def cycles(self, tile: Tile) -> int:
        assert self.output is not None
        words = (tile.y1 - tile.y0) * self.output.blocks * self.output.buffer.width
        return 60 + words * self.lanes // 12

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        dst = self.output
        assert dst is not None
        for y0, y1 in _ring_pieces(dst.buffer, tile.y0, tile.y1):
            ins = Load(
                segment=self.source.segment, offset=self.source.offset + y0 * self.source.pitch,
                dst=Dst.SCRATCHPAD, **_box(dst, y0, y1, self.source.pitch),
            )
            yield Emitted(ins, self.source.regions(y0, y1), dst.regions(y0, y1))


@dataclass
class StoreOp(Op):
    """Rows of a tensor from the scratchpad to DDR."""

    target: DdrTensor = None  # type: ignore[assignment]
    lanes: int = 16

    engine = Engine.STORE

    def cycles(self, tile: Tile) -> int:
        src = self.inputs[0]
        return 60 + (tile.y1 - tile.y0) * src.blocks * src.buffer.width * self.lanes // 8

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        src = self.inputs[0]
        for y0, y1 in _ring_pieces(src.buffer, tile.y0, tile.y1):
            ins = Store(
                segment=self.target.segment, offset=self.target.offset + y0 * self.target.pitch,
                **_box(src, y0, y1, self.target.pitch),
            )
            yield Emitted(ins, src.regions(y0, y1), self.target.regions(y0, y1))


def _box(slot: Slot, y0: int, y1: int, pitch: int) -> dict[str, int]:
    buf = slot.buffer
    base = buf.base + (y0 % buf.ring) * buf.row_words + slot.block0 * buf.width
    return {"run": slot.blocks * buf.width, "n1": y1 - y0, "ddr_step1": pitch, "base": base,
            "step1": buf.row_words}


@dataclass
class ImageOp(Op):
    """Rows of an image, as overlapping windows for a first layer (LDIMG)."""

    source: DdrTensor = None  # type: ignore[assignment]
    row_bytes: int = 0
    pad_left: int = 0
    pad: int = 0
    step: int = 1

    def cycles(self, tile: Tile) -> int:
        assert self.output is not None
        return 60 + (tile.y1 - tile.y0) * (self.output.buffer.width + 8)

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        dst = self.output
        assert dst is not None
        for y0, y1 in _ring_pieces(dst.buffer, tile.y0, tile.y1):
            ins = LoadImage(
                segment=self.source.segment, offset=self.source.offset + y0 * self.source.pitch,
                n_rows=y1 - y0, pitch=self.source.pitch, row_bytes=self.row_bytes,
                pad_left=self.pad_left, pad=self.pad, step=self.step, n_x=dst.buffer.width,
                base=dst.buffer.base + (y0 % dst.buffer.ring) * dst.buffer.row_words,
                row_step=dst.buffer.row_words,
            )
            yield Emitted(ins, self.source.regions(y0, y1), dst.regions(y0, y1))


def _wrapped(memory: Dst, base: int, words: int, depth: int) -> list[Region]:
    base %= depth
    if base + words <= depth:
        return [(memory, base, base + words)]
    return [(memory, base, depth), (memory, 0, base + words - depth)]


def tile_rows(op: Op) -> int:
    """Rows per tile such that an instruction keeps its engine busy for TILE_CYCLES or so."""
    op.row_step, op.chunks = op.height, [(0, op.blocks)]
    if op.at_once:
        return op.height
    whole = sum(op.cycles(t) - 12 for t in op.tiles())
    rows = max(1, min(op.height, round(TILE_CYCLES * op.height / max(1, whole))))
    if isinstance(op, CopyOp):
        rows = -(-rows // op.fy) * op.fy
    return rows
