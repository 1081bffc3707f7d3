"""An assembler for tests, and the packing of weights and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, Dst, End, Engine, Instruction, Load, Program, Segment, pack_pair

Array = NDArray[Any]


def params(bias: Sequence[int], mult: Sequence[int], shift: Sequence[int],
           mult_neg: Sequence[int] | None = None) -> bytes:
    """Parameters of one block, one value per lane."""
    out = bytearray()
    for b, m, n, s in zip(bias, mult, mult if mult_neg is None else mult_neg, shift):
        out += int(b).to_bytes(4, "little", signed=True) + int(m).to_bytes(4, "little")
        out += int(n).to_bytes(4, "little") + int(s).to_bytes(4, "little")
    return bytes(out)


def random_params(rng: np.random.Generator, arch: Arch, spread: float) -> bytes:
    """Parameters that map accumulators of this spread onto most of int8; a few extreme ones."""
    n = arch.lanes
    mult = rng.integers(1 << (arch.mult_bits - 1), 1 << arch.mult_bits, n)
    shift = np.full(n, round(arch.mult_bits - 6 + np.log2(max(spread, 64))))
    shift += rng.integers(-2, 3, n)
    mult[0], shift[0] = 1, 0
    bias = rng.integers(-1000, 1000, n)
    return params(bias, mult, np.clip(shift, 0, 47), np.where(rng.random(n) < 0.3, mult // 7, mult))


def mac_words(arch: Arch, weight: Array, blocks: Sequence[bytes]) -> bytes:
    """Weights [n_ob, n_ky, n_kx, n_ib, lanes in, lanes out] and the parameters of each block."""
    n, rows, out = arch.lanes, arch.rows, bytearray()
    for block, par in zip(weight, blocks):
        out += par
        for word in block.reshape(-1, rows, n):
            data = bytearray(rows * n)
            for j in range(n // 2):
                for i in range(rows):
                    pair = pack_pair(int(word[i, 2 * j]), int(word[i, 2 * j + 1]))
                    for k in range(2):
                        data[(j * rows + i) * 2 + k] = pair[k] & 0xFF
            out += data
    return bytes(out)


def tap_words(arch: Arch, taps: Array, blocks: Sequence[bytes]) -> bytes:
    """Taps [n_b, words, taps, lanes] and the parameters of each block."""
    n, out = arch.lanes, bytearray()
    for block, par in zip(taps, blocks):
        out += par
        for word in block:
            data = bytearray(arch.taps * n)
            for p in range(arch.taps // 2):
                for i in range(n):
                    pair = pack_pair(int(word[2 * p, i]), int(word[2 * p + 1, i]))
                    for k in range(2):
                        data[(p * n + i) * 2 + k] = pair[k] & 0xFF
            out += data
    return bytes(out)


class Assembler:
    """Collects instructions and constants; constants lie in CODE behind the instructions.

    Parameters
    ----------
    serial:
        Give every instruction waits for all that precede it; else waits stay as given.
    """

    def __init__(self, arch: Arch, *, serial: bool = True) -> None:
        self.arch, self.serial = arch, serial
        self.items: list[tuple[Instruction, bool]] = []
        self.blob = bytearray()
        self.segments = {"input": 0, "output": 0, "work": 0}
        self.inputs: list[dict[str, Any]] = []
        self.outputs: list[dict[str, Any]] = []

    def add(self, ins: Instruction) -> Instruction:
        self.items.append((ins, False))
        return ins

    def constant(self, data: bytes, dst: Dst, base: int = 0) -> None:
        """Load constant lane words into ``dst`` at lane-word address ``base``."""
        self.items.append((
            Load(segment=Segment.CODE, offset=len(self.blob), dst=dst, base=base,
                 run=len(data) // self.arch.lanes), True,
        ))
        self.blob += data + bytes(-len(data) % 128)

    def input(self, name: str, words: int, **more: Any) -> int:
        """A tensor of ``words`` lane words in INPUT, format "blocks", 1 x words; its offset."""
        at = self.segments["input"]
        self.segments["input"] += words * self.arch.lanes + 127 & ~127
        self.inputs.append({"name": name, "shape": [self.arch.lanes, 1, words], "scale": 1.0,
                            "zero_point": 0, "format": "blocks", "offset": at, "pitch": 0, **more})
        return at

    def image(self, name: str, c: int, h: int, w: int) -> tuple[int, int]:
        """An interleaved image in INPUT: offset and pitch."""
        at, pitch = self.segments["input"], w * c + 15 & ~15
        self.segments["input"] += h * pitch + 127 & ~127
        self.inputs.append({"name": name, "shape": [c, h, w], "scale": 1.0, "zero_point": 0,
                            "format": "image", "offset": at, "pitch": pitch})
        return at, pitch

    def output(self, name: str, words: int) -> int:
        """As :meth:`input`, in OUTPUT."""
        at = self.segments["output"]
        self.segments["output"] += words * self.arch.lanes + 127 & ~127
        self.outputs.append({"name": name, "shape": [self.arch.lanes, 1, words], "scale": 1.0,
                             "zero_point": 0, "offset": at, "blocks": 1,
                             "lane_of": list(range(self.arch.lanes))})
        return at

    def program(self, waits: Sequence[Sequence[int]] | None = None) -> Program:
        """The program, END added. ``waits`` (one row an instruction) override all others."""
        n = len(self.items) + 1
        at = n * Arch.INSTRUCTION_BYTES + 127 & ~127
        code, done = bytearray(), [0] * len(Engine)
        for i, (ins, constant) in enumerate(self.items):
            row = waits[i] if waits is not None else done if self.serial else None
            changes: dict[str, int] = {}
            if row is not None:
                changes = {f"wait_{e.name.lower()}": int(row[e]) for e in Engine}
            if constant:
                changes["offset"] = ins.offset + at
            code += ins.replace(**changes).encode()
            assert ins.engine is not None
            done[ins.engine] += 1
        code += End().encode()
        code += bytes(at - len(code)) + self.blob
        header = {"model": "test", "instructions": n, "segments": self.segments,
                  "inputs": self.inputs, "outputs": self.outputs, "layers": [],
                  "steps": [[-1, -1, 0, 0, 0, 0]] * n, "tensors": [], "meta": {}}
        return Program(self.arch, bytes(code), header)
